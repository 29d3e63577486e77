"""Rivals, the machine's limit and the targets: figures are what their definitions say, and a miss is a miss."""

import dataclasses
import json

import pytest

from bench import limit as limits
from bench.choose import decide
from bench.fixed_length import text_of_tokens
from bench.headroom import cold_limits_ms
from bench.local_lambda import Invocation
from bench.report import markdown
from bench.summary import best_warm, figures, rivals
from bench.targets import missed
from tests.unit.conftest import FACTS, MACHINE, evidence, sample, variant
from workbench.errors import BenchError
from workbench.plan import Axis
from workbench.records import Limit, Peak, fingerprint

FORMS = [variant("fp32", size_bytes=400), variant("small", size_bytes=100)]
COLD = {
    "fp32": [400.0, 410.0, 390.0],
    "small": [100.0, 110.0, 90.0],
    "plan": [3000.0, 3300.0, 2700.0],
    "openvino-weights": [500.0, 550.0, 450.0],
    "openvino-ptq": [400.0, 440.0, 360.0],
    "empty": [40.0, 44.0, 36.0],
}
LIMIT = Limit(
    peaks=(
        Peak(numbers="fp32", instructions="avx2", gmac_per_s=(1.0, 2.0)),
        Peak(numbers="int8", instructions="avx2", gmac_per_s=(0.001, 0.002)),
    ),
    size_bytes=100,
    touch_ms=2.0,
    read_ms=20.0,
    disk_touch_ms=None,
    page_cache=None,
    memory_gb_per_s=(1e-6, 2e-6),
    machine_sha256=fingerprint(MACHINE),
    taken_at="2026-01-01T00:00:00+00:00",
)


@pytest.fixture
def case(plan):
    axes = (Axis(name="smaller", before="fp32", after="small"),)
    found = evidence(dataclasses.replace(plan, axes=axes), FORMS, COLD, limit=LIMIT)
    return found, decide(found, "e")


def test_of_several_rivals_the_fastest_counts(case) -> None:
    """openvino's two forms give one ratio, that to the faster; rivals that were not measured give none."""
    assert {rival: name for rival, (name, _) in rivals(case[0]).items()} == {
        "plan": "`plan` (threads: 1)",
        "openvino": "`openvino-ptq` (threads: 1)",
    }
    known = figures(*case)
    assert known["cold_ratio_vs_openvino"].value == 4
    assert known["cold_ratio_vs_plan"].value == 30
    assert "cold_ratio_vs_optimum_int8" not in known


def test_the_empty_handler_is_no_contender(case) -> None:
    """What loads no model is part of the limit: it is nobody's rival, and no warm answer is held to its."""
    assert "empty" not in case[0].contenders()
    assert best_warm(case[0])[1] == [40.0]
    assert figures(*case)["warm_ratio_vs_best"].value == 4


def test_the_best_setting_of_a_contender_counts(case) -> None:
    """A contender's second thread count is what the winner is held to where it starts or answers faster."""
    found, verdict = case
    warm = sample("openvino-ptq", 1769, "warm", 0, {"warm_ms": 1.0, "warm_64_tokens_ms": 5.0}, "ok")
    cold = sample("openvino-weights", 2048, "cold", 0, {"cold_ms": 200.0}, "ok")
    others = [dataclasses.replace(one, cell=dataclasses.replace(one.cell, threads=0)) for one in (warm, cold)]
    better = dataclasses.replace(found, other_threads=tuple(others))
    assert best_warm(better) == ("`openvino-ptq` (default threads)", [5.0])
    assert rivals(better)["openvino"] == ("`openvino-weights` (default threads)", {0: 200.0})
    known = figures(better, verdict)
    assert (known["warm_ratio_vs_best"].value, known["cold_ratio_vs_openvino"].value) == (0.5, 2)


def test_the_cold_limit_is_the_sum_of_its_three_parts(case) -> None:
    """Round by round: the empty handler's start, the bytes but for the embeddings, the multiply-adds at the best peak."""
    shape = {name: getattr(FACTS, name) for name in ("layers", "hidden_size", "intermediate_size")}
    macs = limits.multiply_adds(64, labels=8, **shape)
    expected = {number: empty + 2.0 * 50 / 100 + macs / 1e6 for number, empty in enumerate(COLD["empty"])}
    assert cold_limits_ms(case[0], "small") == pytest.approx(expected)
    over = figures(*case)["cold_over_limit"]
    assert over.value == pytest.approx(sorted(COLD["small"][n] / expected[n] for n in range(3))[1])


def test_ratios_to_the_plan_s_stack_are_the_winner_over_it(case) -> None:
    """Memory and bytes read are the winner's share of the plan's stack's, so that smaller is better."""
    known = figures(*case)
    assert known["peak_memory_ratio_vs_plan"].value == 1
    assert known["bytes_read_ratio_vs_plan"].value == pytest.approx(1 / 30)


def test_a_missed_target_is_written_as_missed(case) -> None:
    """The targets outside their bounds, and only they, are missed in the table."""
    assert missed(figures(*case)) == ["peak memory over the plan's stack's"]
    text = markdown(*case, "runs/x")
    assert text.count("**missed**") == 1
    assert "| cold start against the plan's stack | at least 25 | 30.00 | met |" in text
    assert "| cold start against optimum's int8 | at least 20 | - | no figure |" in text


def test_each_axis_has_its_before_and_after(case) -> None:
    """An axis's row gives the recipe after over the recipe before, bold where the interval excludes 1."""
    text = markdown(*case, "runs/x")
    assert "| smaller | `fp32` | `small` | **x 0.250 (0.231-0.268)** |" in text


class Words:
    """A function that counts a token a word, and one more for each full stop that stands alone."""

    def invoke(self, body: bytes) -> Invocation:
        text = json.loads(body)["text"]
        return Invocation(outcome="ok", body=json.dumps({"tokens": 2 + len(text.split())}).encode())


def test_a_text_of_a_fixed_length_is_made_of_words_and_full_stops() -> None:
    """As many words as fit, then full stops; where the count cannot be reached, a clear refusal."""
    assert text_of_tokens(Words(), ("하나 둘 셋 넷 다섯",), 5) == "하나 둘 셋"
    assert text_of_tokens(Words(), ("하나 둘",), 6) == "하나 . . ."
    with pytest.raises(BenchError, match="no text of 2 tokens"):
        text_of_tokens(Words(), ("하나 둘",), 2)
