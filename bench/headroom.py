"""How far a function is from the machine's limit, cold and warm, in the run that measured both."""

from statistics import median

from bench import limit as limits
from bench.evidence import ONE_VCPU_MB, Evidence
from bench.fixed_length import TOKENS
from bench.functions import EMPTY
from bench.statistics import paired_ratio, ratio_of_medians
from workbench.records import Interval, Limit, Verdict


def cold_over_limit(evidence: Evidence, verdict: Verdict) -> Interval | None:
    """The winner's cold start over the least that this machine allows, round by round; None without a limit."""
    found = cold_limits_ms(evidence, verdict.winner)
    cold = evidence.by_round(verdict.winner, verdict.memory_mb, "cold_ms")
    rounds = sorted(cold.keys() & found.keys())
    return paired_ratio([cold[number] for number in rounds], [found[number] for number in rounds]) if rounds else None


def warm_over_limit(evidence: Evidence, verdict: Verdict) -> Interval | None:
    """The winner's warm answer to 64 tokens over the least that this machine allows; None without a limit."""
    found = warm_limits_ms(evidence, verdict.winner)
    metric = f"warm_{TOKENS}_tokens_ms"
    return ratio_of_medians(evidence.warm(verdict.winner, ONE_VCPU_MB, metric), found) if found else None


def cold_limits_ms(evidence: Evidence, name: str) -> dict[int, float]:
    """The cold limit of each round: the empty handler's start, the weights touched once, the round's text at peak."""
    limit, memory_mb = evidence.limit, evidence.run.plan.objective.memory_mb
    if limit is None:
        return {}
    empty, tokens = (evidence.by_round(*of) for of in ((EMPTY, memory_mb, "cold_ms"), (name, memory_mb, "tokens")))
    return {
        number: limits.cold_limit_ms(
            limit,
            interpreter_ms=empty[number],
            size_bytes=_read_bytes(evidence, name),
            macs=_macs(evidence, name, int(tokens[number])),
        )
        for number in empty.keys() & tokens.keys()
    }


def warm_limits_ms(evidence: Evidence, name: str) -> list[float]:
    """The warm limit, once for each of the empty handler's answers: those and 64 tokens at peak or at memory speed."""
    limit = evidence.limit
    if limit is None or not evidence.has_answers(EMPTY, ONE_VCPU_MB) or ONE_VCPU_MB not in evidence.sizes(name):
        return []
    work_ms = limits.warm_limit_ms(limit, size_bytes=_read_bytes(evidence, name), macs=_macs(evidence, name, TOKENS))
    return [empty_ms + work_ms for empty_ms in evidence.warm(EMPTY, ONE_VCPU_MB)]


def parts_ms(evidence: Evidence, limit: Limit, name: str) -> dict[str, float]:
    """What the cold limit is made of, in ms, for the median start."""
    memory_mb, size_bytes = evidence.run.plan.objective.memory_mb, _read_bytes(evidence, name)
    macs = _macs(evidence, name, int(median(evidence.cold(name, memory_mb, "tokens"))))
    return {
        "Python and awslambdaric with an empty handler": median(evidence.cold(EMPTY, memory_mb)),
        f"{size_bytes / 1e6:.0f} MB of weights touched in the page cache": limit.touch_ms
        * size_bytes
        / limit.size_bytes,
        f"{macs / 1e9:.1f} G multiply-adds at one core's peak": macs / limits.best_peak(limit).gmac_per_s[0] / 1e6,
    }


def _read_bytes(evidence: Evidence, name: str) -> int:
    """The weights that every answer reads: all but the embedding rows of tokens that a text does not have."""
    contest = evidence.contest(name)
    return contest.size_bytes - (contest.variant.part_bytes["embeddings"] if contest.variant else 0)


def _macs(evidence: Evidence, name: str, tokens: int) -> int:
    variant = evidence.contest(name).variant
    assert variant is not None, "the limit is that of a variant of ours"
    model = variant.model
    return limits.multiply_adds(
        tokens,
        layers=model.layers,
        hidden_size=model.hidden_size,
        intermediate_size=model.intermediate_size,
        labels=len(model.labels),
    )
