"""Checkpoints of a few thousand weights, made on the spot: three families, two tokenizers, two kinds of head."""

from pathlib import Path

import torch
from tokenizers import ByteLevelBPETokenizer
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertTokenizerFast,
    ElectraConfig,
    ElectraForSequenceClassification,
    RobertaConfig,
    RobertaForSequenceClassification,
    RobertaTokenizerFast,
)

from optimize.builtin import PACKED
from workbench.paths import ROOT
from workbench.texts import read_entries

TEXTS = tuple(entry.text for entry in read_entries(ROOT / "bench" / "diaries.tsv")[:20])
LABELS = ("joy", "sadness", "anger")
SHAPE = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 128,
    "initializer_range": 0.15,
}
MODELS = {
    "electra": (ElectraConfig, ElectraForSequenceClassification),
    "bert": (BertConfig, BertForSequenceClassification),
    "roberta": (RobertaConfig, RobertaForSequenceClassification),
}


def make(family: str, folder: Path, *, multi_label: bool = False) -> Path:
    """Write a checkpoint with random weights, a real tokenizer and three labels into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = _byte_level(folder) if family == "roberta" else _word_pieces(folder)
    tokenizer.save_pretrained(folder)
    configure, build = MODELS[family]
    config = configure(
        vocab_size=len(tokenizer),
        max_position_embeddings=130 if family == "roberta" else 128,
        pad_token_id=tokenizer.pad_token_id,
        problem_type="multi_label_classification" if multi_label else "single_label_classification",
        id2label=dict(enumerate(LABELS)),
        **SHAPE,
        **({"embedding_size": 64} if family == "electra" else {}),
    )
    torch.manual_seed(7)
    build(config).save_pretrained(folder)
    return folder


def _word_pieces(folder: Path) -> BertTokenizerFast:
    words = (PACKED / "vocab.txt").read_text(encoding="utf-8").splitlines()[:4000]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    return BertTokenizerFast(str(folder / "vocab.txt"), do_lower_case=False, model_max_length=128)


def _byte_level(folder: Path) -> RobertaTokenizerFast:
    trained = ByteLevelBPETokenizer()
    trained.train_from_iterator(TEXTS, vocab_size=600, special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    trained.save_model(str(folder))
    return RobertaTokenizerFast(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=128)
