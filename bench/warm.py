"""Warm requests under pytest-benchmark: one test a cell and round, one process a test, all in a recorded random order.

Started by `python -m bench run`, which names the run's folder in WORKBENCH_RUN; what has a record is left out. The
workload's texts, in turn, alternate with one text of a fixed number of tokens.
"""

import itertools
import json
import os
from pathlib import Path

import pytest

from bench import cold, runs
from bench.fixed_length import TOKENS, text_of_tokens
from bench.functions import Function, functions
from bench.local_lambda import LocalLambda
from workbench.plan import read_texts
from workbench.records import Cell


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for every cell and round of the run that has no warm record yet."""
    run = runs.load_run(_folder())
    done = {sample.key for sample in runs.measurements(_folder())}
    cells = runs.cells(run.plan, functions(run.plan), run.machine)
    missing = [
        (function, cell, number)
        for number in range(run.plan.bench.warm_rounds)
        for function, cell in cold.shuffled(cells, run.plan.bench.seed, number)
        if ("warm", cell.id, number) not in done
    ]
    metafunc.parametrize(("function", "cell", "number"), missing, ids=[f"{cell.id}-{n}" for _, cell, n in missing])


@pytest.fixture(scope="session")
def fixed_text() -> str:
    """A text of `TOKENS` tokens, by the reference variant's own count."""
    run = runs.load_run(_folder())
    cells = runs.cells(run.plan, functions(run.plan), run.machine)
    function, cell = next((one, cell) for one, cell in cells if cell.memory_mb == run.plan.objective.memory_mb)
    with LocalLambda(function, cold.settings(cell, run.plan.bench)) as local:
        return text_of_tokens(local, read_texts(run.plan.workload))


def test_warm(function: Function, cell: Cell, number: int, fixed_text: str, benchmark) -> None:
    """A warm process answers both kinds of text in turn, and its raw times become the cell's record."""
    run = runs.load_run(_folder())
    alternating = ((text, fixed_text) for text in itertools.cycle(read_texts(run.plan.workload)))
    bodies = map(cold.request, itertools.chain.from_iterable(alternating))
    answers = []
    with LocalLambda(function, cold.settings(cell, run.plan.bench)) as local:
        first = [local.invoke(next(bodies)) for _ in range(2)]
        if first[-1].outcome == "ok":
            benchmark.pedantic(
                lambda body: answers.append(local.invoke(body)),
                setup=lambda: ((next(bodies),), {}),
                rounds=2 * run.plan.bench.warm_samples,
            )
    worst = next((answer for answer in (*first, *answers) if answer.outcome != "ok"), first[0])
    values = _values(benchmark.stats.stats.data, answers) if worst.outcome == "ok" else {}
    runs.record(_folder(), cold.measurement(run, cell, "warm", number, worst, values))


def _folder() -> Path:
    return Path(os.environ["WORKBENCH_RUN"])


def _values(seconds: list[float], answers: list) -> dict[str, tuple[float, ...]]:
    """Round trips through the Runtime API, and the handler's own share of them, in ms, by kind of text."""
    round_trips = [round(value * 1000, 3) for value in seconds]
    inference = [round(json.loads(answer.body)["timings"]["inference_ms"], 3) for answer in answers]
    return {
        "warm_ms": tuple(round_trips[::2]),
        "inference_ms": tuple(inference[::2]),
        f"warm_{TOKENS}_tokens_ms": tuple(round_trips[1::2]),
        f"inference_{TOKENS}_tokens_ms": tuple(inference[1::2]),
    }
