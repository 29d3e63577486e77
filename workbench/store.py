"""Write records so that a killed process loses nothing: append + fsync, or temporary file + rename.

Refuses to skip damage silently: a torn last line (a killed writer) is cut off before the next append, any other
unreadable line is a `RecordError` that names the file and line.
"""

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

from workbench.errors import RecordError
from workbench.schema import SchemaError, from_mapping, to_plain

Record = TypeVar("Record")


def append(path: Path, record: Any) -> None:
    """Add `record` as one JSON line and wait until it is on disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        file.write(json.dumps(to_plain(record), ensure_ascii=False).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def read_lines(path: Path, kind: type[Record]) -> list[Record]:
    """Every record of a file written by `append`, in order; an absent file has none."""
    if not path.exists():
        return []
    lines = path.read_bytes().splitlines(keepends=True)
    return [_parse(line, kind, f"{path}:{number}") for number, line in enumerate(lines, 1) if line.endswith(b"\n")]


def drop_torn_tail(path: Path) -> None:
    """Cut an unfinished last line, which only a killed writer leaves."""
    if path.exists() and not (content := path.read_bytes()).endswith(b"\n"):
        os.truncate(path, content.rfind(b"\n") + 1)


def write(path: Path, record: Any) -> None:
    """Replace `path` by `record` as indented JSON, wholly or not at all."""
    write_text(path, json.dumps(to_plain(record), ensure_ascii=False, indent=2) + "\n")


def write_text(path: Path, text: str) -> None:
    """Replace `path` by `text`, wholly or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".partial")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def read(path: Path, kind: type[Record], remedy: str) -> Record:
    """The record in `path`; `remedy` is what to do when there is none."""
    if not path.exists():
        raise RecordError(f"{path} is missing", remedy)
    return _parse(path.read_bytes(), kind, str(path))


def file_sha256(path: Path) -> str:
    """The sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def tree_sha256(paths: Iterable[Path], root: Path) -> str:
    """The sha256 over the names (relative to `root`) and contents of `paths`, in the order of their names."""
    lines = sorted(f"{path.relative_to(root)} {file_sha256(path)}\n" for path in paths)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _parse(line: bytes, kind: type[Record], where: str) -> Record:
    try:
        return from_mapping(kind, json.loads(line))
    except (ValueError, SchemaError) as error:
        remedy = "restore the file from version control or delete it and run the stage again"
        raise RecordError(f"{where} is damaged ({error})", remedy) from error
