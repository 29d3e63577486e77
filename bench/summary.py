"""The headline figures of a run, under stable flat names, each derived from its raw samples."""

from bench import accuracy
from bench.evidence import Evidence
from bench.quality import AVX2, DIARIES, KOTE
from bench.statistics import paired_ratio
from workbench.paths import ROOT
from workbench.records import Interval, Verdict

BUILTIN_WEIGHTS = ROOT / "optimize" / "builtin" / "model.safetensors"


def summary(evidence: Evidence, verdict: Verdict, run: str) -> dict[str, dict[str, object]]:
    """The headline figures under flat names, each with its interval, sample count and run."""
    sizes = {contest.name: contest.size_bytes for contest in evidence.run.contests}
    figures: dict[str, Interval] = {
        f"cold_ratio_vs_{name}": cold_ratio(evidence, name, verdict)
        for name in contenders(evidence)
        if evidence.has_answers(name, verdict.memory_mb)
    }
    figures["size_ratio_vs_fp32"] = _exact(sizes[verdict.winner] / sizes[evidence.reference()])
    figures |= accuracy_figures(evidence, verdict.winner)
    if evidence.run.plan.model.where == "builtin":
        figures["weights_mb"] = _exact(BUILTIN_WEIGHTS.stat().st_size / 1e6)
    figures["variants"] = _exact(len(ours(evidence)))
    figures["memory_sizes"] = _exact(len(evidence.run.plan.bench.memory_mb))
    figures["cold_samples_per_cell"] = _exact(_fewest_cold_samples(evidence))
    return {
        name: {"value": one.value, "low": one.low, "high": one.high, "n": one.n, "run": run}
        for name, one in figures.items()
    }


def cold_ratio(evidence: Evidence, contender: str, verdict: Verdict) -> Interval:
    """How many times faster the winner starts than `contender`, round by round at the verdict's memory size."""
    return paired_ratio(*evidence.paired(contender, verdict.winner, verdict.memory_mb, "cold_ms"))


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


def ours(evidence: Evidence) -> list[str]:
    return [contest.name for contest in evidence.run.contests if contest.variant]


def contenders(evidence: Evidence) -> list[str]:
    return [contest.name for contest in evidence.run.contests if not contest.variant]


def _fewest_cold_samples(evidence: Evidence) -> int:
    return min(
        len(evidence.by_round(contest.name, size, "cold_ms"))
        for contest in evidence.run.contests
        for size in evidence.run.plan.bench.memory_mb
    )


def _exact(value: float) -> Interval:
    return Interval(value=value, low=value, high=value, n=1)
