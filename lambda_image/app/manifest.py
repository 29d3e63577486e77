"""The variant's manifest, and the check that its files are the ones it names.

The bytes are hashed in a thread: the first start overlaps it with the imports, which wait for Python, not for the
core. Refuses a missing, truncated or altered file with one sentence. Imports the standard library alone.
"""

import hashlib
import json
import mmap
import os
from concurrent.futures import Future
from threading import Thread

NEEDED_FILES = ("tokenizer.json", "model.onnx")


class InitError(Exception):
    """The function cannot start; the message is one sentence for the operator."""


def read(folder):
    """The manifest in `folder` as a mapping (`files`, `model`, `recipe`, `sha256`, ...)."""
    path = os.path.join(folder, "variant.json")
    try:
        with open(path, encoding="utf-8") as file:
            manifest = json.load(file)
    except OSError as error:
        raise InitError(f"The variant's manifest {path} cannot be read ({error.strerror}).") from None
    except ValueError:
        raise InitError(f"The variant's manifest {path} is not JSON: build the variant again.") from None
    missing = [name for name in NEEDED_FILES if name not in manifest.get("files", {})]
    if missing:
        raise InitError(f"The variant's manifest {path} does not list {missing[0]}: build the variant again.")
    return manifest


def verify_in_background(folder, manifest):
    """Start hashing the manifest's files, small ones first; {name: future} whose `result()` raises `InitError`."""
    paths = {name: os.path.join(folder, name) for name in manifest["files"]}
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
