"""One training stage on transformers' Trainer: batches of like length, checkpoints, a curve, resuming."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint


class Store(NamedTuple):
    """Tokenized texts: text n is `ids[starts[n]:starts[n + 1]]`; `targets` (texts x 89) may be NaN, `mains` -1: unknown."""

    ids: np.ndarray
    starts: np.ndarray
    targets: np.ndarray
    weights: np.ndarray
    mains: np.ndarray
    pad: int = 0


def batches_of(store: Store, tokens: int, seed: int) -> list[list[int]]:
    """Return batches of text numbers, each of texts of like length and at most `tokens` tokens when padded."""
    lengths = np.diff(store.starts)
    order = np.lexsort((np.random.default_rng(seed).random(len(lengths)), lengths))
    batches: list[list[int]] = [[]]
    for n in order:
        if batches[-1] and (len(batches[-1]) + 1) * lengths[n] > tokens:
            batches.append([])
        batches[-1].append(int(n))
    return batches


def padded(store: Store, batch: list[int]) -> dict[str, torch.Tensor]:
    """Return `input_ids` and `attention_mask` (texts x longest) of a batch; the store says what pads."""
    texts = [store.ids[store.starts[n] : store.starts[n + 1]] for n in batch]
    ids = np.full((len(texts), max(map(len, texts))), store.pad, np.int64)
    mask = np.zeros_like(ids)
    for row, text in enumerate(texts):
        ids[row, : len(text)], mask[row, : len(text)] = text, 1
    return {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)}


class Curve(TrainerCallback):
    """Append what Trainer logs to a file of JSON lines, flushed at once."""

    def __init__(self, path: Path, stage: str):
        self.path, self.stage = path, stage

    def on_log(self, args, state, control, logs=None, **_):
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({"stage": self.stage, "step": state.global_step, **(logs or {})}) + "\n")


def finished(folder: Path) -> bool:
    """Say whether a stage has written its final weights."""
    return (folder / "model.safetensors").is_file()


def fit(
    model,
    batches: list[list[int]],
    collate: Callable,
    loss: Callable,
    out: Path,
    *,
    epochs: float,
    rate: float,
    seed: int,
    bf16: bool,
    save_steps: int = 500,
) -> None:
    """Train one stage into `out`, resuming from its last checkpoint; `rate` is the peak learning rate."""
    arguments = TrainingArguments(
        output_dir=str(out),
        num_train_epochs=epochs,
        learning_rate=rate,
        seed=seed,
        per_device_train_batch_size=1,
        lr_scheduler_type="linear",
        warmup_ratio=0.06,
        weight_decay=0.01,
        adam_beta2=0.98,
        optim="adamw_torch_fused",
        bf16=bf16,
        use_cpu=not torch.cuda.is_available(),
        logging_steps=50,
        save_steps=save_steps,
        save_total_limit=2,
        remove_unused_columns=False,
        label_names=["labels"],
        dataloader_pin_memory=False,
        report_to=[],
    )
    trainer = Trainer(
        model,
        arguments,
        data_collator=lambda items: collate(items[0]),
        train_dataset=batches,
        compute_loss_func=loss,
        callbacks=[Curve(out.parent / "curves.jsonl", out.name)],
    )
    trainer.train(resume_from_checkpoint=get_last_checkpoint(str(out)) if out.is_dir() else None)
    trainer.save_model(str(out))
