"""The machine's limit: what the fastest code for an encoder could reach here, measured in the run it is compared in.

A best case on purpose: registers alone, the best of several tries over seconds, no overhead of a model or a library.
Refuses to guess: without a C compiler there is no limit, and no ratio to it.
"""

import contextlib
import ctypes
import math
import mmap
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from bench import compiled, page_cache, runs
from workbench.errors import BenchError
from workbench.paths import BUILD
from workbench.records import Limit, Peak, fingerprint
from workbench.store import read, write

SOURCE = Path(__file__).with_suffix(".c")
KERNELS = (
    ("int8", "amx"),
    ("int8", "avx512_vnni"),
    ("int8", "avx_vnni"),
    ("int8", "avx2"),
    ("int8", "plain"),
    ("fp32", "avx512"),
    ("fp32", "avx2"),
    ("fp32", "plain"),
)
CORES = (1, 2)
TRIES, PAUSE_S = 10, 0.1
DISK_TRIES = 3
FIRST_ROUNDS, SHORTEST_S = 1000, 0.005
RANDOM_BYTES, ABSENT = 2**20, 0

Name = TypeVar("Name")


def multiply_adds(
    tokens: int, *, layers: int, hidden_size: int, intermediate_size: int, labels: int, cls_only: bool = True
) -> int:
    """The multiply-adds of an encoder's answer to `tokens` tokens, biases, norms and activations left out.

    The head reads the first row alone: with `cls_only` the last layer is counted for it, but for the keys and values,
    which it needs of all rows.
    """
    key_value, query_output = 2 * hidden_size**2, 2 * hidden_size**2 + 2 * hidden_size * intermediate_size
    last_rows = 1 if cls_only else tokens
    projected = (layers - 1) * tokens * (key_value + query_output) + tokens * key_value + last_rows * query_output
    attended = 2 * hidden_size * tokens * ((layers - 1) * tokens + last_rows)
    return projected + attended + hidden_size**2 + hidden_size * labels


def best_peak(limit: Limit, threads: int = 1) -> Peak:
    """The instruction set with the most multiply-adds a second, of int8 or fp32; more than two threads count as two."""
    return max(limit.peaks, key=lambda peak: peak.gmac_per_s[_place(threads)])


def cold_limit_ms(limit: Limit, *, interpreter_ms: float, size_bytes: int, macs: float, threads: int = 1) -> float:
    """The least a cold start can take: the empty handler's, each page of `size_bytes` touched, `macs` at peak."""
    touch_ms = limit.touch_ms * size_bytes / limit.size_bytes
    return interpreter_ms + touch_ms + _compute_ms(limit, macs, threads)


def warm_limit_ms(limit: Limit, *, size_bytes: int, macs: float, threads: int = 1) -> float:
    """The least a warm answer can take: `macs` at peak, or `size_bytes` from memory where that takes longer.

    `size_bytes` are the weights that every answer reads, all but the embedding rows of other tokens.
    """
    read_ms = size_bytes / (limit.memory_gb_per_s[_place(threads)] * 1e6)
    return max(_compute_ms(limit, macs, threads), read_ms)


def record(folder: Path, size_bytes: int) -> None:
    """Write the limit into the run's folder, once; where it cannot be had, say so."""
    if (folder / runs.LIMIT_FILE).exists():
        return
    try:
        library = compiled.build(SOURCE, BUILD / "limit")
    except BenchError as error:
        print(f"the machine's limit is left out: {error}")
        return
    write(folder / runs.LIMIT_FILE, measure(library, size_bytes, fingerprint(runs.load_run(folder).machine)))


def load(folder: Path) -> Limit | None:
    """The limit of the run in `folder`, None where it was left out."""
    path = folder / runs.LIMIT_FILE
    return read(path, Limit, "run `nox -s bench`") if path.exists() else None


def measure(library: Path, size_bytes: int, machine_sha256: str) -> Limit:
    """What this machine can do, by the compiled `library` and a file of `size_bytes` beside it; some seconds."""
    loaded = ctypes.CDLL(str(library))
    with _file(library.parent, size_bytes) as path, ThreadPoolExecutor(max(CORES)) as pool:
        way = page_cache.detect(library.parent)
        best = _best_s({"touch": partial(_touch_s, path), "read": partial(_seconds, path.read_bytes)})
        return Limit(
            peaks=_peaks(loaded, pool),
            size_bytes=size_bytes,
            touch_ms=best["touch"] * 1000,
            read_ms=best["read"] * 1000,
            disk_touch_ms=min(_disk_touch_s(path, way) for _ in range(DISK_TRIES)) * 1000 if way else None,
            page_cache=way,
            memory_gb_per_s=_memory_gb_per_s(pool, path),
            machine_sha256=machine_sha256,
            taken_at=runs.now(),
        )


def _peaks(library: ctypes.CDLL, pool: ThreadPoolExecutor) -> tuple[Peak, ...]:
    """The peak of every instruction set that this CPU has."""
    work = {name: run for name in KERNELS if (run := _work(library, "_".join(name)))}
    macs = {name: run() for name, run in work.items()}
    tasks = {(name, cores): partial(_together_s, pool, [run] * cores) for name, run in work.items() for cores in CORES}
    best = _best_s(tasks)
    return tuple(
        Peak(
            numbers=numbers,  # type: ignore[arg-type]
            instructions=instructions,
            gmac_per_s=tuple(cores * count / best[(numbers, instructions), cores] / 1e9 for cores in CORES),
        )
        for (numbers, instructions), count in macs.items()
    )


def _work(library: ctypes.CDLL, name: str) -> Callable[[], int] | None:
    """A call long enough for the clock, which returns its multiply-adds; None where this CPU cannot do it."""
    run = getattr(library, name, None)
    if run is None:
        return None
    run.argtypes, run.restype = [ctypes.c_long], ctypes.c_long
    rounds = FIRST_ROUNDS
    while run(1) and _seconds(partial(run, rounds)) < SHORTEST_S:
        rounds *= 2
    return partial(run, rounds) if run(1) else None


def _memory_gb_per_s(pool: ThreadPoolExecutor, path: Path) -> tuple[float, ...]:
    """How fast memory is read, by one core and by two that share it: libc's search for a byte that is not in it.

    The second of two reads at once counts, so that what the caches keep is kept; numpy asks for large pages.
    """
    search = ctypes.CDLL(None).memchr
    search.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
    content = np.fromfile(path, np.uint8)
    start, parts = content.ctypes.data, {cores: content.size // cores for cores in CORES}
    tasks = {
        cores: partial(_again_s, pool, [partial(search, start + place * part, ABSENT, part) for place in range(cores)])
        for cores, part in parts.items()
    }
    return tuple(cores * parts[cores] / seconds / 1e9 for cores, seconds in _best_s(tasks).items())


def _best_s(tasks: Mapping[Name, Callable[[], float]]) -> dict[Name, float]:
    """The shortest time of each task, all tried in turns, so that one busy moment of the machine spoils no figure."""
    best = dict.fromkeys(tasks, math.inf)
    for _ in range(TRIES):
        for name, task in tasks.items():
            best[name] = min(best[name], task())
        time.sleep(PAUSE_S)
    return best


def _together_s(pool: ThreadPoolExecutor, calls: list[Callable[[], int]]) -> float:
    return _seconds(lambda: list(pool.map(lambda call: call(), calls)))


def _again_s(pool: ThreadPoolExecutor, calls: list[Callable[[], int]]) -> float:
    _together_s(pool, calls)
    return _together_s(pool, calls)


def _seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def _touch_s(path: Path) -> float:
    """Map a file as a process does that has just started, and read a byte of every page."""
    with path.open("rb") as file:
        started = time.perf_counter()
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapping:
            _ = mapping[:: mmap.PAGESIZE]
            return time.perf_counter() - started


def _disk_touch_s(path: Path, way: str) -> float:
    page_cache.drop(way, [path])
    return _touch_s(path)


@contextlib.contextmanager
def _file(folder: Path, size_bytes: int) -> Iterator[Path]:
    """A file without the byte `ABSENT`, in the page cache and on disk."""
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        block = os.urandom(RANDOM_BYTES).replace(bytes([ABSENT]), b"\1")
        file.write((block * (size_bytes // RANDOM_BYTES + 1))[:size_bytes])
        file.flush()
        os.fsync(file.fileno())
        yield Path(file.name)


def _compute_ms(limit: Limit, macs: float, threads: int) -> float:
    return macs / (best_peak(limit, threads).gmac_per_s[_place(threads)] * 1e6)


def _place(threads: int) -> int:
    return min(threads, max(CORES)) - 1
