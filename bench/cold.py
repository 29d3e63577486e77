"""Cold starts: a fresh process for every sample, all cells interleaved in rounds of a recorded random order.

Two passes: with all files in the page cache, and from disk, the page cache dropped before every start.
"""

import json
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from bench import page_cache, runs
from bench.functions import Function
from bench.local_lambda import Invocation, LocalLambda, Settings
from workbench import paths
from workbench.plan import Plan, Sweep
from workbench.records import Cell, Kind, Measurement, fingerprint

TITLES: dict[Kind, str] = {"cold": "cold starts", "disk": "starts from disk"}
COLUMNS = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())


def measure(folder: Path, cells: list[tuple[Function, Cell]], texts: tuple[str, ...]) -> None:
    """Take every cold sample that the run in `folder` still lacks; a round sends one text to all cells."""
    _measure(folder, "cold", runs.load_run(folder).plan.bench.cold_samples, cells, texts, prepare=lambda _: None)


def measure_from_disk(folder: Path, cells: list[tuple[Function, Cell]], texts: tuple[str, ...]) -> None:
    """The same from disk, for the headline cells at the objective's memory size; where that cannot be had, say so."""
    plan, way = runs.load_run(folder).plan, page_cache.detect(paths.BUILD)
    if way is None:
        print("starts from disk are left out: nothing here may drop the page cache")
        return
    chosen = [(function, cell) for function, cell in cells if _is_headline(plan, function, cell)]
    _measure(folder, "disk", plan.bench.disk_samples, chosen, texts, prepare=partial(_drop, way))


def _measure(
    folder: Path,
    kind: Kind,
    samples: int,
    cells: list[tuple[Function, Cell]],
    texts: tuple[str, ...],
    prepare: Callable[[Function], None],
) -> None:
    run = runs.load_run(folder)
    done = {sample.key for sample in runs.measurements(folder)}
    with Progress(*COLUMNS) as progress:
        task = progress.add_task(TITLES[kind], total=samples * len(cells))
        for number in range(samples):
            for function, cell in shuffled(cells, run.plan.bench.seed, number):
                if (kind, cell.id, number) not in done:
                    prepare(function)
                    runs.record(folder, sample(run, kind, function, cell, number, texts[number % len(texts)]))
                progress.advance(task)


def _is_headline(plan: Plan, function: Function, cell: Cell) -> bool:
    headline = (plan.objective.memory_mb, plan.bench.regimes[0], function.threads[0])
    return (cell.memory_mb, cell.regime, cell.threads) == headline


def _drop(way: str, function: Function) -> None:
    page_cache.drop(way, (function.python.parent.parent, function.task_root, function.model_folder))


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


def sample(run: runs.Run, kind: Kind, function: Function, cell: Cell, number: int, text: str) -> Measurement:
    """Start the cell's function, send one text and record what came of it."""
    with LocalLambda(function, settings(cell, run.plan.bench)) as local:
        invocation = local.invoke(request(text))
        values = _values(invocation, local.footprint()) if invocation.outcome == "ok" else {}
    return measurement(run, cell, kind, number, invocation, values)


def measurement(
    run: runs.Run, cell: Cell, kind: Kind, number: int, invocation: Invocation, values: dict[str, tuple[float, ...]]
) -> Measurement:
    """The record of one process."""
    return Measurement(
        cell=cell,
        kind=kind,
        round=number,
        outcome=invocation.outcome,
        detail=invocation.detail,
        values=values,
        workload_sha256=run.workload_sha256,
        machine_sha256=fingerprint(run.machine),
        taken_at=runs.now(),
    )


def _values(invocation: Invocation, footprint: dict[str, float]) -> dict[str, tuple[float, ...]]:
    """Cold start in ms, split into phases: what the handler timed itself, and the interpreter as the rest of init.

    Beside it the process's footprint in MB, and the text's tokens where the handler tells them.
    """
    answer = json.loads(invocation.body)
    phases = answer["timings"]["init"]
    init_ms = invocation.init_ms or 0.0
    figures = {
        "cold_ms": invocation.cold_ms or 0.0,
        "init_ms": init_ms,
        "interpreter_ms": init_ms - sum(phases.values()),
        **phases,
        "first_answer_ms": (invocation.cold_ms or 0.0) - init_ms,
        **footprint,
        **({"tokens": answer["tokens"]} if "tokens" in answer else {}),
    }
    return {name: (round(value, 3),) for name, value in figures.items()}
