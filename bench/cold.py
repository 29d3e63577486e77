"""Cold starts: a fresh process for every sample, all cells interleaved in rounds of a recorded random order."""

import json
import random
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from bench import runs
from bench.functions import Function
from bench.local_lambda import Invocation, LocalLambda, Settings
from workbench.plan import Sweep
from workbench.records import Cell, Measurement, fingerprint

COLUMNS = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())


def measure(folder: Path, cells: list[tuple[Function, Cell]], texts: tuple[str, ...]) -> None:
    """Take every cold sample that the run in `folder` still lacks; a round sends one text to all cells."""
    run = runs.load_run(folder)
    done = {sample.key for sample in runs.measurements(folder)}
    with Progress(*COLUMNS) as progress:
        task = progress.add_task("cold starts", total=run.plan.bench.cold_samples * len(cells))
        for number in range(run.plan.bench.cold_samples):
            for function, cell in shuffled(cells, run.plan.bench.seed, number):
                if ("cold", cell.id, number) not in done:
                    runs.record(folder, sample(run, function, cell, number, texts[number % len(texts)]))
                progress.advance(task)


def shuffled(cells: list[tuple[Function, Cell]], seed: int, number: int) -> list[tuple[Function, Cell]]:
    """The cells in the order of round `number`: random, and the same for the same seed."""
    return random.Random(f"{seed}-{number}").sample(cells, len(cells))


def settings(cell: Cell, sweep: Sweep) -> Settings:
    """How the cell's process is run."""
    return Settings(
        memory_mb=cell.memory_mb,
        threads=cell.threads,
        regime=cell.regime,
        limits=cell.limits,
        timeout_s=sweep.timeout_s,
    )


def request(text: str) -> bytes:
    """The event that a diary app sends."""
    return json.dumps({"text": text}, ensure_ascii=False).encode()


def sample(run: runs.Run, function: Function, cell: Cell, number: int, text: str) -> Measurement:
    """Start the cell's function, send one text and record what came of it."""
    with LocalLambda(function, settings(cell, run.plan.bench)) as local:
        invocation = local.invoke(request(text))
        values = _values(invocation, local.peak_mb()) if invocation.outcome == "ok" else {}
    return measurement(run, cell, "cold", number, invocation, values)


def measurement(
    run: runs.Run, cell: Cell, kind: str, number: int, invocation: Invocation, values: dict[str, tuple[float, ...]]
) -> Measurement:
    """The record of one process."""
    return Measurement(
        cell=cell,
        kind=kind,  # type: ignore[arg-type]
        round=number,
        outcome=invocation.outcome,
        detail=invocation.detail,
        values=values,
        workload_sha256=run.workload_sha256,
        machine_sha256=fingerprint(run.machine),
        taken_at=runs.now(),
    )


def _values(invocation: Invocation, peak_mb: float) -> dict[str, tuple[float, ...]]:
    """Cold start in ms, split into phases: what the handler timed itself, and the interpreter as the rest of init."""
    phases = json.loads(invocation.body)["timings"]["init"]
    init_ms = invocation.init_ms or 0.0
    figures = {
        "cold_ms": invocation.cold_ms or 0.0,
        "init_ms": init_ms,
        "interpreter_ms": init_ms - sum(phases.values()),
        **phases,
        "first_answer_ms": (invocation.cold_ms or 0.0) - init_ms,
        "peak_mb": peak_mb,
    }
    return {name: (round(value, 3),) for name, value in figures.items()}
