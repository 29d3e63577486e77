"""The small ELECTRA, and how it is deepened without changing one of its answers."""

import copy
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import load_file
from transformers import ElectraConfig, ElectraForSequenceClassification

from optimize.train.data import QUESTIONS
from workbench.emotions import EMOTIONS


class Depth(NamedTuple):
    """One part of a stage: so many layers, passes over its text, and a peak learning rate."""

    layers: int
    passes: float
    rate: float


def config(vocabulary: int, layers: int = 12) -> ElectraConfig:
    """Return the shape of the small model: 256 wide, 4 heads, eight emotions."""
    return ElectraConfig(
        vocab_size=vocabulary,
        embedding_size=256,
        hidden_size=256,
        num_hidden_layers=layers,
        num_attention_heads=4,
        intermediate_size=1024,
        max_position_embeddings=512,
        problem_type="multi_label_classification",
        id2label=dict(enumerate(EMOTIONS)),
        label2id={name: n for n, name in enumerate(EMOTIONS)},
    )


def build(vocabulary: int, layers: int) -> ElectraForSequenceClassification:
    """Return a fresh small model with the two aids of training: a word guesser and the side questions' answers."""
    return with_aids(ElectraForSequenceClassification(config(vocabulary, layers)))


def with_aids(model: ElectraForSequenceClassification) -> ElectraForSequenceClassification:
    """Add the parts that are needed in training only; `save` of the finished model leaves them out."""
    width = model.config.hidden_size
    model.guess = torch.nn.Sequential(torch.nn.Linear(width, width), torch.nn.GELU(), torch.nn.LayerNorm(width))
    model.aside = torch.nn.Linear(width, sum(QUESTIONS.values()) - len(EMOTIONS))
    for part in (model.guess[0], model.aside):
        part.weight.data.normal_(std=0.02)
        part.bias.data.zero_()
    return model


def at_depth(before: Path | None, vocabulary: int, layers: int, dropout: float) -> ElectraForSequenceClassification:
    """Return a fresh model, or the one of an earlier stage's folder deepened until it has `layers` layers."""
    net = build(vocabulary, layers) if before is None else load(before)
    while net.config.num_hidden_layers < layers:
        net = deepen(net)
    net.config.output_hidden_states = True
    for part in net.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = dropout
    return net


def load(folder: Path) -> ElectraForSequenceClassification:
    """Return the model of a stage's folder with its training aids."""
    net = with_aids(ElectraForSequenceClassification(ElectraConfig.from_pretrained(folder)))
    net.load_state_dict(load_file(folder / "model.safetensors"))
    return net


def deepen(model: ElectraForSequenceClassification) -> ElectraForSequenceClassification:
    """Double the layers: after each comes its copy, silenced so that every answer stays the same until it learns."""
    layers = model.electra.encoder.layer
    doubled = [part for layer in layers for part in (layer, silenced(copy.deepcopy(layer)))]
    for layer in layers:
        plain(layer.output.LayerNorm)
    model.electra.encoder.layer = torch.nn.ModuleList(doubled)
    model.config.num_hidden_layers = len(doubled)
    return model


def silenced(layer):
    """Make a layer add nothing to its input; it keeps only its last normalization, which its original gives up."""
    for dense in (layer.attention.output.dense, layer.output.dense):
        dense.weight.data.zero_()
        dense.bias.data.zero_()
    plain(layer.attention.output.LayerNorm)
    return layer


def plain(norm: torch.nn.LayerNorm) -> None:
    """Reset a normalization to scale 1 and shift 0."""
    norm.weight.data.fill_(1.0)
    norm.bias.data.zero_()
