"""Stage `emotions`: learn the eight emotions from KOTE, GoEmotions-ko and diary lines."""

import random
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy
from transformers import ElectraTokenizerFast

from optimize.train import loop
from optimize.train import model as small
from optimize.train.pretrain import hide, store_of
from workbench.emotions import EMOTIONS
from workbench.texts import Text

NEUTRAL = EMOTIONS.index("neutral")
MAX_TOKENS = 256
WEIGHT = {"kote": 1.0, "goemotions": 0.3, "emotion": 1.0}
GOEMOTIONS_A_PASS = 3_000
DIARIES_A_PASS = 2
ASIDE, MAIN = 0.2, 2.0
HIDDEN = 0.08
DROPOUT = 0.1
DEPTHS = (small.Depth(6, 4, 3e-4), small.Depth(12, 2, 2e-4))


def joined(diaries: list[Text], dice: random.Random) -> list[Text]:
    """Return as many longer entries: each of 2-4 lines of one main emotion, every third led by a neutral line."""
    alike = {main: [t for t in diaries if t.labels[0] == main] for main in {t.labels[0] for t in diaries}}
    out = []
    for first in diaries:
        main = first.labels[0]
        more = dice.choices(alike[main], k=dice.choice((1, 1, 2, 3)))
        lead = dice.sample(alike.get(NEUTRAL, more), 1) if dice.random() < 1 / 3 else []
        further = [n for text in (first, *more) for n in text.labels if n != main]
        out.append(Text(" ".join(text.text for text in (*lead, first, *more)), (main, *dict.fromkeys(further))))
    return out


def lessons(texts: dict[str, list[Text]], passes: int, seed: int) -> dict[str, list[Text]]:
    """Return all texts of the stage: in each pass KOTE once, diary lines twice and joined, some of GoEmotions-ko."""
    dice = random.Random(seed)
    out: dict[str, list[Text]] = {"kote": [], "goemotions": [], "emotion": []}
    for _ in range(passes):
        out["kote"] += texts["kote"]
        out["emotion"] += texts["emotion"] * DIARIES_A_PASS + joined(texts["emotion"], dice)
        out["goemotions"] += dice.sample(texts["goemotions"], min(GOEMOTIONS_A_PASS, len(texts["goemotions"])))
    return out


def collate(store: loop.Store, vocabulary: int, batch: list[int]) -> dict:
    """Return one batch with a few words hidden, against learning by heart; its labels are answers, weights and mains."""
    inputs = loop.padded(store, batch)
    labels = {
        "answers": torch.from_numpy(store.targets[batch]),
        "weights": torch.from_numpy(store.weights[batch]),
        "mains": torch.from_numpy(store.mains[batch]),
    }
    return inputs | {"input_ids": hide(inputs["input_ids"], vocabulary, HIDDEN)[0], "labels": labels}


def rarity(store: loop.Store) -> torch.Tensor:
    """Return how much more a rare emotion's presence counts than its absence: sqrt(absent / present), 1 to 4."""
    known = store.targets[:, :8][~np.isnan(store.targets[:, 0])]
    share = known.mean(0).clip(1e-3)
    return torch.from_numpy(np.sqrt((1 - share) / share).clip(1, 4).astype(np.float32))


def loss(model, rare: torch.Tensor, outputs, labels, num_items_in_batch=None) -> torch.Tensor:
    """Return the weighted cost a text (nats): eight emotions, the side questions, and which emotion is the main one."""
    answers, weights, mains = labels["answers"], labels["weights"], labels["mains"]
    aside = model.aside(outputs.hidden_states[-1][:, 0]).float()
    emotions = known_cost(outputs.logits.float(), answers[:, :8], rare) + ASIDE * known_cost(aside, answers[:, 8:])
    cost = (weights * emotions).sum() / weights.sum()
    which = cross_entropy(outputs.logits.float(), mains, ignore_index=-1, reduction="sum")
    return cost + MAIN * which / len(mains)


def known_cost(logits: torch.Tensor, answers: torch.Tensor, rare: torch.Tensor | None = None) -> torch.Tensor:
    """Return each text's cost (nats) over the answers that it has; unknown ones are NaN."""
    cost = binary_cross_entropy_with_logits(logits, answers.nan_to_num(), reduction="none", pos_weight=rare)
    return (cost * ~answers.isnan()).sum(1)


def run(
    before: Path,
    texts: dict[str, list[Text]],
    tokenizer: ElectraTokenizerFast,
    out: Path,
    *,
    depths: tuple[small.Depth, ...] = DEPTHS,
    tokens: int = 4096,
    seed: int = 0,
    bf16: bool = True,
) -> Path:
    """Teach the model of folder `before` the emotions, into `out/emotions-<layers>`; return the last folder."""
    torch.manual_seed(seed)
    for depth in depths:
        folder = out / f"emotions-{depth.layers}"
        if not loop.finished(folder):
            store = store_of(lessons(texts, int(depth.passes), seed + depth.layers), tokenizer, MAX_TOKENS, {}, WEIGHT)
            net = small.at_depth(before, len(tokenizer), depth.layers, DROPOUT)
            loop.fit(
                net,
                loop.batches_of(store, tokens, seed),
                partial(collate, store, len(tokenizer)),
                partial(loss, net, rarity(store)),
                folder,
                epochs=1,
                rate=depth.rate,
                seed=seed,
                bf16=bf16,
            )
        before = folder
    return before
