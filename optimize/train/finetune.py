"""Fine-tune any encoder, such as KcELECTRA, on KOTE-format data for the eight emotions."""

import json
from functools import partial
from pathlib import Path

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from optimize.train import data, emotions, loop, score
from optimize.train.pretrain import store_of
from workbench.emotions import EMOTIONS
from workbench.errors import SourceError
from workbench.texts import read_kote, split_kote

MAX_TOKENS = 256


def load(source: str, revision: str | None):
    """Return (tokenizer, model) of a folder or a pinned hub model; the model gets a fresh head for the eight emotions."""
    if not Path(source).is_dir() and revision is None:
        raise SourceError(
            f"{source} is no folder and not pinned", "pin a hub model with --revision and its 40-hex commit"
        )
    names = dict(enumerate(EMOTIONS))
    tokenizer = AutoTokenizer.from_pretrained(source, revision=revision)
    model = AutoModelForSequenceClassification.from_pretrained(
        source,
        revision=revision,
        use_safetensors=True,
        id2label=names,
        label2id={v: k for k, v in names.items()},
        problem_type="multi_label_classification",
        ignore_mismatched_sizes=True,
    )
    return tokenizer, model


def collate(store: loop.Store, batch: list[int]) -> dict:
    """Return one batch; its labels are texts x 8 zeros and ones."""
    return loop.padded(store, batch) | {"labels": torch.from_numpy(store.targets[batch][:, :8])}


def loss(rare: torch.Tensor, outputs, labels, num_items_in_batch=None) -> torch.Tensor:
    """Return the mean cost (nats) of an emotion's answer."""
    return torch.nn.functional.binary_cross_entropy_with_logits(outputs.logits.float(), labels, pos_weight=rare)


def run(
    source: str,
    kote: Path,
    out: Path,
    *,
    revision: str | None = None,
    epochs: float = 5,
    rate: float = 5e-5,
    tokens: int = 2048,
    seed: int = 0,
    bf16: bool = False,
) -> dict:
    """Fine-tune `source` on a KOTE-format file into `out`; return and store its scores on the 500 held-out rows."""
    train, held_out = split_kote(read_kote(kote))
    tokenizer, model = load(source, revision)
    stores = [store_of({"kote": part}, tokenizer, MAX_TOKENS, {}) for part in (data.without(train, held_out), held_out)]
    rare = emotions.rarity(stores[0])
    torch.manual_seed(seed)
    loop.fit(
        model,
        loop.batches_of(stores[0], tokens, seed),
        partial(collate, stores[0]),
        partial(loss, rare),
        out,
        epochs=epochs,
        rate=rate,
        seed=seed,
        bf16=bf16,
    )
    tokenizer.save_pretrained(out)
    scores = score.scores(score.logits_of(model, stores[1]), stores[1])
    (out / "scores.json").write_text(json.dumps(scores, indent=1) + "\n", "utf-8")
    return scores
