"""The headline figures of a run, under stable flat names, each derived from its raw samples."""

from collections.abc import Callable, Mapping
from statistics import median

from bench import accuracy, headroom
from bench.evidence import ONE_VCPU_MB, Evidence
from bench.fixed_length import TOKENS
from bench.quality import AVX2, DIARIES, KOTE
from bench.statistics import paired_ratio, ratio_of_medians
from workbench.paths import ROOT
from workbench.records import Interval, Kind, Measurement, Verdict

BUILTIN_WEIGHTS = ROOT / "optimize" / "builtin" / "model.safetensors"
FIXED = f"warm_{TOKENS}_tokens_ms"
# What a user would pick instead, by its name in the figures; of several, the one that starts fastest counts.
RIVALS = {
    "plan": ("plan",),
    "optimum_int8": ("optimum-int8",),
    "openvino": ("openvino-weights", "openvino-ptq"),
    "onnxruntime": ("onnxruntime-int8",),
}


def summary(evidence: Evidence, verdict: Verdict, run: str) -> dict[str, dict[str, object]]:
    """The headline figures under flat names, each with its interval, sample count and run."""
    return {
        name: {"value": one.value, "low": one.low, "high": one.high, "n": one.n, "run": run}
        for name, one in figures(evidence, verdict).items()
    }


def figures(evidence: Evidence, verdict: Verdict) -> dict[str, Interval]:
    """The headline figures by name; one that the run cannot give is not there."""
    return {
        **{f"cold_ratio_vs_{rival}": cold_ratio(evidence, ms, verdict) for rival, (_, ms) in rivals(evidence).items()},
        **{name: found for name, figure in FIGURES.items() if (found := figure(evidence, verdict))},
        **accuracy_figures(evidence, verdict.winner),
        **_counts(evidence),
    }


def rivals(evidence: Evidence) -> dict[str, tuple[str, dict[int, float]]]:
    """For each of `RIVALS` that answered, the contender and thread count that start fastest: its name, ms by round."""
    found = {rival: _starts(evidence, names) for rival, names in RIVALS.items()}
    return {
        rival: min(settings.items(), key=lambda item: median(item[1].values()))
        for rival, settings in found.items()
        if settings
    }


def cold_ratio(evidence: Evidence, rival_ms: dict[int, float], verdict: Verdict) -> Interval:
    """How many times faster the winner starts than a rival, round by round at the verdict's memory size."""
    ours_ms = evidence.by_round(verdict.winner, verdict.memory_mb, "cold_ms")
    rounds = sorted(ours_ms.keys() & rival_ms.keys())
    return paired_ratio([rival_ms[number] for number in rounds], [ours_ms[number] for number in rounds])


def best_warm(evidence: Evidence) -> tuple[str, list[float]] | None:
    """The contender and thread count that answer 64 tokens fastest with one vCPU: its name, and its samples in ms."""
    samples: dict[str, list[float]] = {}
    for one in evidence.of_contenders("warm", ONE_VCPU_MB, FIXED):
        samples.setdefault(_setting(one), []).extend(one.values[FIXED])
    return min(samples.items(), key=lambda item: median(item[1])) if samples else None


def warm_ratio_vs_best(evidence: Evidence, verdict: Verdict) -> Interval | None:
    """How many times faster the winner answers 64 tokens than the best contender at its best, with one vCPU."""
    best = best_warm(evidence)
    if best is None or ONE_VCPU_MB not in evidence.sizes(verdict.winner):
        return None
    return ratio_of_medians(best[1], evidence.warm(verdict.winner, ONE_VCPU_MB, FIXED))


def peak_memory_ratio(evidence: Evidence, verdict: Verdict) -> Interval | None:
    """The winner's peak memory over the plan's stack's, round by round."""
    return _over_plan(evidence, verdict, "peak_mb", "cold")


def bytes_read_ratio(evidence: Evidence, verdict: Verdict) -> Interval | None:
    """What the winner reads from the disk for its first answer over what the plan's stack does, round by round."""
    return _over_plan(evidence, verdict, "read_mb", "disk")


def size_ratio(evidence: Evidence, verdict: Verdict) -> Interval | None:
    """The winner's bytes over fp32's."""
    return _exact(evidence.contest(verdict.winner).size_bytes / evidence.contest(evidence.reference()).size_bytes)


def weights_mb(evidence: Evidence, verdict: Verdict) -> Interval | None:
    """The built-in model's packed weights in MB, where it is what the run measured."""
    return _exact(BUILTIN_WEIGHTS.stat().st_size / 1e6) if evidence.run.plan.model.where == "builtin" else None


FIGURES: Mapping[str, Callable[[Evidence, Verdict], Interval | None]] = {
    "cold_over_limit": headroom.cold_over_limit,
    "warm_over_limit": headroom.warm_over_limit,
    "warm_ratio_vs_best": warm_ratio_vs_best,
    "peak_memory_ratio_vs_plan": peak_memory_ratio,
    "bytes_read_ratio_vs_plan": bytes_read_ratio,
    "size_ratio_vs_fp32": size_ratio,
    "weights_mb": weights_mb,
}


def accuracy_figures(evidence: Evidence, name: str) -> dict[str, Interval]:
    """The accuracy figures of a variant that the run has answers for, by their names in the summary."""
    if not evidence.has_quality(name, DIARIES):
        return {}
    reference, quality = evidence.quality(evidence.reference(), DIARIES), evidence.quality(name, DIARIES)
    agreement = accuracy.agreement(reference, quality)
    figures = {
        "macro_f1": accuracy.macro_f1_interval(quality),
        "agreement_with_fp32": Interval(value=agreement, low=agreement, high=agreement, n=len(quality.gold)),
        "macro_f1_drop": accuracy.macro_f1_drop(reference, quality),
    }
    if evidence.has_quality(name, DIARIES, AVX2):
        other = accuracy.agreement_on_some(quality, evidence.quality(name, DIARIES, AVX2))
        figures["agreement_other_cpu"] = other
    if evidence.has_quality(name, KOTE):
        kote = evidence.quality(name, KOTE)
        thresholds = next(one.variant.model.thresholds for one in evidence.run.contests if one.variant)
        value = accuracy.macro_f1_present(kote, thresholds)
        figures["macro_f1_kote"] = Interval(value=value, low=value, high=value, n=len(kote.gold))
    return figures


def _counts(evidence: Evidence) -> dict[str, Interval]:
    """How much was measured; the samples are those of the cell that has fewest."""
    fewest = min(
        len(evidence.by_round(contest.name, size, "cold_ms"))
        for contest in evidence.run.contests
        for size in evidence.sizes(contest.name)
    )
    counts = {
        "variants": len(evidence.ours()),
        "contenders": len(evidence.contenders()),
        "memory_sizes": len(evidence.run.plan.bench.memory_mb),
        "cold_samples_per_cell": fewest,
    }
    return {name: _exact(count) for name, count in counts.items()}


def _over_plan(evidence: Evidence, verdict: Verdict, metric: str, kind: Kind) -> Interval | None:
    memory_mb = verdict.memory_mb
    if not all(evidence.by_round(name, memory_mb, metric, kind) for name in (verdict.winner, "plan")):
        return None
    return paired_ratio(*evidence.paired(verdict.winner, "plan", memory_mb, metric, kind))


def _starts(evidence: Evidence, names: tuple[str, ...]) -> dict[str, dict[int, float]]:
    """Cold starts in ms by round, of each of the contenders at each of its thread counts."""
    starts: dict[str, dict[int, float]] = {}
    for one in evidence.of_contenders("cold", evidence.run.plan.objective.memory_mb, "cold_ms"):
        if one.cell.function in names:
            starts.setdefault(_setting(one), {})[one.round] = one.values["cold_ms"][0]
    return starts


def _setting(one: Measurement) -> str:
    """A contender and its threads, readable."""
    return f"`{one.cell.function}` ({f'threads: {one.cell.threads}' if one.cell.threads else 'default threads'})"


def _exact(value: float) -> Interval:
    return Interval(value=value, low=value, high=value, n=1)
