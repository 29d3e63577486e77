"""A start from disk: the page cache dropped, by the whole machine's switch or file by file.

Refuses to pretend: a way of dropping counts only if a file dropped by it is read from the disk again, tried for real.
Pages that a running process maps stay: of this bench's own interpreter and of the C library nothing is read again.
"""

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

DROP_CACHES = Path("/proc/sys/vm/drop_caches")
EVERYTHING = "3"  # pages, directory entries and inodes (Linux, Documentation/admin-guide/sysctl/vm.rst)
PROBE_BYTES = 2**20


def _drop_all(_: Iterable[Path]) -> None:
    os.sync()
    DROP_CACHES.write_text(EVERYTHING)


def _drop_files(paths: Iterable[Path]) -> None:
    for path in _files(paths):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fdatasync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


WAYS: Mapping[str, Callable[[Iterable[Path]], None]] = {"drop_caches": _drop_all, "fadvise": _drop_files}


def detect(folder: Path) -> str | None:
    """The first of `WAYS` after which a file in `folder` is read from the disk again; None where none is."""
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        file.write(os.urandom(PROBE_BYTES))
        file.flush()
        return next((way for way in WAYS if _works(way, Path(file.name))), None)


def drop(way: str, paths: Iterable[Path]) -> None:
    """Forget what is cached of `paths`, folders with all that is in them; `OSError` where `way` is not permitted."""
    WAYS[way](paths)


def disk_bytes() -> int:
    """The bytes that this process has had read from a block device so far."""
    fields = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(fields["read_bytes"])


def _works(way: str, path: Path) -> bool:
    try:
        drop(way, [path])
        before = disk_bytes()
        path.read_bytes()
        return disk_bytes() - before >= PROBE_BYTES
    except OSError:
        return False


def _files(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        yield from (found for found in path.rglob("*") if found.is_file()) if path.is_dir() else [path]
