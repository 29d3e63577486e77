"""`analyze.handler`: `{"text": ...}` in, the emotion with all scores, timings and the model's identity out.

The model is loaded while this module is imported, in Lambda's init phase. Never logs or echoes a diary.
"""

import os
import time

_started = time.perf_counter()

from . import manifest as manifests  # noqa: E402

FOLDER = os.environ.get("MODEL_FOLDER") or os.path.join(os.path.dirname(os.path.dirname(__file__)), "model")
THREADS = int(os.environ.get("THREADS", "1"))

_manifest = manifests.read(FOLDER)
_verification = manifests.verify_in_background(FOLDER, _manifest)

from .classifier import Classifier, Stopwatch  # noqa: E402
from .emotions import EMOTIONS  # noqa: E402
from .problems import find_problem, problem  # noqa: E402

_clock = Stopwatch(_started)
_classifier = Classifier(FOLDER, _manifest, _verification, THREADS, _clock)
_identity = {
    "variant": _manifest["recipe"]["name"],
    "sha256": _manifest["sha256"],
    "trained": _manifest["model"]["trained"],
    "engine": _classifier.engine,
}
_thresholds = _manifest["model"]["thresholds"]
_is_cold = True


def handler(event, context):
    """Answer one event with the emotion, or with a problem object; never raises."""
    code = find_problem(event)
    if code:
        return problem(code)
    try:
        return _analyze(event["text"])
    except Exception as error:
        print(f"analysis failed: {type(error).__name__}, request {getattr(context, 'aws_request_id', None)}")
        return problem("internal")


def _analyze(text):
    global _is_cold
    started = time.perf_counter()
    labels, scores, tokens, truncated = _classifier.classify(text)
    was_cold, _is_cold = _is_cold, False
    emotion = max(scores, key=scores.get)
    return {
        "emotion": emotion,
        "emotion_ko": EMOTIONS[emotion],
        "scores": scores,
        "present": [name for name, score in scores.items() if score >= _thresholds[name]],
        "labels": labels,
        "tokens": tokens,
        "truncated": truncated,
        "cold": was_cold,
        "timings": {"inference_ms": (time.perf_counter() - started) * 1000, "init": _clock.laps_ms},
        "model": _identity,
    }
