"""The variant's manifest, and the check that its files are the ones it names.

The bytes are hashed in a thread: the first start overlaps it with the imports, which wait for Python, not for the
core. Refuses a missing, truncated or altered file, and a CPU that the files are not for, with one sentence. Imports
the standard library alone.
"""

import hashlib
import json
import mmap
import os
from concurrent.futures import Future
from threading import Thread

# The file that each engine and each tokenizer reads itself; others (mapped weights) it comes upon there.
ENGINE_FILES = {"onnxruntime": "model.onnx", "onnxruntime-c": "model.onnx", "native": "encoder.bin"}
TOKENIZER_FILES = {"tokenizers": "tokenizer.json", "mapped": "tokenizer.bin"}


class InitError(Exception):
    """The function cannot start; the message is one sentence for the operator."""


def read(folder):
    """The manifest in `folder` as a mapping (`files`, `model`, `recipe`, `sha256`, ...); raises `InitError`."""
    path = os.path.join(folder, "variant.json")
    try:
        with open(path, encoding="utf-8") as file:
            manifest = json.load(file)
    except OSError as error:
        raise InitError(f"The variant's manifest {path} cannot be read ({error.strerror}).") from None
    except ValueError:
        raise InitError(f"The variant's manifest {path} is not JSON: build the variant again.") from None
    try:
        _check(path, manifest)
    except KeyError as error:
        raise InitError(f"The variant's manifest {path} lacks or misnames {error}: build the variant again.") from None
    return manifest


def _check(path, manifest):
    """Raise `InitError` for a file that the engine or the tokenizer needs and nobody lists, and for another CPU."""
    runtime = manifest["recipe"]["runtime"]
    for name in (ENGINE_FILES[runtime["engine"]], TOKENIZER_FILES[runtime["tokenizer"]]):
        if name not in manifest["files"]:
            raise InitError(f"The variant's manifest {path} does not list {name}: build the variant again.")
    _refuse_other_cpu(manifest["cpu_flags"])


def _refuse_other_cpu(flags):
    """Raise `InitError` if the files are bound to CPU features (as named by /proc/cpuinfo) that this machine lacks."""
    if not flags:
        return
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        present = set(file.read().split())
    lacking = [flag for flag in flags if flag not in present]
    if lacking:
        raise InitError(
            f"The variant's weights are laid out for a CPU with {', '.join(lacking)}: this machine has none."
        )


def verify_in_background(folder, manifest):
    """Start hashing the manifest's files, small ones first; {name: future} whose `result()` raises `InitError`.

    Files whose bytes the engine checks itself (`self_checked`) are left out.
    """
    paths = {name: os.path.join(folder, name) for name in manifest["files"] if name not in manifest["self_checked"]}
    futures = {name: Future() for name in sorted(paths, key=lambda name: _size(paths[name]))}

    def verify():
        for name, future in futures.items():
            try:
                future.set_result(_verify_file(paths[name], manifest["files"][name]))
            except Exception as error:
                future.set_exception(error)

    Thread(target=verify, daemon=True).start()
    return futures


def _size(path):
    return os.path.getsize(path) if os.path.exists(path) else 0


def _verify_file(path, sha256):
    """One call hashes the whole mapping, so the interpreter's lock is given up once and not fought over."""
    try:
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            found = hashlib.sha256(content).hexdigest()
    except (OSError, ValueError) as error:
        raise InitError(f"The variant's file {path} is missing or empty ({error}).") from None
    if found != sha256:
        raise InitError(f"The variant's file {path} is damaged: its sha256 is {found[:12]}..., not {sha256[:12]}....")
