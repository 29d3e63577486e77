"""onnxruntime + tokenizers + numpy with optimum's int8 file: what a good engineer does in an afternoon."""

import json
import os
import time

_started = time.perf_counter()

import numpy  # noqa: E402
import onnxruntime  # noqa: E402
from tokenizers import Tokenizer  # noqa: E402

FOLDER = os.environ["MODEL_FOLDER"]


def _settings(name):
    with open(os.path.join(FOLDER, name), encoding="utf-8") as file:
        return json.load(file)


def _scores(logits):
    if _config["problem_type"] != "single_label_classification":
        return 1 / (1 + numpy.exp(-logits))
    powers = numpy.exp(logits - logits.max())
    return powers / powers.sum()


_imported = time.perf_counter()
_config = _settings("config.json")
_tokenizer = Tokenizer.from_file(os.path.join(FOLDER, "tokenizer.json"))
_tokenizer.enable_truncation(
    min(_settings("tokenizer_config.json")["model_max_length"], _config["max_position_embeddings"])
)
_tokenizer_done = time.perf_counter()
_options = onnxruntime.SessionOptions()
_options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
_options.intra_op_num_threads = int(os.environ.get("THREADS", "0"))
_session = onnxruntime.InferenceSession(
    os.path.join(FOLDER, "model.onnx"), _options, providers=["CPUExecutionProvider"]
)
_inputs = [given.name for given in _session.get_inputs()]
_session_done = time.perf_counter()
_init_ms = {
    "imports_ms": (_imported - _started) * 1000,
    "tokenizer_ms": (_tokenizer_done - _imported) * 1000,
    "session_ms": (_session_done - _tokenizer_done) * 1000,
}


def handler(event, context):
    """Answer `{"text": ...}` with the emotion, its scores by label and the same timings as the shipped handler."""
    started = time.perf_counter()
    encoding = _tokenizer.encode(event["text"])
    arrays = {
        "input_ids": encoding.ids,
        "attention_mask": encoding.attention_mask,
        "token_type_ids": encoding.type_ids,
    }
    feeds = {name: numpy.array([arrays[name]], dtype=numpy.int64) for name in _inputs}
    values = _scores(_session.run(None, feeds)[0][0]).tolist()
    scores = {_config["id2label"][str(index)]: value for index, value in enumerate(values)}
    return {
        "emotion": max(scores, key=scores.__getitem__),
        "scores": scores,
        "tokens": len(encoding.ids),
        "timings": {"inference_ms": (time.perf_counter() - started) * 1000, "init": _init_ms},
    }
