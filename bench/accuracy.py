"""Accuracy figures derived from answers: macro-F1, recall by emotion, agreement, and what a variant loses."""

import numpy as np

from workbench.emotions import EMOTIONS
from workbench.records import Interval, Quality
from workbench.texts import spread

RESAMPLES = 2_000
SEED = 0
COUNT = len(EMOTIONS)


def main_emotions(quality: Quality) -> np.ndarray:
    """The emotion with the highest score of each entry (entries), by place among the eight."""
    return np.array(quality.scores).argmax(1)


def gold_main(quality: Quality) -> np.ndarray:
    """The main emotion that each entry was labelled with (entries)."""
    return np.array([labels[0] for labels in quality.gold])


def macro_f1(gold: np.ndarray, found: np.ndarray) -> float:
    """Macro-F1 over the eight main emotions; an emotion that is neither labelled nor answered counts as 0."""
    return float(np.mean(_f1(np.bincount(gold * COUNT + found, minlength=COUNT**2).reshape(COUNT, COUNT))))


def macro_f1_present(quality: Quality, thresholds: dict[str, float]) -> float:
    """Macro-F1 of the eight as present or not (scores at or above `thresholds`), for text with several emotions."""
    found = np.array(quality.scores) >= [thresholds[emotion] for emotion in EMOTIONS]
    gold = np.array([[place in labels for place in range(COUNT)] for labels in quality.gold])
    both, either = (gold & found).sum(0), gold.sum(0) + found.sum(0)
    return float(np.mean(2 * both / np.maximum(either, 1)))


def recalls(quality: Quality) -> dict[str, float]:
    """The share of each main emotion's entries that were answered with it; emotions without entries are left out."""
    gold, found = gold_main(quality), main_emotions(quality)
    return {
        emotion: float((found[gold == place] == place).mean())
        for place, emotion in enumerate(EMOTIONS)
        if (gold == place).any()
    }


def agreement(one: Quality, other: Quality) -> float:
    """The share of entries to which both give the same main emotion."""
    return float((main_emotions(one) == main_emotions(other)).mean())


def agreement_on_some(whole: Quality, some: Quality) -> Interval:
    """The agreement where `some` answered only entries spread evenly over those of `whole`."""
    places = spread(list(range(len(whole.gold))), len(some.gold))
    value = float((main_emotions(whole)[places] == main_emotions(some)).mean())
    return Interval(value=value, low=value, high=value, n=len(places))


def macro_f1_interval(quality: Quality) -> Interval:
    """Macro-F1 of the main emotion with its 95 % bootstrap interval over entries."""
    gold, found = gold_main(quality), main_emotions(quality)
    resampled = [macro_f1(gold[rows], found[rows]) for rows in _resamples(len(gold))]
    return _interval(macro_f1(gold, found), resampled, len(gold))


def macro_f1_drop(reference: Quality, quality: Quality) -> Interval:
    """How much lower macro-F1 is than the reference's, with its 95 % interval from resampling entries in pairs."""
    gold, before, after = gold_main(quality), main_emotions(reference), main_emotions(quality)
    resampled = [
        macro_f1(gold[rows], before[rows]) - macro_f1(gold[rows], after[rows]) for rows in _resamples(len(gold))
    ]
    return _interval(macro_f1(gold, before) - macro_f1(gold, after), resampled, len(gold))


def collapsed(reference: Quality, quality: Quality, recall_kept: float) -> list[str]:
    """The emotions whose recall is below `recall_kept` of the reference's."""
    before, after = recalls(reference), recalls(quality)
    return [emotion for emotion in before if after[emotion] < recall_kept * before[emotion]]


def _f1(confusion: np.ndarray) -> np.ndarray:
    """F1 by emotion of a confusion matrix (gold x found)."""
    return 2 * np.diag(confusion) / np.maximum(confusion.sum(0) + confusion.sum(1), 1)


def _resamples(entries: int) -> np.ndarray:
    return np.random.default_rng(SEED).integers(0, entries, (RESAMPLES, entries))


def _interval(value: float, resampled: list[float], entries: int) -> Interval:
    low, high = np.percentile(resampled, [2.5, 97.5])
    return Interval(value=value, low=float(low), high=float(high), n=entries)
