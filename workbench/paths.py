"""Where things are: everything built goes under the git-ignored `build/`, everything measured under `results/`."""

import os
from pathlib import Path

from workbench.errors import WorkbenchError
from workbench.records import ModelSource, fingerprint

ROOT = Path(__file__).resolve().parent.parent
BUILD = Path(os.environ.get("WORKBENCH_BUILD", ROOT / "build"))
RESULTS = Path(os.environ.get("WORKBENCH_RESULTS", ROOT / "results"))
ENVIRONMENTS = Path(os.environ.get("WORKBENCH_ENVIRONMENTS", ROOT / "build" / "environments"))


def model_folder(source: ModelSource) -> Path:
    """The folder of everything built from `source`: `checkpoint/`, `export/` and `variants/`."""
    name = source.where.strip("./").replace("/", "--")
    return BUILD / "models" / f"{name}-{fingerprint(source)[:8]}"


def checkpoint_folder(source: ModelSource) -> Path:
    """The checkpoint as transformers reads it: `config.json`, safetensors, tokenizer."""
    return model_folder(source) / "checkpoint"


def variant_folder(source: ModelSource, recipe: str) -> Path:
    """The folder that ships for one recipe."""
    return model_folder(source) / "variants" / recipe


def environment_python(name: str) -> Path:
    """The interpreter of a locked environment that `nox` made."""
    python = ENVIRONMENTS / name / "bin" / "python"
    if not python.exists():
        raise WorkbenchError(
            f"the environment {name!r} is not installed", "run `nox -s bench`, which installs all it needs"
        )
    return python
