"""Nodes that int8 ruins are found and kept in float, and no others."""

import json
import shutil

import numpy as np
import onnx
import pytest
import torch
from transformers import BertForSequenceClassification

from optimize import parity, recipes
from optimize.export import export
from optimize.sensitivity import bytes_per_point, repair
from optimize.sources import load_checkpoint
from tests.pipeline import tiny
from workbench.errors import VariantError
from workbench.records import ModelSource

TEXTS = parity.parity_texts(tiny.TEXTS)
LEAST = 0.9
OUTLIER = 1024.0
FEW_TRIES = 12
SCALED, SCALED_BACK = "Attention_0", "/bert/encoder/layer.0/attention/output/dense/MatMul"
RUINED = {
    ("int8-tensor", "int8-embeddings"): {SCALED, SCALED_BACK},
    ("int8-channel", "int8-embeddings"): {SCALED_BACK},
}


def damage(checkpoint) -> None:
    """Scale one value channel up by a power of two and down again where it is read: the same function, an outlier."""
    model = BertForSequenceClassification.from_pretrained(checkpoint)
    attention = model.bert.encoder.layer[0].attention
    with torch.no_grad():
        attention.self.value.weight[0] *= OUTLIER
        attention.self.value.bias[0] *= OUTLIER
        attention.output.dense.weight[:, 0] /= OUTLIER
    model.save_pretrained(checkpoint)


def make(folder, *, damaged: bool):
    """A tiny model exported and fused into `folder`, and the parity of any form of it."""
    checkpoint = tiny.make("bert", folder / "model")
    if damaged:
        damage(checkpoint)
    facts = load_checkpoint(ModelSource(where=str(checkpoint)), folder / "checkpoint")
    export(facts, folder / "checkpoint", folder / "export", TEXTS)
    shutil.copyfile(folder / "export" / "model.onnx", folder / "fused.onnx")
    recipes.fuse(folder / "fused.onnx", tiny.SHAPE["num_attention_heads"], tiny.SHAPE["hidden_size"])
    files = folder / "export" / "tokenizer.json", folder / "export" / "reference.json"
    return folder, lambda path: parity.measure(parity.onnx_answer(path), *files, TEXTS, facts)


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A model that int8 does not harm."""
    return make(tmp_path_factory.mktemp("sound"), damaged=False)


@pytest.fixture(scope="module")
def damaged(tmp_path_factory):
    """The same function, with an outlier that int8 cannot hold."""
    return make(tmp_path_factory.mktemp("damaged"), damaged=True)


def repaired(model, steps, source="fused.onnx", least=LEAST, error_sign=1):
    """The kept nodes, and how often label agreement was measured to find them."""
    folder, measure = model
    tried = []

    def agreement(path):
        tried.append(measure(path).label_agreement)
        return tried[-1]

    def error(path):
        return error_sign * measure(path).max_logit_difference

    return repair(folder / source, folder / "repaired.onnx", list(steps), agreement, error, least), len(tried)


def plain(model, steps):
    """The int8 file without any repair."""
    path = model[0] / "plain.onnx"
    shutil.copyfile(model[0] / "fused.onnx", path)
    recipes.quantize(path, list(steps))
    return path


def test_the_damage_is_invisible_in_float(sound, damaged) -> None:
    """The damaged model gives the sound model's logits as long as it is float."""
    logits = [
        json.loads((folder / "export" / "reference.json").read_text())["logits"] for folder, _ in (sound, damaged)
    ]
    np.testing.assert_allclose(logits[0], logits[1], atol=1e-4)


@pytest.mark.parametrize("steps", RUINED)
def test_a_sound_model_needs_no_repair(sound, steps) -> None:
    """Where plain int8 reaches the gate nothing is kept, and the file is plain int8."""
    assert repaired(sound, steps) == ((), 1)
    assert (sound[0] / "repaired.onnx").read_bytes() == plain(sound, steps).read_bytes()


@pytest.mark.parametrize("steps", RUINED)
def test_the_ruined_nodes_are_kept_in_float(damaged, steps) -> None:
    """Both ruined nodes where each hides the other, one where a scale a channel holds the outlier, for few bytes."""
    folder, measure = damaged
    quantized = plain(damaged, steps)
    before = measure(quantized).label_agreement
    kept, tries = repaired(damaged, steps)
    size = (folder / "repaired.onnx").stat().st_size
    assert before < LEAST <= kept[-1].label_agreement == measure(folder / "repaired.onnx").label_agreement
    assert {node.name for node in kept} >= RUINED[steps]
    assert len(kept) <= 3
    assert tries <= FEW_TRIES
    assert sum(node.added_bytes for node in kept) == size - quantized.stat().st_size
    assert size - quantized.stat().st_size < ((folder / "fused.onnx").stat().st_size - quantized.stat().st_size) / 10
    assert 0 < bytes_per_point(before, kept) < 2000
    assert not list(folder.glob("tmp*"))


def test_a_wrong_ranking_keeps_nothing_needless(damaged) -> None:
    """Ranked upside down, more nodes are tried, and those that turn out unnecessary are quantized again."""
    steps = next(iter(RUINED))
    _, fewest = repaired(damaged, steps)
    kept, tries = repaired(damaged, steps, error_sign=-1)
    assert {node.name for node in kept} >= RUINED[steps]
    assert len(kept) <= 4
    assert tries > fewest


def test_nodes_without_names_are_found_too(damaged) -> None:
    """A graph stripped of its node names is repaired by as many nodes, named after their outputs."""
    folder, _ = damaged
    steps = next(iter(RUINED))
    graph_model = onnx.load(folder / "fused.onnx")
    outputs = {node.name: node.output[0] for node in graph_model.graph.node}
    for node in graph_model.graph.node:
        node.ClearField("name")
    onnx.save(graph_model, folder / "nameless.onnx")
    kept, _ = repaired(damaged, steps, "nameless.onnx")
    assert {node.name for node in kept} >= {outputs[name] for name in RUINED[steps]}
    assert len(kept) <= 3


def test_a_kept_gemm_stays_in_float(sound) -> None:
    """The quantizer turns a Gemm into a MatMul and an Add under other names; it is left in float all the same."""
    folder, _ = sound
    path = folder / "kept.onnx"
    shutil.copyfile(folder / "fused.onnx", path)
    recipes.quantize(path, ["int8-channel"], ["/bert/pooler/dense/Gemm"])
    operators = [node.op_type for node in onnx.load(path).graph.node]
    assert operators.count("MatMul") == 1
    assert operators.count("MatMulInteger") == 7


def test_an_impossible_gate_is_refused(damaged) -> None:
    """A gate that float itself misses is refused at once, with what to do, and leaves no file behind."""
    with pytest.raises(VariantError, match="even with no node in int8"):
        repaired(damaged, next(iter(RUINED)), least=1.01)
    assert not (damaged[0] / "repaired.onnx").exists()
