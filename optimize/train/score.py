"""Score a model on labelled texts, and finish a run: pack, score what was packed, write the card."""

import json
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import f1_score, recall_score
from transformers import ElectraTokenizerFast

from optimize.train import card, loop, pack
from optimize.train import model as small
from optimize.train.emotions import MAX_TOKENS
from optimize.train.pretrain import store_of
from workbench.emotions import EMOTIONS
from workbench.texts import Text


def logits_of(model, store: loop.Store, tokens: int = 8192) -> np.ndarray:
    """Return texts x 8 logits in fp32, without dropout, in the store's order."""
    model.eval()
    out = np.empty((len(store.starts) - 1, 8), np.float32)
    with torch.no_grad():
        for batch in loop.batches_of(store, tokens, 0):
            out[batch] = model(**loop.padded(store, batch)).logits.numpy()
    return out


def scores(logits: np.ndarray, store: loop.Store) -> dict:
    """Return macro-F1 of all emotions (present from 0.5) and, where texts name a main one, of it, with each one's recall."""
    out = {"macro_f1_all": f1_score(store.targets[:, :8], logits > 0, average="macro", zero_division=0)}
    if (store.mains >= 0).all():
        found = logits.argmax(1)
        recalls = recall_score(store.mains, found, average=None, labels=range(8), zero_division=0)
        out["macro_f1_main"] = f1_score(store.mains, found, average="macro", labels=range(8), zero_division=0)
        out["recall"] = dict(zip(EMOTIONS, recalls.round(3).tolist(), strict=True))
    return out


def finish(learnt: Path, tokenizer: ElectraTokenizerFast, judges: dict[str, tuple[str, list[Text]]], out: Path) -> dict:
    """Pack the model of folder `learnt` into `out` with its scores and card; `judges` are (kind, texts) by name."""
    net = small.load(learnt)
    found: dict = {"weights_bytes": pack.pack(net, out / "model.safetensors")}
    pack.write_config(net, out / "config.json")
    packed = pack.load(out)
    for name, (kind, texts) in judges.items():
        store = store_of({kind: texts}, tokenizer, MAX_TOKENS, {})
        found[name] = {"texts": len(texts), **scores(logits_of(packed, store), store)}
    (out / "scores.json").write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    card.write(found, out / "MODEL_CARD.md")
    return found
