"""The C of this package as shared libraries, compiled with `cc` once for each version of a source.

Refuses to guess a compiler: without `cc` on the PATH there is no library, and whoever asked says what is left out.
"""

import hashlib
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from workbench.errors import BenchError

FLAGS = ("-std=gnu11", "-O2", "-shared", "-fPIC")


def build(source: Path, folder: Path, flags: Sequence[str] = ()) -> Path:
    """The library of `source` in `folder`, its name that of the source and its version; `BenchError` without `cc`."""
    library = folder / f"{source.stem}-{hashlib.sha256(source.read_bytes()).hexdigest()[:8]}.so"
    if library.exists():
        return library
    if shutil.which("cc") is None:
        raise BenchError("no C compiler: there is no `cc` on the PATH", "install gcc or clang with the C headers")
    folder.mkdir(parents=True, exist_ok=True)
    partial = library.with_name(f"{library.name}.{os.getpid()}.partial")
    command = ["cc", *FLAGS, *flags, str(source), "-o", str(partial)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise BenchError(f"`cc` cannot compile {source.name}: {done.stderr.strip()}", "install its C headers")
    return partial.replace(library)
