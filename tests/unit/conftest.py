"""What the fast tests share: a plan on disk, functions of a few lines, and synthetic evidence."""

import shutil
from pathlib import Path

import pytest

from bench.evidence import Evidence
from bench.functions import Function
from bench.runs import FORMAT, Contest, Run
from workbench import paths
from workbench.emotions import EMOTIONS
from workbench.machine import Machine
from workbench.plan import Plan, load
from workbench.records import (
    Cell,
    Limit,
    Measurement,
    ModelFacts,
    ModelSource,
    Parity,
    Quality,
    Recipe,
    Variant,
    fingerprint,
)

MACHINE = Machine(
    cpu="a cpu", cores=2, memory_mb=8192, flags=("avx2",), kernel="6", architecture="x86_64", limits="cgroup-v2"
)
FACTS = ModelFacts(
    source=ModelSource(where="./model"),
    family="electra",
    labels=EMOTIONS,
    emotions=EMOTIONS,
    thresholds=dict.fromkeys(EMOTIONS, 0.5),
    activation="softmax",
    max_tokens=512,
    vocabulary_size=100,
    layers=2,
    hidden_size=64,
    intermediate_size=128,
    parameters=1000,
    trained=True,
    sha256="m" * 64,
)


@pytest.fixture
def plan_file(tmp_path: Path) -> Path:
    """A copy of the repository's plan, to be damaged by a test."""
    return Path(shutil.copy(paths.ROOT / "workbench.toml", tmp_path))


@pytest.fixture
def plan() -> Plan:
    """The repository's own plan."""
    return load(paths.ROOT / "workbench.toml")


@pytest.fixture
def make_function(tmp_path: Path):
    """A function of the runtime environment whose handler module has the given source."""

    def make(source: str) -> Function:
        (tmp_path / "small.py").write_text(source)
        return Function(
            name="small",
            sha256="0" * 64,
            python=paths.environment_python("runtime"),
            task_root=tmp_path,
            handler="small.handler",
            model_folder=tmp_path,
            size_bytes=0,
            threads=(1,),
        )

    return make


def variant(name: str, *, size_bytes: int = 100, agreement: float = 1.0, steps: tuple[str, ...] = ()) -> Variant:
    """A variant record with the given name, size and label agreement."""
    return Variant(
        recipe=Recipe(name=name, steps=steps),
        model=FACTS,
        files={"model.onnx": fingerprint(name)},
        sha256=fingerprint(name),
        size_bytes=size_bytes,
        part_bytes={"embeddings": size_bytes // 2},
        graph_nodes=1,
        optimize_at_load=True,
        float_nodes=(),
        versions={},
        parity=Parity(texts=10, longest_tokens=9, max_logit_difference=0.1, label_agreement=agreement),
        built_from="",
    )


def evidence(
    plan: Plan,
    variants: list[Variant],
    cold_ms: dict[str, list[float]],
    *,
    peak_mb: float = 200.0,
    outcome: str = "ok",
    wrong: dict[str, int] | None = None,
    limit: Limit | None = None,
) -> Evidence:
    """A run in which every function has the given cold starts at every memory size, and warm answers of 10 ms.

    A start from disk takes twice as long and reads a MB for each of its ms; a text of 64 tokens takes a tenth of a start.
    """
    known = {one.recipe.name: one for one in variants}
    contests = tuple(
        Contest(
            name=name,
            sha256=fingerprint(name),
            size_bytes=known[name].size_bytes if name in known else 0 if name == "empty" else 1000,
            threads=(1,),
            variant=known.get(name),
        )
        for name in cold_ms
    )
    run = Run(
        format=FORMAT,
        identity="i",
        quick=False,
        started_at="2026-01-01T00:00:00+00:00",
        finished_at="later",
        plan=plan,
        machine=MACHINE,
        workload_sha256="w" * 64,
        code_sha256="c" * 64,
        contests=contests,
    )
    samples = [
        sample(name, size, kind, number, start(factor * value, peak_mb), outcome)
        for kind, factor in (("cold", 1), ("disk", 2))
        for name, values in cold_ms.items()
        for size in plan.bench.memory_mb
        for number, value in enumerate(values)
    ]
    warm = [
        sample(name, size, "warm", 0, {"warm_ms": 10.0, "warm_64_tokens_ms": values[0] / 10}, "ok")
        for name, values in cold_ms.items()
        for size in plan.bench.memory_mb
    ]
    answers = [quality(name, (wrong or {}).get(name, 0)) for name in known]
    return Evidence(run=run, samples=(*samples, *warm), qualities=tuple(answers), limit=limit)


def start(cold_ms: float, peak_mb: float) -> dict[str, float]:
    """What is recorded of a start of `cold_ms`."""
    held = {"peak_mb": peak_mb, "read_mb": cold_ms, "copied_mb": 1.0, "mapped_mb": 2.0}
    return {"cold_ms": cold_ms, "init_ms": cold_ms - 10, "tokens": 64, **held}


def quality(name: str, wrong: int = 0, *, cpu: str = "native", dataset: str = "diaries", entries: int = 400) -> Quality:
    """Answers to entries of all eight emotions in turn, all right but for the first `wrong` ones, which are the next."""
    gold = [number % 8 for number in range(entries)]
    found = [(label + 1) % 8 if number < wrong else label for number, label in enumerate(gold)]
    return Quality(
        function=name,
        sha256=fingerprint(name),
        dataset=dataset,
        cpu=cpu,
        gold=tuple((label,) for label in gold),
        scores=tuple(tuple(0.9 if place == label else 0.1 for place in range(8)) for label in found),
        dataset_sha256="d" * 64,
        machine_sha256=fingerprint(MACHINE),
        taken_at="2026-01-01T00:00:00+00:00",
    )


def sample(
    name: str, memory_mb: int, kind: str, number: int, values: dict[str, float], outcome: str, regime: str = "burst"
) -> Measurement:
    """One measurement record."""
    cell = Cell(
        function=name,
        sha256=fingerprint(name),
        memory_mb=memory_mb,
        threads=1,
        regime=regime,
        place="process",
        limits="cgroup-v2",
        architecture="x86_64",
    )
    return Measurement(
        cell=cell,
        kind=kind,
        round=number,
        outcome=outcome,
        detail="",
        values={metric: (value,) for metric, value in values.items()} if outcome == "ok" else {},
        workload_sha256="w" * 64,
        machine_sha256=fingerprint(MACHINE),
        taken_at="2026-01-01T00:00:00+00:00",
    )
