"""The built-in model: KcELECTRA-base v2022's shape with a real WordPiece vocabulary, made on the spot.

The weights are random, from a fixed seed: its speed and size are a KcELECTRA-base's, its answers mean nothing.
"""

from pathlib import Path

import torch
from transformers import BertTokenizerFast, ElectraConfig, ElectraForSequenceClassification

from workbench.store import write_text

VOCABULARY = Path(__file__).parent / "vocab.txt"
VOCABULARY_SIZE = 54_343
EMOTIONS = ("기쁨", "평온", "슬픔", "분노", "불안", "당황", "지침", "중립")
SEED = 20_220_401


def make(folder: Path) -> None:
    """Write the checkpoint (config, safetensors, tokenizer; about 511 MB) into `folder`."""
    write_text(folder / "vocab.txt", "\n".join(_vocabulary()) + "\n")
    BertTokenizerFast(str(folder / "vocab.txt"), do_lower_case=False, model_max_length=512).save_pretrained(folder)
    torch.manual_seed(SEED)
    ElectraForSequenceClassification(_shape()).save_pretrained(folder)


def _vocabulary() -> list[str]:
    """The trained tokens, padded with unused ones to KcELECTRA's row count."""
    tokens = VOCABULARY.read_text(encoding="utf-8").splitlines()
    return tokens + [f"[unused{number}]" for number in range(VOCABULARY_SIZE - len(tokens))]


def _shape() -> ElectraConfig:
    """KcELECTRA-base v2022; weights are spread wider than usual so that random answers differ from text to text."""
    return ElectraConfig(
        vocab_size=VOCABULARY_SIZE,
        embedding_size=768,
        hidden_size=768,
        num_hidden_layers=12,
        num_attention_heads=12,
        intermediate_size=3072,
        max_position_embeddings=512,
        initializer_range=0.05,
        problem_type="multi_label_classification",
        id2label=dict(enumerate(EMOTIONS)),
        label2id={emotion: index for index, emotion in enumerate(EMOTIONS)},
    )
