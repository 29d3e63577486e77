"""Questions that the chooser and the report ask of a run's raw samples.

Refuses to answer from nothing: a metric without samples is a `RecordError`, never a zero.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from bench import limit as limits
from bench import runs
from workbench.errors import RecordError
from workbench.records import Kind, Limit, Measurement, Outcome, Quality

ONE_VCPU_MB = 1769


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """A run and its samples, of one machine and one workload; `limit` is None where it could not be measured.

    `samples` are of each function's first thread count, `other_threads` those of its others.
    """

    run: runs.Run
    samples: tuple[Measurement, ...]
    qualities: tuple[Quality, ...] = ()
    limit: Limit | None = None
    other_threads: tuple[Measurement, ...] = ()

    def of(self, function: str, memory_mb: int, kind: Kind) -> list[Measurement]:
        """The samples of one kind for a function at a memory size, in the order of their rounds."""
        found = (s for s in self.samples if (s.cell.function, s.cell.memory_mb, s.kind) == (function, memory_mb, kind))
        return sorted(found, key=lambda sample: sample.round)

    def outcomes(self, function: str, memory_mb: int) -> list[Outcome]:
        """How the cold and warm processes of a cell ended."""
        return [s.outcome for kind in ("cold", "warm") for s in self.of(function, memory_mb, kind)]

    def by_round(self, function: str, memory_mb: int, metric: str, kind: Kind = "cold") -> dict[int, float]:
        """A metric of the starts of one kind by round, successful samples only."""
        starts = self.of(function, memory_mb, kind)
        return {sample.round: sample.values[metric][0] for sample in starts if metric in sample.values}

    def cold(self, function: str, memory_mb: int, metric: str = "cold_ms", kind: Kind = "cold") -> list[float]:
        """A metric's samples from the starts of one kind; raises `RecordError` when there are none."""
        return self._some(
            self.by_round(function, memory_mb, metric, kind).values(),
            f"{metric} of {function} at {memory_mb} MB ({kind})",
        )

    def warm(self, function: str, memory_mb: int, metric: str = "warm_ms") -> list[float]:
        """A warm metric's samples; raises `RecordError` when there are none."""
        values = (value for sample in self.of(function, memory_mb, "warm") for value in sample.values.get(metric, ()))
        return self._some(values, f"{metric} of {function} at {memory_mb} MB")

    def has_answers(self, function: str, memory_mb: int) -> bool:
        """Whether the cell answered at least once, cold and warm."""
        kinds = {
            sample.kind
            for sample in self.samples
            if sample.outcome == "ok" and (sample.cell.function, sample.cell.memory_mb) == (function, memory_mb)
        }
        return kinds >= {"cold", "warm"}

    def sizes(self, function: str) -> list[int]:
        """The memory sizes in MB that the function was measured at."""
        return sorted({sample.cell.memory_mb for sample in self.samples if sample.cell.function == function})

    def paired(
        self, first: str, second: str, memory_mb: int, metric: str, kind: Kind = "cold"
    ) -> tuple[list[float], list[float]]:
        """The samples of two functions from the rounds in which both succeeded."""
        one, two = (self.by_round(function, memory_mb, metric, kind) for function in (first, second))
        rounds = sorted(one.keys() & two.keys())
        self._some(rounds, f"rounds in which {first} and {second} both answered at {memory_mb} MB")
        return [one[number] for number in rounds], [two[number] for number in rounds]

    def quality(self, function: str, dataset: str, cpu: str = "native") -> Quality:
        """A variant's answers to a data set; raises `RecordError` when there are none."""
        found = [one for one in self.qualities if one.key == (self._asked(function), dataset, cpu)]
        if not found:
            raise RecordError(
                f"the run has no answers of {function} to {dataset} ({cpu})", "run `nox -s bench` to the end"
            )
        return found[0]

    def has_quality(self, function: str, dataset: str, cpu: str = "native") -> bool:
        """Whether the variant answered the data set."""
        return any(one.key == (self._asked(function), dataset, cpu) for one in self.qualities)

    def _asked(self, function: str) -> str:
        """The first variant that answers as `function` does, which was asked for all of them."""
        variants = {contest.name: contest.variant for contest in self.run.contests if contest.variant}
        return next(name for name, one in variants.items() if one.answers == variants[function].answers)

    def contest(self, function: str) -> runs.Contest:
        """What is known of a measured function before any sample."""
        return next(contest for contest in self.run.contests if contest.name == function)

    def ours(self) -> list[str]:
        """The names of our variants."""
        return [contest.name for contest in self.run.contests if contest.variant]

    def contenders(self) -> list[str]:
        """The names of the contenders from outside that load a model."""
        return [contest.name for contest in self.run.contests if not contest.variant and contest.size_bytes]

    def of_contenders(self, kind: Kind, memory_mb: int, metric: str) -> list[Measurement]:
        """The contenders' samples of one kind that have the metric, at every thread count."""
        return [
            one
            for one in (*self.samples, *self.other_threads)
            if (one.kind, one.cell.memory_mb) == (kind, memory_mb)
            and metric in one.values
            and one.cell.function in self.contenders()
        ]

    def reference(self) -> str:
        """The variant without steps, to whose answers all others are held."""
        recipes = [contest.variant.recipe for contest in self.run.contests if contest.variant]
        return next(recipe.name for recipe in recipes if not recipe.steps)

    @staticmethod
    def _some(values: Iterable[float], what: str) -> list[float]:
        found = list(values)
        if not found:
            raise RecordError(f"the run has no {what}", "run `nox -s bench` to the end")
        return found


def load(folder: Path) -> Evidence:
    """The evidence of a run; refuses samples of another machine or workload.

    Of several regimes or thread counts only the plan's first of each is taken: settings are never mixed in one figure.
    """
    run, samples = runs.load_run(folder), runs.measurements(folder)
    if len({(sample.machine_sha256, sample.workload_sha256) for sample in samples}) > 1:
        raise RecordError(f"{folder} mixes machines or workloads", "delete the run and measure again")
    chosen, others = by_threads(run, samples)
    return Evidence(
        run=run,
        samples=tuple(chosen),
        qualities=tuple(runs.qualities(folder)),
        limit=limits.load(folder),
        other_threads=tuple(others),
    )


def by_threads(run: runs.Run, samples: list[Measurement]) -> tuple[list[Measurement], list[Measurement]]:
    """The samples of the plan's first regime: of each function's first thread count, and of its others."""
    first = {contest.name: contest.threads[0] for contest in run.contests}
    known = [one for one in samples if one.cell.regime == run.plan.bench.regimes[0]]
    return (
        [one for one in known if one.cell.threads == first[one.cell.function]],
        [one for one in known if one.cell.threads != first[one.cell.function]],
    )
