"""What the shipped modules import is part of the product: each has a budget, beyond what awslambdaric brings itself."""

import shutil
import subprocess
import sys

import pytest

from bench.functions import APP
from workbench.paths import environment_python

HASHING = {"_blake2", "_hashlib", "concurrent", "hashlib", "mmap"}
FOREIGN_CODE = {"_ctypes", "_struct", "ctypes", "struct"}
# The top-level names that importing each module adds; of the plain path's only those outside the standard library.
BUDGETS = {
    "classifier": HASHING,
    "emotions": set(),
    "manifest": HASHING,
    "native": FOREIGN_CODE | HASHING,
    "onnxruntime_c": FOREIGN_CODE,
    "problems": set(),
    "wordpiece": HASHING,
}
PLAIN = {"onnxruntime_python": {"numpy", "onnxruntime"}, "tokenizer_library": {"tokenizers"}}
LOADING = {"__init__", "analyze"}
SCRIPT = """
import importlib, sys
import awslambdaric.bootstrap
before = set(sys.modules)
importlib.import_module(f"app.{sys.argv[1]}")
print(*{name.partition(".")[0] for name in set(sys.modules) - before} - {"app"})
"""


def imported(module: str, root=APP.parent) -> set[str]:
    """The top-level names that a process of the runtime environment has only since it imported `module`."""
    command = [environment_python("runtime"), "-c", SCRIPT, module]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_every_shipped_module_has_a_budget() -> None:
    """No module of the app is without a row in the tables, but for the handler, which loads a model at once."""
    assert {path.stem for path in APP.glob("*.py")} - LOADING == BUDGETS.keys() | PLAIN.keys()


@pytest.mark.parametrize("module", BUDGETS)
def test_a_lean_module_imports_what_its_budget_says(module) -> None:
    """Nothing beyond the budget is imported, and nothing in the budget is out of date."""
    assert imported(module) == BUDGETS[module]


@pytest.mark.parametrize("module", PLAIN)
def test_the_plain_path_imports_its_own_packages_alone(module) -> None:
    """Of everything outside the standard library the plain path takes its engine and numpy, or its tokenizer."""
    assert imported(module) - sys.stdlib_module_names == PLAIN[module]


def test_a_planted_import_breaks_the_budget(tmp_path) -> None:
    """One more import in a copy of the app is seen."""
    shutil.copytree(APP, tmp_path / "app")
    path = tmp_path / "app" / "problems.py"
    path.write_text(f"import colorsys\n{path.read_text()}")
    assert "colorsys" in imported("problems", tmp_path) - BUDGETS["problems"]
