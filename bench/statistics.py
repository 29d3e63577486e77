"""Figures with their intervals, derived from raw samples: medians and ratios of paired rounds, bootstrapped."""

from collections.abc import Sequence

import numpy as np
from scipy.stats import bootstrap

from workbench.records import Interval

RESAMPLES = 9_999
SEED = 0


def median(samples: Sequence[float]) -> Interval:
    """The median with its 95 % percentile-bootstrap interval; one sample is its own interval."""
    values = np.asarray(samples, dtype=float)
    if len(values) < 2:
        return Interval(value=float(values[0]), low=float(values[0]), high=float(values[0]), n=len(values))
    interval = bootstrap(
        (values,), np.median, n_resamples=RESAMPLES, method="percentile", rng=np.random.default_rng(SEED)
    ).confidence_interval
    return Interval(value=float(np.median(values)), low=float(interval.low), high=float(interval.high), n=len(values))


def ratio_of_medians(numerator: Sequence[float], denominator: Sequence[float]) -> Interval:
    """The ratio of two medians of samples that are not paired, with its 95 % percentile-bootstrap interval."""
    random = np.random.default_rng(SEED)
    above, below = (
        np.median(random.choice(np.asarray(samples, dtype=float), (RESAMPLES, len(samples))), axis=1)
        for samples in (numerator, denominator)
    )
    low, high = np.percentile(above / below, [2.5, 97.5])
    value = float(np.median(numerator) / np.median(denominator))
    return Interval(value=value, low=float(low), high=float(high), n=min(len(numerator), len(denominator)))


def paired_ratio(numerator: Sequence[float], denominator: Sequence[float]) -> Interval:
    """The median of the ratios round by round, so that what slows a whole round cancels out."""
    return median([above / below for above, below in zip(numerator, denominator, strict=True)])
