"""Stage `pretrain`: guess hidden words and answer every label that is there, first 3 layers deep, then 6."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy
from transformers import ElectraTokenizerFast

from optimize.train import loop
from optimize.train import model as small
from optimize.train.data import answers
from workbench.texts import Text

REPEATS = {"kote": 4, "none": 2, "emotion": 4}
EVEN: Mapping[str, float] = {}
MASKED = 0.2
CHOICES = 4_000
MAX_TOKENS = 128
DEPTHS = (small.Depth(3, 1.4, 1e-3), small.Depth(6, 0.6, 6e-4))


def store_of(
    texts: dict[str, list[Text]],
    tokenizer: ElectraTokenizerFast,
    max_tokens: int = MAX_TOKENS,
    repeats: Mapping[str, int] = REPEATS,
    weight: Mapping[str, float] = EVEN,
) -> loop.Store:
    """Tokenize texts by kind into one store, some kinds several times over or with a weight other than 1."""
    ids, targets, weights, mains = [], [], [], []
    for kind, found in texts.items():
        encoded = tokenizer([text.text for text in found], truncation=True, max_length=max_tokens)["input_ids"]
        for _ in range(repeats.get(kind, 1)):
            ids += [np.array(text, np.int32) for text in encoded]
            targets += [answers(kind, text.labels) for text in found]
            weights += [weight.get(kind, 1.0)] * len(found)
            mains += [text.labels[0] if kind == "emotion" else -1 for text in found]
    starts = np.cumsum([0, *map(len, ids)])
    return loop.Store(
        np.concatenate(ids),
        starts,
        np.stack(targets),
        np.array(weights, np.float32),
        np.array(mains),
        tokenizer.pad_token_id,
    )


def hide(
    ids: torch.Tensor, vocabulary: int, share: float = MASKED, first: int = 5, mask: int = 4
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ids (texts x tokens) with a share of their words to be guessed (8 of 10 masked, 1 random), and which."""
    hidden = (torch.rand(ids.shape) < share) & (ids >= first)
    fate = torch.rand(ids.shape)
    shown = torch.where(hidden & (fate < 0.8), mask, ids)
    return torch.where(hidden & (fate > 0.9), torch.randint(first, vocabulary, ids.shape), shown), hidden


def collate(store: loop.Store, vocabulary: int, batch: list[int]) -> dict:
    """Return one batch with some words hidden; its labels are their places, words to choose from, and the 89 answers."""
    inputs = loop.padded(store, batch)
    shown, hidden = hide(inputs["input_ids"], vocabulary)
    words = inputs["input_ids"][hidden]
    choices = torch.cat([words, torch.randint(5, vocabulary, (CHOICES,))]).unique()
    labels = {"hidden": hidden, "choices": choices, "words": torch.searchsorted(choices, words)}
    return inputs | {"input_ids": shown, "labels": labels | {"answers": torch.from_numpy(store.targets[batch])}}


def loss(model, outputs, labels, num_items_in_batch=None) -> torch.Tensor:
    """Return the cost of the hidden words (nats a word) plus that of the known answers (nats a text)."""
    last = outputs.hidden_states[-1]
    choices = model.electra.embeddings.word_embeddings(labels["choices"])
    words = model.guess(last[labels["hidden"]]) @ choices.T
    guessed = cross_entropy(words.float(), labels["words"]) if len(words) else 0.0
    given = torch.cat([outputs.logits, model.aside(last[:, 0])], 1).float()
    known = ~labels["answers"].isnan()
    answered = binary_cross_entropy_with_logits(given[known], labels["answers"][known], reduction="sum")
    return guessed + answered / len(given)


def run(
    texts: dict[str, list[Text]],
    tokenizer: ElectraTokenizerFast,
    out: Path,
    *,
    depths: tuple[small.Depth, ...] = DEPTHS,
    tokens: int = 4096,
    seed: int = 0,
    bf16: bool = True,
) -> Path:
    """Pretrain through every depth into `out/pretrain-<layers>` and return the last folder; finished depths are kept."""
    torch.manual_seed(seed)
    store, vocabulary = store_of(texts, tokenizer), len(tokenizer)
    batches = loop.batches_of(store, tokens, seed)
    before: Path | None = None
    for depth in depths:
        folder = out / f"pretrain-{depth.layers}"
        if not loop.finished(folder):
            net = small.at_depth(before, vocabulary, depth.layers, dropout=0.0)
            loop.fit(
                net,
                batches,
                partial(collate, store, vocabulary),
                partial(loss, net),
                folder,
                epochs=depth.passes,
                rate=depth.rate,
                seed=seed,
                bf16=bf16,
            )
        before = folder
    return folder
