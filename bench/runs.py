"""A run: one folder with `run.json` (what was measured, on what) and `measurements.jsonl` (raw, appended as they come).

A killed run is found again by its identity and goes on; a finished one is never touched.
"""

import dataclasses
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from bench.functions import Function
from workbench import paths
from workbench.errors import RecordError
from workbench.machine import Machine
from workbench.plan import Plan, texts_sha256
from workbench.records import Cell, Measurement, Quality, Variant, fingerprint
from workbench.store import append, drop_torn_tail, read, read_lines, tree_sha256, write

RUN_FILE, VERDICT_FILE = "run.json", "verdict.json"
MEASUREMENTS_FILE, QUALITY_FILE, LIMIT_FILE = "measurements.jsonl", "quality.jsonl", "limit.json"
FORMAT = 2  # of a run's files; 1: the first; 2: recipes have a runtime, starts a footprint, the machine a limit


@dataclass(frozen=True, kw_only=True, slots=True)
class Contest:
    """One measured function as the report needs it; `variant` is None for a contender from outside."""

    name: str
    sha256: str
    size_bytes: int
    threads: tuple[int, ...]
    variant: Variant | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """What a run measures; `identity` decides whether a stopped run may go on."""

    format: int
    identity: str
    quick: bool
    started_at: str
    finished_at: str | None
    plan: Plan
    machine: Machine
    workload_sha256: str
    code_sha256: str
    contests: tuple[Contest, ...]


def runs_folder(*, quick: bool) -> Path:
    """Full runs are results; quick ones only look, and stay among the build products."""
    return (paths.BUILD / "quick" if quick else paths.RESULTS) / "runs"


def open_run(
    plan: Plan,
    functions: list[Function],
    variants: dict[str, Variant],
    texts: tuple[str, ...],
    machine: Machine,
    *,
    quick: bool,
) -> Path:
    """The folder of the newest unfinished run with the same identity, or of a new run."""
    contests = tuple(
        Contest(
            name=one.name,
            sha256=one.sha256,
            size_bytes=one.size_bytes,
            threads=one.threads,
            variant=variants.get(one.name),
        )
        for one in functions
    )
    code = code_sha256()
    workload = texts_sha256(texts)
    run = Run(
        format=FORMAT,
        identity=fingerprint([plan.bench, contests, workload, code, machine]),
        quick=quick,
        started_at=now(),
        finished_at=None,
        plan=plan,
        machine=machine,
        workload_sha256=workload,
        code_sha256=code,
        contests=contests,
    )
    return _unfinished(run) or _start(run)


def code_sha256() -> str:
    """The identity of this package's code as it stands."""
    return tree_sha256(Path(__file__).parent.glob("*.py"), Path(__file__).parent)


def finish(folder: Path) -> None:
    """Mark the run as complete."""
    write(folder / RUN_FILE, dataclasses.replace(load_run(folder), finished_at=now()))


def load_run(folder: Path) -> Run:
    """The run in `folder`."""
    return read(folder / RUN_FILE, Run, "run `nox -s bench`")


def latest(*, quick: bool) -> Path:
    """The folder of the newest finished run."""
    finished = [folder for folder in _folders(quick=quick) if load_run(folder).finished_at]
    if not finished:
        raise RecordError("there is no finished run", f"run `nox -s bench{' -- --quick' if quick else ''}`")
    return finished[-1]


def measurements(folder: Path) -> list[Measurement]:
    """Every sample of the run so far."""
    return read_lines(folder / MEASUREMENTS_FILE, Measurement)


def record(folder: Path, measurement: Measurement) -> None:
    """Add one sample to the run."""
    append(folder / MEASUREMENTS_FILE, measurement)


def qualities(folder: Path) -> list[Quality]:
    """Every variant's answers to labelled text in the run so far."""
    return read_lines(folder / QUALITY_FILE, Quality)


def record_quality(folder: Path, quality: Quality) -> None:
    """Add one variant's answers to the run."""
    append(folder / QUALITY_FILE, quality)


def evidence_sha256(folder: Path) -> str:
    """The identity of everything that was measured in the run."""
    files = [folder / name for name in (MEASUREMENTS_FILE, QUALITY_FILE, LIMIT_FILE)]
    return tree_sha256((path for path in files if path.exists()), folder)


def cells(plan: Plan, functions: list[Function], machine: Machine) -> list[tuple[Function, Cell]]:
    """Every function under every regime, memory size and thread count that it is measured at."""
    sweep = plan.bench
    return [
        (
            function,
            Cell(
                function=function.name,
                sha256=function.sha256,
                memory_mb=memory_mb,
                threads=threads,
                regime=regime,
                place=sweep.place,
                limits=machine.limits,
                architecture=machine.architecture,
            ),
        )
        for regime in sweep.regimes
        for memory_mb in sweep.memory_mb
        for function in functions
        if memory_mb in (function.memory_mb or sweep.memory_mb)
        for threads in function.threads
    ]


def now() -> str:
    """This moment in UTC to the second, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _folders(*, quick: bool) -> list[Path]:
    """The runs of this format, oldest first; other formats are left alone."""
    files = sorted(runs_folder(quick=quick).glob(f"*/{RUN_FILE}"))
    return [path.parent for path in files if json.loads(path.read_bytes()).get("format") == FORMAT]


def _unfinished(run: Run) -> Path | None:
    for folder in reversed(_folders(quick=run.quick)):
        found = load_run(folder)
        if found.identity == run.identity and not found.finished_at:
            for name in (MEASUREMENTS_FILE, QUALITY_FILE):
                drop_torn_tail(folder / name)
            return folder
    return None


def _start(run: Run) -> Path:
    folder = runs_folder(quick=run.quick) / run.started_at.replace(":", "").removesuffix("+0000")
    write(folder / RUN_FILE, run)
    return folder
