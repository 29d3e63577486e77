"""The emotion classifier: a variant folder in, label scores out, through onnxruntime, tokenizers and numpy alone."""

import operator
import os
import time

import numpy
import onnxruntime
from tokenizers import Tokenizer

from .emotions import EMOTIONS
from .manifest import InitError


def _softmax(logits):
    powers = numpy.exp(logits - logits.max())
    return powers / powers.sum()


def _sigmoid(logits):
    return 1 / (1 + numpy.exp(-logits))


# How logits become scores, and how the scores of labels that share an emotion become that emotion's.
ACTIVATIONS = {"softmax": (_softmax, operator.add), "sigmoid": (_sigmoid, max)}


class Stopwatch:
    """Laps in ms by name; laps of one name add up."""

    def __init__(self):
        self._last = time.perf_counter()
        self.laps_ms = {}

    def lap(self, name):
        """Add the time since the last lap to `name`."""
        now = time.perf_counter()
        self.laps_ms[name] = self.laps_ms.get(name, 0.0) + (now - self._last) * 1000
        self._last = now


class Classifier:
    """A loaded variant; `load_ms` says what loading took, by phase."""

    def __init__(self, folder, manifest, verification, threads):
        """Load the variant in `folder`; raises `InitError` in one sentence.

        Each file is parsed only once its own future in `verification` has passed; mapped weights are not parsed, so
        their hash is awaited last, while the session is being made.
        """
        clock = Stopwatch()
        verification["tokenizer.json"].result()
        clock.lap("verify_ms")
        self._tokenizer = _load_tokenizer(os.path.join(folder, "tokenizer.json"), manifest["model"]["max_tokens"])
        clock.lap("tokenizer_ms")
        verification["model.onnx"].result()
        clock.lap("verify_ms")
        self._session = _load_session(folder, threads, manifest["optimize_at_load"], verification)
        self._inputs = [given.name for given in self._session.get_inputs()]
        clock.lap("session_ms")
        _await(verification)
        clock.lap("verify_ms")
        self.load_ms = clock.laps_ms
        self._labels = manifest["model"]["labels"]
        self._emotions = manifest["model"]["emotions"]
        self._activate, self._join = ACTIVATIONS[manifest["model"]["activation"]]

    def classify(self, text):
        """Return (scores by label, scores by emotion, number of tokens, whether the text was cut to fit).

        Scores are 0 to 1; all eight emotions are there, those that no label leads to with 0.
        """
        encoding = self._tokenizer.encode(text)
        arrays = {
            "input_ids": encoding.ids,
            "attention_mask": encoding.attention_mask,
            "token_type_ids": encoding.type_ids,
        }
        feeds = {name: numpy.array([arrays[name]], dtype=numpy.int64) for name in self._inputs}
        scores = self._activate(self._session.run(None, feeds)[0][0]).tolist()
        emotions = dict.fromkeys(EMOTIONS, 0.0)
        for emotion, score in zip(self._emotions, scores, strict=True):
            emotions[emotion] = self._join(emotions[emotion], score)
        labels = dict(zip(self._labels, scores, strict=True))
        return labels, emotions, len(encoding.ids), bool(encoding.overflowing)


def _load_tokenizer(path, max_tokens):
    try:
        tokenizer = Tokenizer.from_file(path)
        tokenizer.enable_truncation(max_tokens)
        return tokenizer
    except Exception:
        raise InitError(f"The tokenizer {path} is missing or cannot be read: build the variant again.") from None


def _load_session(folder, threads, optimize, verification):
    options = onnxruntime.SessionOptions()
    levels = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if optimize else levels.ORT_DISABLE_ALL
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    path = os.path.join(folder, "model.onnx")
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        _await(verification)
        raise InitError(f"onnxruntime cannot load {path} ({type(error).__name__}): build the variant again.") from None


def _await(verification):
    for future in verification.values():
        future.result()
