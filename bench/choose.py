"""Gates, then an objective, then a tie-break: which variant should answer, and why no other.

Refuses to choose a contender from outside, to let speed buy quality, and to name a clear winner inside the noise.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench import accuracy, runs
from bench import evidence as evidences
from bench.evidence import Evidence
from bench.quality import AVX2, DIARIES
from bench.statistics import paired_ratio
from workbench.errors import NoWinnerError
from workbench.records import Interval, Quality, Rejection, Variant, Verdict
from workbench.store import write


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """A variant that passed the gates: its score in ms (lower is better) and the score of each round."""

    variant: Variant
    score_ms: float
    rounds: dict[int, float]

    @property
    def name(self) -> str:
        return self.variant.recipe.name


def choose(folder: Path) -> Verdict:
    """Decide the run in `folder` and write `verdict.json` beside its records."""
    verdict = decide(evidences.load(folder), runs.evidence_sha256(folder))
    write(folder / runs.VERDICT_FILE, verdict)
    return verdict


def decide(evidence: Evidence, evidence_sha256: str) -> Verdict:
    """The verdict on one run's evidence."""
    variants = [contest.variant for contest in evidence.run.contests if contest.variant]
    rejected = {variant.recipe.name: gate(evidence, variant) for variant in variants}
    passed = [candidate(evidence, variant) for variant in variants if not rejected[variant.recipe.name]]
    if not passed:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in rejected.items())
        raise NoWinnerError(f"no variant passed the gates ({reasons})", "loosen [gates] or add recipes")
    winner, others = rank(passed)
    margin = _margin(others[0], winner) if others else None
    objective = evidence.run.plan.objective
    return Verdict(
        winner=winner.name,
        winner_sha256=winner.variant.sha256,
        runner_up=others[0].name if others else None,
        objective=objective.name,
        memory_mb=objective.memory_mb,
        score_ms=winner.score_ms,
        margin=margin,
        tie=margin is not None and margin.low <= 1,
        losers=(
            *(Rejection(function=other.name, reason=_loss(other, winner)) for other in others),
            *(Rejection(function=name, reason=reason) for name, reason in rejected.items() if reason),
        ),
        evidence_sha256=evidence_sha256,
    )


def candidate(evidence: Evidence, variant: Variant) -> Candidate:
    """A variant with its score: the expected wait of a writer in ms."""
    objective, name = evidence.run.plan.objective, variant.recipe.name
    rounds = OBJECTIVES[objective.name](evidence, name)
    return Candidate(variant=variant, score_ms=median(rounds.values()), rounds=rounds)


def latency(evidence: Evidence, function: str) -> dict[int, float]:
    """Expected wait in ms by round: the cold start and the median warm answer, weighed by the share of cold calls."""
    objective = evidence.run.plan.objective
    warm_ms = median(evidence.warm(function, objective.memory_mb))
    rounds = evidence.by_round(function, objective.memory_mb, "cold_ms")
    share = objective.cold_share
    return {number: share * cold_ms + (1 - share) * warm_ms for number, cold_ms in rounds.items()}


OBJECTIVES: Mapping[str, Callable[[Evidence, str], dict[int, float]]] = {"latency": latency}


def rank(passed: list[Candidate]) -> tuple[Candidate, list[Candidate]]:
    """The winner and the others by score; among those tied with the fastest, fewer bytes win, then fewer steps."""
    ordered = sorted(passed, key=lambda one: one.score_ms)
    tied = [one for one in ordered if one is ordered[0] or _margin(one, ordered[0]).low <= 1]
    winner = min(tied, key=lambda one: (one.variant.size_bytes, len(one.variant.recipe.steps)))
    return winner, [one for one in ordered if one is not winner]


def gate(evidence: Evidence, variant: Variant) -> str:
    """Why the variant may not win, or an empty string; the answers of untrained weights judge nothing."""
    quality = (_agreement, _drop, _collapse, _other_cpu) if variant.model.trained else ()
    checks = (_answers, *quality, _init, _memory)
    return next((reason for check in checks if (reason := check(evidence, variant))), "")


def _answers(evidence: Evidence, variant: Variant) -> str:
    memory_mb = evidence.run.plan.objective.memory_mb
    outcomes = evidence.outcomes(variant.recipe.name, memory_mb)
    bad = [outcome for outcome in outcomes if outcome != "ok"]
    if bad:
        return f"{len(bad)} of {len(outcomes)} processes ended as {', '.join(sorted(set(bad)))} at {memory_mb} MB"
    return "" if evidence.has_answers(variant.recipe.name, memory_mb) else f"was not measured at {memory_mb} MB"


def _agreement(evidence: Evidence, variant: Variant) -> str:
    least = evidence.run.plan.gates.label_agreement
    found = accuracy.agreement(*_answer_pair(evidence, variant))
    return f"its main emotion is fp32's on {found:.1%} of the diaries, below {least:.0%}" if found < least else ""


def _drop(evidence: Evidence, variant: Variant) -> str:
    most = evidence.run.plan.gates.macro_f1_drop
    drop = accuracy.macro_f1_drop(*_answer_pair(evidence, variant))
    interval = f"{drop.low * 100:.1f} to {drop.high * 100:.1f}"
    return f"its macro-F1 may fall by {interval} points, above {most * 100:.1f}" if drop.high > most else ""


def _collapse(evidence: Evidence, variant: Variant) -> str:
    kept = evidence.run.plan.gates.recall_kept
    lost = accuracy.collapsed(*_answer_pair(evidence, variant), kept)
    return f"it keeps less than {kept:.0%} of fp32's recall of {', '.join(lost)}" if lost else ""


def _other_cpu(evidence: Evidence, variant: Variant) -> str:
    name, least = variant.recipe.name, evidence.run.plan.gates.label_agreement
    if not evidence.has_quality(name, DIARIES, AVX2):
        return ""
    found = accuracy.agreement_on_some(evidence.quality(name, DIARIES), evidence.quality(name, DIARIES, AVX2))
    return (
        f"an AVX2 CPU gives its main emotion on {found.value:.1%} of the diaries, below {least:.0%}"
        if found.value < least
        else ""
    )


def _answer_pair(evidence: Evidence, variant: Variant) -> tuple[Quality, Quality]:
    """The reference's and the variant's answers to the evaluation diaries."""
    return evidence.quality(evidence.reference(), DIARIES), evidence.quality(variant.recipe.name, DIARIES)


def _init(evidence: Evidence, variant: Variant) -> str:
    most, memory_mb = evidence.run.plan.gates.init_ms, evidence.run.plan.objective.memory_mb
    found = max(evidence.cold(variant.recipe.name, memory_mb, "init_ms"))
    return f"its init took {found:.0f} ms, above {most:.0f} ms" if found > most else ""


def _memory(evidence: Evidence, variant: Variant) -> str:
    memory_mb = evidence.run.plan.objective.memory_mb
    most = evidence.run.plan.gates.peak_memory_share * memory_mb
    found = max(evidence.cold(variant.recipe.name, memory_mb, "peak_mb"))
    return f"its peak of {found:.0f} MB is above {most:.0f} MB" if found > most else ""


def _margin(slower: Candidate, faster: Candidate) -> Interval:
    """The slower candidate's score over the faster one's, over the rounds both have."""
    rounds = sorted(slower.rounds.keys() & faster.rounds.keys())
    return paired_ratio([slower.rounds[number] for number in rounds], [faster.rounds[number] for number in rounds])


def _loss(other: Candidate, winner: Candidate) -> str:
    margin = _margin(other, winner)
    wait = (
        f"expected wait {other.score_ms:.0f} ms, {margin.value:.2f} x the winner's ({margin.low:.2f}-{margin.high:.2f})"
    )
    return wait if margin.low > 1 else f"tied: {wait}, and it has no fewer bytes"
