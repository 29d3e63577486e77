"""What is measured: the shipped handler with each variant and with none, and the contenders with the same checkpoint."""

import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from bench import peers
from workbench import paths
from workbench.errors import VariantError
from workbench.plan import Contender, Plan
from workbench.records import Variant, fingerprint
from workbench.store import file_sha256, read, tree_sha256

APP = paths.ROOT / "lambda_image" / "app"
EMPTY, NO_MODEL = "empty", paths.ROOT / "bench" / "empty"
RUNTIME_LOCK = paths.ROOT / "lambda_image" / "requirements.txt"


@dataclass(frozen=True, kw_only=True, slots=True)
class Function:
    """One Lambda function: how to start it, and the sha256 over everything that decides its speed.

    `memory_mb` are the sizes of the sweep it is measured at, in MB; none means all.
    """

    name: str
    sha256: str
    python: Path
    task_root: Path
    handler: str
    model_folder: Path
    size_bytes: int
    threads: tuple[int, ...]
    memory_mb: tuple[int, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)


def variants(plan: Plan) -> dict[str, Variant]:
    """The built variants of the plan's recipes by name."""
    return {recipe.name: _variant(paths.variant_folder(plan.model, recipe.name)) for recipe in plan.recipes}


def functions(plan: Plan) -> list[Function]:
    """Every function the plan measures: the variants in the plan's order, the empty one, then the contenders."""
    return [*shipped(plan), _empty(), *(_contender(plan, contender) for contender in plan.contenders)]


def shipped(plan: Plan) -> list[Function]:
    """The shipped handler with each variant, in the plan's order."""
    return [_shipped(plan, name, variant) for name, variant in variants(plan).items()]


def compile_ahead(function: Function) -> None:
    """Compile the handler's bytecode, as an image has it, so that no cold start pays for it."""
    subprocess.run([function.python, "-m", "compileall", "-q", function.task_root], check=True)


def _variant(folder: Path) -> Variant:
    if not (folder / "variant.json").exists():
        raise VariantError(f"the variant {folder.name!r} is not built", "run `nox -s quantize`")
    return read(folder / "variant.json", Variant, "run `nox -s quantize`")


def _shipped(plan: Plan, name: str, variant: Variant) -> Function:
    code, own = tree_sha256(APP.glob("*.py"), APP), variant.recipe.runtime.threads
    return Function(
        name=name,
        sha256=fingerprint([variant.sha256, code, file_sha256(RUNTIME_LOCK)]),
        python=paths.environment_python("runtime"),
        task_root=APP.parent,
        handler="app.analyze.handler",
        model_folder=paths.variant_folder(plan.model, name),
        size_bytes=variant.size_bytes,
        threads=plan.bench.threads if own is None else (own,),
        memory_mb=variant.recipe.memory_mb,
    )


def _empty() -> Function:
    """A handler without a model: what starting Python and awslambdaric costs, a part of the machine's limit."""
    return Function(
        name=EMPTY,
        sha256=fingerprint([tree_sha256(NO_MODEL.glob("*.py"), NO_MODEL), file_sha256(RUNTIME_LOCK)]),
        python=paths.environment_python("runtime"),
        task_root=NO_MODEL,
        handler="handler.handler",
        model_folder=NO_MODEL,
        size_bytes=0,
        threads=(1,),
    )


def _contender(plan: Plan, contender: Contender) -> Function:
    folder, model = paths.ROOT / contender.folder, peers.served_folder(plan, contender)
    code, files = tree_sha256(folder.glob("*.py"), folder), (path for path in model.rglob("*") if path.is_file())
    lock = file_sha256(peers.lock_file(contender.environment))
    return Function(
        name=contender.name,
        sha256=fingerprint([code, lock, tree_sha256(files, model)]),
        python=paths.environment_python(contender.environment),
        task_root=folder,
        handler=contender.handler,
        model_folder=model,
        size_bytes=peers.weight_bytes(model),
        threads=contender.threads,
        memory_mb=contender.memory_mb,
    )
