"""A CPU without AVX512, VNNI and AMX for a process of its own, so that one machine gives both kinds' int8 answers.

Refuses to pretend: `supported` asks inside a masked process, and whoever measures asks it first. Times of a masked
process are those of this CPU without the instructions, never those of an older CPU.
"""

import os
import subprocess
from pathlib import Path

from bench import compiled

SOURCE = Path(__file__).with_suffix(".c")
FLAGS = ("-Wl,-z,now,-z,initfirst",)
PROBE = "import ctypes, sys; sys.exit(ctypes.CDLL(None).cpu_mask_works() != 1)"


def build(folder: Path) -> Path:
    """The library, compiled into `folder`; raises `BenchError` without a C compiler."""
    return compiled.build(SOURCE, folder, FLAGS)


def supported(library: Path, python: Path) -> bool:
    """Whether `python` under `environment(library)` is told of AVX2 and nothing wider, as a CPU with no more is too."""
    masked = os.environ | environment(library)
    return subprocess.run([python, "-c", PROBE], env=masked, stderr=subprocess.DEVNULL).returncode == 0


def environment(library: Path) -> dict[str, str]:
    """The variables that mask a process, its threads and its children."""
    return {"LD_PRELOAD": str(library.resolve())}
