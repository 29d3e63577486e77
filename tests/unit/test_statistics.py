"""Medians, ratios and their intervals agree with closed forms."""

import numpy as np
import pytest

from bench.statistics import median, paired_ratio


def test_a_median_lies_in_its_interval() -> None:
    """Value, order and count are as they must be, and the same samples give the same interval."""
    samples = np.random.default_rng(1).normal(100, 5, 30)
    one = median(samples)
    assert one.low < one.value < one.high
    assert (one.value, one.n) == (np.median(samples), 30)
    assert one == median(samples)


def test_one_sample_is_its_own_interval() -> None:
    """A single sample claims no spread that was not seen."""
    assert median([5.0]) == paired_ratio([10.0], [2.0])


def test_the_interval_covers_as_often_as_it_says() -> None:
    """Over 200 simulated samples of 20 the interval holds the true median in at least 88 of 100, and not always."""
    generator = np.random.default_rng(2)
    intervals = [median(generator.exponential(1.0, 20)) for _ in range(200)]
    covered = np.mean([one.low <= np.log(2) <= one.high for one in intervals])
    assert 0.88 <= covered < 1


def test_a_slow_round_cancels_out_of_a_ratio() -> None:
    """A round that slows both by one factor leaves the paired ratio exact."""
    slowdown = np.array([1.0, 3.0, 1.0, 7.0])
    assert paired_ratio(8 * slowdown, 2 * slowdown).value == pytest.approx(4)
    assert paired_ratio(8 * slowdown, 2 * slowdown).high == pytest.approx(4)
