"""Warm requests under pytest-benchmark: one test a cell, one process a test, the workload's texts in turn.

Started by `python -m bench run`, which names the run's folder in WORKBENCH_RUN; cells with a record are left out.
"""

import itertools
import json
import os
from pathlib import Path

import pytest

from bench import cold, runs
from bench.functions import Function, functions
from bench.local_lambda import LocalLambda
from workbench.plan import read_texts
from workbench.records import Cell


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for every cell of the run that has no warm record yet."""
    folder = Path(os.environ["WORKBENCH_RUN"])
    run = runs.load_run(folder)
    done = {sample.key for sample in runs.measurements(folder)}
    cells = runs.cells(run.plan, functions(run.plan), run.machine)
    missing = [(function, cell) for function, cell in cells if ("warm", cell.id, 0) not in done]
    metafunc.parametrize(("function", "cell"), missing, ids=[cell.id for _, cell in missing])


def test_warm(function: Function, cell: Cell, benchmark) -> None:
    """A warm process answers the workload's texts, and its raw times become the cell's record."""
    folder = Path(os.environ["WORKBENCH_RUN"])
    run = runs.load_run(folder)
    bodies = itertools.cycle(map(cold.request, read_texts(run.plan.workload)))
    answers = []
    with LocalLambda(function, cold.settings(cell, run.plan.bench)) as local:
        first = local.invoke(next(bodies))
        if first.outcome == "ok":
            benchmark.pedantic(
                lambda body: answers.append(local.invoke(body)),
                setup=lambda: ((next(bodies),), {}),
                rounds=run.plan.bench.warm_samples,
            )
    worst = next((answer for answer in (first, *answers) if answer.outcome != "ok"), first)
    values = _values(benchmark.stats.stats.data, answers) if worst.outcome == "ok" else {}
    runs.record(folder, cold.measurement(run, cell, "warm", 0, worst, values))


def _values(seconds: list[float], answers: list) -> dict[str, tuple[float, ...]]:
    """Round trips through the Runtime API, and the handler's own share of them, in ms."""
    inference = (json.loads(answer.body)["timings"]["inference_ms"] for answer in answers)
    return {
        "warm_ms": tuple(round(value * 1000, 3) for value in seconds),
        "inference_ms": tuple(round(value, 3) for value in inference),
    }
