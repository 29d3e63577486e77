"""The chooser applies gates first, then the objective, then the stated tie-break."""

import pytest

from bench.choose import decide
from tests.unit.conftest import evidence, variant
from workbench.errors import NoWinnerError

FAST, SLOW = [100.0, 104.0, 98.0, 101.0], [200.0, 207.0, 196.0, 203.0]


def test_the_faster_variant_wins_with_its_margin(plan) -> None:
    """The lower expected wait wins; the margin is the ratio of the waits round by round."""
    verdict = decide(evidence(plan, [variant("a"), variant("b")], {"a": SLOW, "b": FAST}), "e")
    share = plan.objective.cold_share
    assert (verdict.winner, verdict.runner_up, verdict.tie) == ("b", "a", False)
    assert verdict.score_ms == pytest.approx(share * 100.5 + (1 - share) * 10)
    assert verdict.margin.value == pytest.approx(2, rel=0.05)
    assert verdict.margin.low > 1


def test_a_contender_from_outside_cannot_win(plan) -> None:
    """A contender is a reference: however fast, it is not chosen."""
    assert decide(evidence(plan, [variant("a")], {"a": SLOW, "plan": FAST}), "e").winner == "a"


def test_inside_the_noise_fewer_bytes_win(plan) -> None:
    """When the interval of the ratio holds 1, the verdict is a tie and the smaller variant is taken."""
    noisy = {"big": [100.0, 110.0, 90.0, 100.0], "small": [101.0, 99.0, 101.0, 100.0]}
    verdict = decide(evidence(plan, [variant("big"), variant("small", size_bytes=50)], noisy), "e")
    assert (verdict.winner, verdict.tie) == ("small", True)


def test_equal_bytes_leave_the_simpler_recipe(plan) -> None:
    """Among tied variants of one size, the one with fewer steps is taken."""
    forms = [variant("long", steps=("fuse", "mapped")), variant("short", steps=("fuse",))]
    assert decide(evidence(plan, forms, {"long": FAST, "short": FAST}), "e").winner == "short"


@pytest.mark.parametrize(
    ("form", "changes", "reason"),
    [
        ({"agreement": 0.5}, {}, "its labels agree with torch's on 50.0% of the texts, below 97%"),
        ({}, {"peak_mb": 2000.0}, "its peak of 2000 MB is above 1843 MB"),
        ({}, {"outcome": "oom"}, "4 of 5 processes ended as oom at 2048 MB"),
    ],
)
def test_no_speed_buys_a_gate(plan, form, changes, reason) -> None:
    """A variant that fails a gate is rejected with the reason, and with no other left there is no winner."""
    with pytest.raises(NoWinnerError, match=reason):
        decide(evidence(plan, [variant("a", **form)], {"a": FAST}, **changes), "e")


def test_a_slow_init_is_a_gate(plan) -> None:
    """An init beyond Lambda's ten seconds is rejected."""
    with pytest.raises(NoWinnerError, match="its init took 10990 ms"):
        decide(evidence(plan, [variant("a")], {"a": [11_000.0] * 4}), "e")


def test_a_rejected_variant_is_listed_with_its_reason(plan) -> None:
    """Every loser has its own sentence, rejected ones too."""
    forms = [variant("good"), variant("bad", agreement=0.1), variant("slow")]
    verdict = decide(evidence(plan, forms, {"good": FAST, "bad": FAST, "slow": SLOW}), "e")
    reasons = {loser.function: loser.reason for loser in verdict.losers}
    assert set(reasons) == {"bad", "slow"}
    assert "agree" in reasons["bad"]
    assert "x the winner's" in reasons["slow"]
