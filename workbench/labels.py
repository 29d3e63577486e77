"""Bring any checkpoint's labels to the eight diary emotions, by a map from `label_maps.json`.

Refuses to guess: labels such as `LABEL_0`, or ones that no map knows, ask for a map by name.
"""

import json
from functools import cache
from pathlib import Path

from workbench.emotions import EMOTIONS
from workbench.errors import SourceError
from workbench.records import ModelSource

MAPS = Path(__file__).parent / "label_maps.json"


@cache
def label_maps() -> dict[str, dict[str, str]]:
    """Every known map by name: label to emotion, in the order of the source's outputs."""
    return json.loads(MAPS.read_text(encoding="utf-8"))


def label_map(name: str) -> dict[str, int]:
    """A map with each emotion as its place among the eight."""
    return {label: EMOTIONS.index(emotion) for label, emotion in label_maps()[name].items()}


def emotions_of(source: ModelSource, labels: tuple[str, ...]) -> tuple[str, ...]:
    """The emotion of each label, in the labels' order; raises `SourceError` when no map fits."""
    if source.label_map:
        return _named(source.label_map, labels)
    if set(labels) <= set(EMOTIONS):
        return labels
    fitting = [known for known in label_maps().values() if set(labels) <= known.keys()]
    if not fitting:
        raise SourceError(f"no map to the eight emotions knows the labels {', '.join(labels[:3])} ...", _remedy())
    return tuple(fitting[0][label] for label in labels)


def _named(name: str, labels: tuple[str, ...]) -> tuple[str, ...]:
    """By name where the map has the labels, by place where it has as many and they say nothing (`LABEL_0`)."""
    known = label_maps().get(name)
    if known is None:
        raise SourceError(f"there is no label map {name!r}", _remedy())
    if set(labels) <= known.keys():
        return tuple(known[label] for label in labels)
    if len(labels) != len(known):
        raise SourceError(f"the label map {name!r} has {len(known)} labels, the checkpoint {len(labels)}", _remedy())
    return tuple(known.values())


def _remedy() -> str:
    return f"set model.label_map to one of {', '.join(label_maps())}, or add a map to {MAPS.name}"
