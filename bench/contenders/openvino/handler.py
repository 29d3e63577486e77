"""openvino + tokenizers: 8-bit weights or PTQ int8, as the folder holds, from its compiled-model cache."""

import os
import time

_started = time.perf_counter()

import numpy  # noqa: E402
from model import compile_model, feeds, load_tokenizer, settings  # noqa: E402

FOLDER = os.environ["MODEL_FOLDER"]


def _scores(logits):
    if _config["problem_type"] != "single_label_classification":
        return 1 / (1 + numpy.exp(-logits))
    powers = numpy.exp(logits - logits.max())
    return powers / powers.sum()


_imported = time.perf_counter()
_config = settings(FOLDER, "config.json")
_tokenizer = load_tokenizer(FOLDER)
_tokenizer_done = time.perf_counter()
_model = compile_model(FOLDER, int(os.environ.get("THREADS", "0")))
_request = _model.create_infer_request()
_model_done = time.perf_counter()
_init_ms = {
    "imports_ms": (_imported - _started) * 1000,
    "tokenizer_ms": (_tokenizer_done - _imported) * 1000,
    "session_ms": (_model_done - _tokenizer_done) * 1000,
}


def handler(event, context):
    """Answer `{"text": ...}` with the emotion, its scores by label and the same timings as the shipped handler."""
    started = time.perf_counter()
    encoding = _tokenizer.encode(event["text"])
    values = _scores(_request.infer(feeds(encoding, _model))[0][0]).tolist()
    scores = {_config["id2label"][str(index)]: value for index, value in enumerate(values)}
    return {
        "emotion": max(scores, key=scores.__getitem__),
        "scores": scores,
        "tokens": len(encoding.ids),
        "timings": {"inference_ms": (time.perf_counter() - started) * 1000, "init": _init_ms},
    }
