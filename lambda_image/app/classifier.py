"""The emotion classifier: a variant folder in, label scores out, through the engine and the tokenizer it names.

Only those two modules are imported, so that a start pays for nothing else.
"""

import math
import operator
import os
import time
from importlib import import_module

from . import manifest as manifests
from .emotions import EMOTIONS
from .manifest import InitError

# An engine module has `load(folder, manifest, threads)`, which returns the function from token ids to logits.
ENGINES = {"onnxruntime": "onnxruntime_python", "onnxruntime-c": "onnxruntime_c", "native": "native"}
MAPPED_WEIGHTS = "model.onnx.data"
# How each tokenizer module opens its file.
TOKENIZERS = {
    "tokenizers": ("tokenizer_library", lambda module, path, max_tokens: module.Library(path, max_tokens)),
    "mapped": ("wordpiece", lambda module, path, _: module.WordPiece(path)),
}


def _softmax(logits):
    greatest = max(logits)
    powers = [math.exp(logit - greatest) for logit in logits]
    total = sum(powers)
    return [power / total for power in powers]


def _sigmoid(logits):
    return [(1 + math.tanh(logit / 2)) / 2 for logit in logits]


# How logits become scores, and how the scores of labels that share an emotion become that emotion's.
ACTIVATIONS = {"softmax": (_softmax, operator.add), "sigmoid": (_sigmoid, max)}


class Stopwatch:
    """Laps in ms by name since `started` (of `time.perf_counter`, s); laps of one name add up."""

    def __init__(self, started):
        self._last = started
        self.laps_ms = {}

    def lap(self, name):
        """Add the time since the last lap to `name`."""
        now = time.perf_counter()
        self.laps_ms[name] = self.laps_ms.get(name, 0.0) + (now - self._last) * 1000
        self._last = now


class Classifier:
    """A loaded variant; `engine` is the one that answers."""

    def __init__(self, folder, manifest, verification, threads, clock):
        """Load the variant in `folder`, `clock` taking a lap for each phase; raises `InitError` in one sentence.

        No file is read before its own future in `verification` has passed, but for mapped weights: they are not parsed,
        so their hash is awaited last, while the engine is being made ready.
        """
        runtime, facts = manifest["recipe"]["runtime"], manifest["model"]
        reader, open_tokenizer = TOKENIZERS[runtime["tokenizer"]]
        engine, reader = _import(ENGINES[runtime["engine"]]), _import(reader)
        clock.lap("imports_ms")
        tokenizer_file = manifests.TOKENIZER_FILES[runtime["tokenizer"]]
        _await(verification, tokenizer_file)
        clock.lap("verify_ms")
        path = os.path.join(folder, tokenizer_file)
        self._encode = open_tokenizer(reader, path, facts["max_tokens"]).encode
        clock.lap("tokenizer_ms")
        _await(verification, *(verification.keys() - {MAPPED_WEIGHTS}))
        clock.lap("verify_ms")
        self._run = _load(engine, folder, manifest, threads, verification)
        self.engine = next(name for name, module in ENGINES.items() if self._run.__module__.endswith(f".{module}"))
        clock.lap("session_ms")
        _await(verification, *verification)
        clock.lap("verify_ms")
        self._labels, self._emotions = facts["labels"], facts["emotions"]
        self._activate, self._join = ACTIVATIONS[facts["activation"]]

    def classify(self, text):
        """Return (scores by label, scores by emotion, number of tokens, whether the text was cut to fit).

        Scores are 0 to 1; all eight emotions are there, those that no label leads to with 0.
        """
        ids, truncated = self._encode(text)
        scores = self._activate(self._run(ids))
        emotions = dict.fromkeys(EMOTIONS, 0.0)
        for emotion, score in zip(self._emotions, scores, strict=True):
            emotions[emotion] = self._join(emotions[emotion], score)
        return dict(zip(self._labels, scores, strict=True)), emotions, len(ids), truncated


def _import(name):
    return import_module(f".{name}", __package__)


def _load(engine, folder, manifest, threads, verification):
    """The engine's function; where it fails on a damaged file, the damage is what is told."""
    try:
        return engine.load(folder, manifest, threads)
    except InitError:
        raise
    except Exception as error:
        _await(verification, *verification)
        kind = type(error).__name__
        raise InitError(f"The model in {folder} cannot be loaded ({kind}): build the variant again.") from None


def _await(verification, *names):
    """Wait until the named files are known to be intact."""
    for name in names:
        verification[name].result()
