"""The chooser applies gates first, then the objective, then the stated tie-break."""

import dataclasses

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
    forms = [
        variant("fp32", size_bytes=400),
        variant("long", steps=("fuse", "mapped")),
        variant("short", steps=("fuse",)),
    ]
    assert decide(evidence(plan, forms, {"fp32": SLOW, "long": FAST, "short": FAST}), "e").winner == "short"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"peak_mb": 2000.0}, "its peak of 2000 MB is above 1843 MB"),
        ({"outcome": "oom"}, "4 of 5 processes ended as oom at 2048 MB"),
    ],
)
def test_no_speed_buys_a_limit(plan, changes, reason) -> None:
    """A variant beyond Lambda's limits is rejected with the reason, and with no other left there is no winner."""
    with pytest.raises(NoWinnerError, match=reason):
        decide(evidence(plan, [variant("a")], {"a": FAST}, **changes), "e")


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (200, "its main emotion is fp32's on 50.0% of the diaries, below 97%"),
        (11, "its macro-F1 may fall by 1.3 to 4.5 points, above 1.0"),
    ],
)
def test_no_speed_buys_accuracy(plan, wrong, reason) -> None:
    """A faster variant that answers otherwise than fp32, or may lose a point of macro-F1, loses with that reason."""
    forms = [variant("fp32"), variant("fast", steps=("int8",))]
    verdict = decide(evidence(plan, forms, {"fp32": SLOW, "fast": FAST}, wrong={"fast": wrong}), "e")
    assert verdict.winner == "fp32"
    assert verdict.losers[0].reason == reason


def test_a_collapsed_emotion_is_a_failure_whatever_the_average(plan) -> None:
    """A variant that loses more than half of one emotion's recall is rejected for it, when the average would pass."""
    forms = [variant("fp32"), variant("fast", steps=("int8",))]
    found = evidence(plan, forms, {"fp32": SLOW, "fast": FAST})
    gates = dataclasses.replace(plan.gates, label_agreement=0.5, macro_f1_drop=1.0)
    run = dataclasses.replace(found.run, plan=dataclasses.replace(plan, gates=gates))
    fast = found.quality("fast", "diaries")
    blind = tuple(
        (0.95, *scores[1:]) if labels == (6,) else scores for labels, scores in zip(fast.gold, fast.scores, strict=True)
    )
    collapsed = dataclasses.replace(fast, scores=blind)
    verdict = decide(dataclasses.replace(found, run=run, qualities=(found.qualities[0], collapsed)), "e")
    assert verdict.losers[0].reason == "it keeps less than 50% of fp32's recall of weariness"


def test_the_answers_of_untrained_weights_judge_nothing(plan) -> None:
    """Where the model is untrained the accuracy gates are left out."""
    untrained = [
        dataclasses.replace(one, model=dataclasses.replace(one.model, trained=False))
        for one in (variant("fp32"), variant("fast", steps=("int8",)))
    ]
    found = evidence(plan, untrained, {"fp32": SLOW, "fast": FAST}, wrong={"fast": 300})
    assert decide(found, "e").winner == "fast"


def test_a_slow_init_is_a_gate(plan) -> None:
    """An init beyond Lambda's ten seconds is rejected."""
    with pytest.raises(NoWinnerError, match="its init took 10990 ms"):
        decide(evidence(plan, [variant("a")], {"a": [11_000.0] * 4}), "e")


def test_a_rejected_variant_is_listed_with_its_reason(plan) -> None:
    """Every loser has its own sentence, rejected ones too."""
    forms = [variant("good"), variant("bad", steps=("int8",)), variant("slow")]
    verdict = decide(evidence(plan, forms, {"good": FAST, "bad": FAST, "slow": SLOW}, wrong={"bad": 300}), "e")
    reasons = {loser.function: loser.reason for loser in verdict.losers}
    assert set(reasons) == {"bad", "slow"}
    assert "main emotion" in reasons["bad"]
    assert "x the winner's" in reasons["slow"]
