"""The checkpoint as an ONNX graph, with torch's own answers beside it as the reference for every variant."""

import json
import shutil
from pathlib import Path

import torch
from optimum.exporters.onnx import onnx_export_from_model
from transformers.utils import logging

from optimize.sources import load_model, load_tokenizer
from workbench.records import ModelFacts, fingerprint
from workbench.store import write_text

OPSET = 18
DONE = "export.json"


def export(facts: ModelFacts, checkpoint: Path, folder: Path, texts: tuple[str, ...]) -> bool:
    """Write `model.onnx`, `tokenizer.json` and `reference.json` into `folder`; False if they are there already."""
    identity = fingerprint([facts, texts, torch.__version__, OPSET])
    if (folder / DONE).exists() and json.loads((folder / DONE).read_text())["identity"] == identity:
        return False
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    logging.set_verbosity_error()
    model = load_model(checkpoint)
    onnx_export_from_model(model, folder, task="text-classification", opset=OPSET, do_validation=False)
    tokenizer = load_tokenizer(checkpoint)
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    tokenizer.backend_tokenizer.save(str(folder / "tokenizer.json"))
    logits = [_logits(model, tokenizer, text, facts.max_tokens) for text in texts]
    write_text(folder / "reference.json", json.dumps({"logits": logits}))
    write_text(folder / DONE, json.dumps({"identity": identity}))
    return True


@torch.inference_mode()
def _logits(model, tokenizer, text: str, max_tokens: int) -> list[float]:
    inputs = tokenizer(text, return_tensors="pt", truncation=True, max_length=max_tokens)
    return model(**inputs).logits[0].tolist()
