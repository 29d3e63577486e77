"""The emotion classifier: a variant folder in, label scores out, through onnxruntime, tokenizers and numpy alone."""

import os
import time

import numpy
import onnxruntime
from tokenizers import Tokenizer

from .manifest import InitError


def _softmax(logits):
    powers = numpy.exp(logits - logits.max())
    return powers / powers.sum()


def _sigmoid(logits):
    return 1 / (1 + numpy.exp(-logits))


ACTIVATIONS = {"softmax": _softmax, "sigmoid": _sigmoid}


class Classifier:
    """A loaded variant; `load_ms` says what loading took, by phase."""

    def __init__(self, folder, manifest, verification, threads):
        """Load the variant in `folder` once `verification` has passed; raises `InitError` in one sentence."""
        started = time.perf_counter()
        self._tokenizer = _load_tokenizer(os.path.join(folder, "tokenizer.json"), manifest["model"]["max_tokens"])
        tokenizer_done = time.perf_counter()
        verification.result()
        verified = time.perf_counter()
        self._session = _load_session(os.path.join(folder, "model.onnx"), threads)
        self._inputs = [given.name for given in self._session.get_inputs()]
        session_done = time.perf_counter()
        self.load_ms = {
            "tokenizer_ms": (tokenizer_done - started) * 1000,
            "verify_ms": (verified - tokenizer_done) * 1000,
            "session_ms": (session_done - verified) * 1000,
        }
        self._labels = manifest["model"]["labels"]
        self._activate = ACTIVATIONS[manifest["model"]["activation"]]

    def classify(self, text):
        """Return ({label: score from 0 to 1}, number of tokens, whether the text was cut to fit)."""
        encoding = self._tokenizer.encode(text)
        arrays = {
            "input_ids": encoding.ids,
            "attention_mask": encoding.attention_mask,
            "token_type_ids": encoding.type_ids,
        }
        feeds = {name: numpy.array([arrays[name]], dtype=numpy.int64) for name in self._inputs}
        scores = self._activate(self._session.run(None, feeds)[0][0])
        return dict(zip(self._labels, scores.tolist())), len(encoding.ids), bool(encoding.overflowing)


def _load_tokenizer(path, max_tokens):
    try:
        tokenizer = Tokenizer.from_file(path)
        tokenizer.enable_truncation(max_tokens)
        return tokenizer
    except Exception:
        raise InitError(f"The tokenizer {path} is missing or cannot be read: build the variant again.") from None


def _load_session(path, threads):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise InitError(f"onnxruntime cannot load {path} ({type(error).__name__}): build the variant again.") from None
