"""The report says what the records say, and warns when they mean less."""

import dataclasses
import json

import pytest

from bench.choose import decide
from bench.evidence import by_threads
from bench.report import markdown
from bench.summary import summary
from tests.unit.conftest import FACTS, evidence, sample, variant
from workbench.records import Recipe, Runtime

COLD = {"fp32": [400.0, 410.0, 390.0], "small": [100.0, 105.0, 98.0], "plan": [900.0, 840.0, 882.0]}
FORMS = [variant("fp32", size_bytes=400), variant("small", size_bytes=100)]


@pytest.fixture
def case(plan):
    found = evidence(plan, FORMS, COLD)
    return found, decide(found, "e")


def test_the_summary_has_the_headline_figures_with_their_run(case) -> None:
    """Ratios are medians of paired rounds, counts are counts, and each names its run and number of samples."""
    figures = summary(*case, "2026-01-01")
    assert figures["cold_ratio_vs_plan"] | {"low": 0, "high": 0} == {
        "value": 9.0,
        "low": 0,
        "high": 0,
        "n": 3,
        "run": "2026-01-01",
    }
    assert figures["size_ratio_vs_fp32"]["value"] == 0.25
    counts = ("variants", "contenders", "memory_sizes", "cold_samples_per_cell")
    assert [figures[name]["value"] for name in counts] == [2, 1, 4, 3]
    json.dumps(figures)


def test_the_report_names_winner_losers_and_method(case) -> None:
    """The verdict's sentence, every form and every loser's reason are in the text."""
    text = markdown(*case, "runs/x")
    assert "**`small` should answer**" in text
    assert "9.00 (8.00-9.00) times faster than `plan`" in text
    assert all(f"`{name}`" in text for name in COLD)
    assert "x the winner's" in text


def test_untrained_weights_and_missing_limits_are_said(plan) -> None:
    """A run on random weights, or without limits, says plainly what its figures do not mean."""
    found = evidence(plan, FORMS, COLD)
    verdict = decide(found, "e")
    assert "mean nothing" not in markdown(found, verdict, "x")
    untrained = [dataclasses.replace(one, model=dataclasses.replace(FACTS, trained=False)) for one in FORMS]
    unlimited = dataclasses.replace(found.run, machine=dataclasses.replace(found.run.machine, limits="none"))
    assert "the answers mean" in markdown(evidence(plan, untrained, COLD), verdict, "x")
    assert "Nothing limited memory or CPU" in markdown(dataclasses.replace(found, run=unlimited), verdict, "x")


def test_a_cell_that_never_answered_shows_its_outcome(plan) -> None:
    """A form that was killed everywhere has its outcome in the table in place of figures."""
    found = evidence(plan, FORMS, COLD)
    dead = [
        dataclasses.replace(one, outcome="oom", values={}) if one.cell.function == "plan" else one
        for one in found.samples
    ]
    broken = dataclasses.replace(found, samples=tuple(dead))
    text = markdown(broken, decide(broken, "e"), "x")
    assert "| `plan` | oom | oom | oom | oom |" in text
    assert "0 of 4 ok" in text


def test_settings_are_never_mixed_in_one_figure(plan) -> None:
    """Samples of a second regime stay in the records alone, those of a second thread count apart from the first's."""
    found = evidence(plan, FORMS, COLD)
    other = sample("small", 2048, "cold", 0, {"cold_ms": 9000.0}, "ok", regime="throttled")
    two = dataclasses.replace(other, cell=dataclasses.replace(other.cell, threads=2, regime="burst"))
    assert by_threads(found.run, [*found.samples, other, two]) == (list(found.samples), [two])


def test_variants_that_only_run_otherwise_share_their_answers(plan) -> None:
    """One of them is asked for all; a variant of other files or another engine has to answer for itself."""
    small = variant("small", size_bytes=100)
    twin = dataclasses.replace(small, recipe=Recipe(name="twin", runtime=Runtime(threads=2, prepacking=False)))
    other = dataclasses.replace(small, recipe=Recipe(name="other", runtime=Runtime(engine="onnxruntime-c")))
    forms = [variant("fp32", size_bytes=400), small, twin, other]
    found = evidence(plan, forms, {one.recipe.name: [1.0] for one in forms})
    asked = dataclasses.replace(found, qualities=tuple(one for one in found.qualities if one.function == "small"))
    answered = {one.recipe.name: asked.has_quality(one.recipe.name, "diaries") for one in forms}
    assert answered == {"fp32": False, "small": True, "twin": True, "other": False}
