"""A CPU without AVX512, VNNI and AMX for a process of its own, so that one machine gives both kinds' int8 answers.

Refuses to pretend: `supported` asks inside a masked process, and whoever measures asks it first. Times of a masked
process are those of this CPU without the instructions, never those of an older CPU.
"""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from workbench.errors import BenchError

SOURCE = Path(__file__).with_suffix(".c")
FLAGS = ("-std=gnu11", "-O2", "-shared", "-fPIC", "-Wl,-z,now,-z,initfirst")
PROBE = "import ctypes, sys; sys.exit(ctypes.CDLL(None).cpu_mask_works() != 1)"


def build(folder: Path) -> Path:
    """The library, compiled into `folder` with `cc` once for each version of its source."""
    library = folder / f"cpu_mask-{hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:8]}.so"
    if library.exists():
        return library
    if shutil.which("cc") is None:
        raise BenchError("no C compiler: there is no `cc` on the PATH", "install gcc or clang with the C headers")
    folder.mkdir(parents=True, exist_ok=True)
    partial = library.with_name(f"{library.name}.{os.getpid()}.partial")
    done = subprocess.run(["cc", *FLAGS, str(SOURCE), "-o", str(partial)], capture_output=True, text=True)
    if done.returncode != 0:
        raise BenchError(f"`cc` cannot compile {SOURCE.name}: {done.stderr.strip()}", "install its C headers")
    return partial.replace(library)


def supported(library: Path, python: Path) -> bool:
    """Whether `python` under `environment(library)` is told of AVX2 and nothing wider, as a CPU with no more is too."""
    masked = os.environ | environment(library)
    return subprocess.run([python, "-c", PROBE], env=masked, stderr=subprocess.DEVNULL).returncode == 0


def environment(library: Path) -> dict[str, str]:
    """The variables that mask a process, its threads and its children."""
    return {"LD_PRELOAD": str(library.resolve())}
