"""The models that the contenders serve; `python -m bench.peers [--plan FILE]` prepares those that are made for them.

A model is made once, by its environment's `prepare.py` in that environment, and is there once its stamp is, which is
written last: openvino knows its compiled model by path and time, so none is made elsewhere and moved into place.
Refuses to say whether a contender is good.
"""

import argparse
import os
import shutil
import subprocess
from pathlib import Path

from workbench import machine, paths
from workbench.errors import BenchError, VariantError, run_command
from workbench.plan import CONTENDERS, PLAN_FILE, READY_MODELS, Contender, Plan, load
from workbench.records import fingerprint
from workbench.store import file_sha256, tree_sha256, write_text

STAMP = "prepared.sha256"
WEIGHTS = ("*.safetensors", "*.onnx", "*.onnx_data", "*.xml", "cache/*.blob")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.peers", description=__doc__)
    parser.add_argument("--plan", type=Path, default=Path(PLAN_FILE))
    options, _ = parser.parse_known_args()
    prepare(load(options.plan))


def prepare(plan: Plan) -> None:
    """Make every model that a contender of the plan serves and that is not there yet, or was made from other things."""
    inputs = _inputs(plan)
    for model in sorted({contender.model for contender in plan.contenders} - set(READY_MODELS)):
        stamp, identity = prepared_folder(plan, model) / STAMP, _identity(model, inputs)
        fresh = not stamp.exists() or stamp.read_text() != identity
        if fresh:
            _make(plan, model)
            write_text(stamp, identity)
        print(f"{model}: {'prepared' if fresh else 'unchanged'}", flush=True)


def served_folder(plan: Plan, contender: Contender) -> Path:
    """The folder that the contender's function gets; `VariantError` where it was not made."""
    if contender.model in READY_MODELS:
        return paths.model_folder(plan.model) / contender.model
    folder = prepared_folder(plan, contender.model)
    if not (folder / STAMP).exists():
        raise VariantError(
            f"{contender.model}, which {contender.name} serves, is not prepared", "run `nox -s contenders`"
        )
    return folder


def prepared_folder(plan: Plan, model: str) -> Path:
    """Where the model `ENVIRONMENT/FORM` is made."""
    return paths.model_folder(plan.model) / "contenders" / model


def weight_bytes(folder: Path) -> int:
    """The bytes of the model in a served folder: graph and weights, embeddings included, tokenizer not."""
    return sum(path.stat().st_size for pattern in WEIGHTS for path in folder.glob(pattern))


def lock_file(environment: str) -> Path:
    """The locked requirements of a contender's environment."""
    return CONTENDERS / environment / "requirements.txt"


def _inputs(plan: Plan) -> list[str]:
    """What every prepared model depends on: the files it is made from, and this processor, which it is made for."""
    folder, here = paths.model_folder(plan.model), machine.describe("none")
    files = [path for name in READY_MODELS for path in (folder / name).rglob("*") if path.is_file()]
    return [tree_sha256(files, folder), file_sha256(paths.ROOT / plan.workload.file), here.cpu, *here.flags]


def _identity(model: str, inputs: list[str]) -> str:
    environment = model.partition("/")[0]
    script = tree_sha256((CONTENDERS / environment).glob("*.py"), CONTENDERS)
    return fingerprint([model, script, file_sha256(lock_file(environment)), inputs])


def _make(plan: Plan, model: str) -> None:
    environment, _, form = model.partition("/")
    folder = prepared_folder(plan, model)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    export, diaries = paths.model_folder(plan.model) / "export", paths.ROOT / plan.workload.file
    script = CONTENDERS / environment / "prepare.py"
    command = map(str, (paths.environment_python(environment), script, form, export, diaries, folder))
    done = subprocess.run([*command], env=os.environ | {"PYTHONPATH": str(paths.ROOT)})
    if done.returncode:
        raise BenchError(f"{model} could not be prepared; the output is above", "mend the cause and run it again")


if __name__ == "__main__":
    run_command(main)
