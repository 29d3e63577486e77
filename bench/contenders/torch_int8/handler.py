"""transformers + torch with dynamic int8: the linear layers are quantized at start, as torch's own tutorial does."""

import os
import time

_started = time.perf_counter()

import torch  # noqa: E402
from torch.ao.quantization import quantize_dynamic  # noqa: E402
from transformers import AutoModelForSequenceClassification, AutoTokenizer  # noqa: E402

_imported = time.perf_counter()
if os.environ.get("THREADS"):
    torch.set_num_threads(int(os.environ["THREADS"]))
_tokenizer = AutoTokenizer.from_pretrained(os.environ["MODEL_FOLDER"])
_tokenizer_done = time.perf_counter()
_float_model = AutoModelForSequenceClassification.from_pretrained(os.environ["MODEL_FOLDER"]).eval()
_model = quantize_dynamic(_float_model, {torch.nn.Linear}, dtype=torch.qint8)
del _float_model
_model_done = time.perf_counter()
_labels = _model.config.id2label
_one_label = _model.config.problem_type == "single_label_classification"
_init_ms = {
    "imports_ms": (_imported - _started) * 1000,
    "tokenizer_ms": (_tokenizer_done - _imported) * 1000,
    "session_ms": (_model_done - _tokenizer_done) * 1000,
}


def handler(event, context):
    """Answer `{"text": ...}` with the emotion, its scores by label and the same timings as the shipped handler."""
    started = time.perf_counter()
    inputs = _tokenizer(event["text"], return_tensors="pt", truncation=True)
    with torch.no_grad():
        logits = _model(**inputs).logits[0]
    values = (logits.softmax(-1) if _one_label else logits.sigmoid()).tolist()
    scores = {_labels[index]: value for index, value in enumerate(values)}
    return {
        "emotion": max(scores, key=scores.__getitem__),
        "scores": scores,
        "tokens": inputs["input_ids"].shape[1],
        "timings": {"inference_ms": (time.perf_counter() - started) * 1000, "init": _init_ms},
    }
