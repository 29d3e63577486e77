"""What is measured: the shipped handler with each variant, and the contenders with the same checkpoint."""

import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from workbench import paths
from workbench.errors import VariantError
from workbench.plan import Contender, Plan
from workbench.records import Variant, fingerprint
from workbench.store import file_sha256, read, tree_sha256

APP = paths.ROOT / "lambda_image" / "app"
RUNTIME_LOCK = paths.ROOT / "lambda_image" / "requirements.txt"


@dataclass(frozen=True, kw_only=True, slots=True)
class Function:
    """One Lambda function: how to start it, and the sha256 over everything that decides its speed."""

    name: str
    sha256: str
    python: Path
    task_root: Path
    handler: str
    model_folder: Path
    size_bytes: int
    threads: tuple[int, ...]
    environment: dict[str, str] = field(default_factory=dict)


def variants(plan: Plan) -> dict[str, Variant]:
    """The built variants of the plan's recipes by name."""
    return {recipe.name: _variant(paths.variant_folder(plan.model, recipe.name)) for recipe in plan.recipes}


def functions(plan: Plan) -> list[Function]:
    """Every function the plan measures: the variants in the plan's order, then the contenders."""
    ours = [_shipped(plan, name, variant) for name, variant in variants(plan).items()]
    return ours + [_contender(plan, contender) for contender in plan.contenders]


def compile_ahead(function: Function) -> None:
    """Compile the handler's bytecode, as an image has it, so that no cold start pays for it."""
    subprocess.run([function.python, "-m", "compileall", "-q", function.task_root], check=True)


def _variant(folder: Path) -> Variant:
    if not (folder / "variant.json").exists():
        raise VariantError(f"the variant {folder.name!r} is not built", "run `nox -s quantize`")
    return read(folder / "variant.json", Variant, "run `nox -s quantize`")


def _shipped(plan: Plan, name: str, variant: Variant) -> Function:
    code = tree_sha256(APP.glob("*.py"), APP)
    return Function(
        name=name,
        sha256=fingerprint([variant.sha256, code, file_sha256(RUNTIME_LOCK)]),
        python=paths.environment_python("runtime"),
        task_root=APP.parent,
        handler="app.analyze.handler",
        model_folder=paths.variant_folder(plan.model, name),
        size_bytes=variant.size_bytes,
        threads=plan.bench.threads,
    )


def _contender(plan: Plan, contender: Contender) -> Function:
    folder, checkpoint = paths.ROOT / contender.folder, paths.checkpoint_folder(plan.model)
    weights = list(checkpoint.glob("*.safetensors"))
    code = tree_sha256((*folder.glob("*.py"), *folder.glob("*.txt")), folder)
    return Function(
        name=contender.name,
        sha256=fingerprint([code, tree_sha256(weights, checkpoint)]),
        python=paths.environment_python(contender.environment),
        task_root=folder,
        handler=contender.handler,
        model_folder=checkpoint,
        size_bytes=sum(path.stat().st_size for path in weights),
        threads=(contender.threads,),
    )
