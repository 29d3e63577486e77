"""Accuracy figures agree with scikit-learn's and with closed forms."""

import dataclasses

import numpy as np
import pytest
from sklearn.metrics import f1_score, recall_score

from bench import accuracy
from tests.unit.conftest import quality
from workbench.emotions import EMOTIONS


def random_quality(seed: int, entries: int = 300):
    """Random scores for entries with one to three random emotions."""
    generator = np.random.default_rng(seed)
    gold = tuple(tuple(generator.permutation(8)[: generator.integers(1, 4)].tolist()) for _ in range(entries))
    return dataclasses.replace(
        quality("x", entries=entries), gold=gold, scores=tuple(map(tuple, generator.random((entries, 8))))
    )


@pytest.mark.parametrize("seed", range(5))
def test_figures_equal_scikit_learn_s(seed) -> None:
    """Macro-F1 of the main emotion, of all present ones and the recalls are what scikit-learn computes."""
    one = random_quality(seed)
    gold, found = accuracy.gold_main(one), accuracy.main_emotions(one)
    assert accuracy.macro_f1(gold, found) == pytest.approx(
        f1_score(gold, found, average="macro", labels=range(8), zero_division=0)
    )
    assert list(accuracy.recalls(one).values()) == pytest.approx(
        recall_score(gold, found, average=None, labels=range(8))
    )
    present = np.array([[place in labels for place in range(8)] for labels in one.gold])
    expected = f1_score(present, np.array(one.scores) >= 0.6, average="macro")
    assert accuracy.macro_f1_present(one, dict.fromkeys(EMOTIONS, 0.6)) == pytest.approx(expected)


def test_majority_guessing_is_below_a_tenth() -> None:
    """Always naming one of eight equally frequent emotions has a macro-F1 below 0.1."""
    gold = np.arange(400) % 8
    assert accuracy.macro_f1(gold, np.zeros_like(gold)) < 0.1


def test_a_variant_that_answers_alike_loses_nothing() -> None:
    """Equal answers agree wholly, and their drop is exactly zero with no interval."""
    one = random_quality(1)
    drop = accuracy.macro_f1_drop(one, one)
    assert accuracy.agreement(one, one) == 1
    assert (drop.value, drop.low, drop.high) == (0, 0, 0)


def test_a_real_loss_is_outside_its_interval_of_noise() -> None:
    """A variant that is wrong on a tenth of the entries has a drop whose interval is above zero and holds the drop."""
    drop = accuracy.macro_f1_drop(quality("a"), quality("b", wrong=40))
    assert 0 < drop.low < drop.value < drop.high
    assert drop.value == pytest.approx(0.1, abs=0.01)
    assert accuracy.agreement(quality("a"), quality("b", wrong=40)) == 0.9
