"""Every recipe keeps the model's answers, through the code that ships, and is built once."""

import json

import numpy as np
import pytest
import torch

from lambda_image.app import manifest as manifests
from lambda_image.app.classifier import Classifier
from optimize import recipes
from optimize.export import export
from optimize.parity import parity_texts
from optimize.sources import load_checkpoint, load_model, load_tokenizer
from optimize.variants import Inputs, build
from tests.pipeline import tiny
from workbench.errors import PlanError
from workbench.records import ModelSource, Recipe, Variant
from workbench.store import read

TEXTS = parity_texts(tiny.TEXTS)
LEAST = 0.9
STEPS = {
    "fp32": (),
    "fused": ("fuse",),
    "fused-mapped": ("fuse", "mapped"),
    "tensor": ("fuse", "int8-tensor"),
    "tensor-embeddings": ("fuse", "int8-tensor", "int8-embeddings"),
    "channel": ("fuse", "int8-channel"),
    "channel-embeddings": ("fuse", "int8-channel", "int8-embeddings"),
    "channel-embeddings-mapped": ("fuse", "int8-channel", "int8-embeddings", "mapped"),
    "channel-repaired": ("fuse", "int8-channel", "keep-sensitive"),
    "unfused-channel-embeddings": ("int8-channel", "int8-embeddings"),
}


@pytest.fixture(
    scope="module", params=[("electra", True), ("bert", False), ("roberta", False)], ids=lambda case: case[0]
)
def model(request, tmp_path_factory):
    """A tiny model of each family, exported: its folder and facts."""
    family, multi_label = request.param
    folder = tmp_path_factory.mktemp(family)
    source = ModelSource(where=str(tiny.make(family, folder / "model", multi_label=multi_label)))
    facts = load_checkpoint(source, folder / "checkpoint")
    export(facts, folder / "checkpoint", folder / "export", TEXTS)
    return folder, facts


def build_variant(model, name: str):
    folder, facts = model
    inputs = Inputs(
        facts=facts, checkpoint=folder / "checkpoint", exported=folder / "export", texts=TEXTS, agreement=LEAST
    )
    return build(Recipe(name=name, steps=STEPS[name]), inputs, folder / "variants" / name)


def classify(folder, text: str) -> tuple[dict[str, float], dict[str, float], int, bool]:
    manifest = manifests.read(str(folder))
    verification = manifests.verify_in_background(str(folder), manifest)
    return Classifier(str(folder), manifest, verification, 1).classify(text)


@pytest.mark.parametrize("name", STEPS)
def test_a_recipe_keeps_the_answers(model, name) -> None:
    """Float variants give torch's logits to 1e-3, int8 ones within half of their spread; sizes are as recorded."""
    variant = build_variant(model, name)
    assert variant.parity.texts == len(TEXTS)
    assert variant.parity.longest_tokens == 128
    quantized = any(step.startswith("int8") for step in variant.recipe.steps)
    assert variant.parity.max_logit_difference < (_logit_spread(model[0]) / 2 if quantized else 1e-3)
    assert quantized or variant.parity.label_agreement == 1.0
    folder = model[0] / "variants" / name
    assert variant.size_bytes == sum(path.stat().st_size for path in folder.glob("model.onnx*"))
    assert sum(variant.part_bytes.values()) <= variant.size_bytes


def _logit_spread(folder) -> float:
    logits = np.array(json.loads((folder / "export" / "reference.json").read_text())["logits"])
    return float(np.ptp(logits, axis=0).min())


def test_the_shipped_classifier_answers_like_torch(model) -> None:
    """The app's scores on the fp32 variant are torch's probabilities, label by label, short and over-long texts alike."""
    folder, facts = model
    build_variant(model, "fp32")
    torch_model, tokenizer = load_model(folder / "checkpoint"), load_tokenizer(folder / "checkpoint")
    for text in TEXTS[-8:]:
        inputs = tokenizer(text, return_tensors="pt", truncation=True, max_length=facts.max_tokens)
        with torch.inference_mode():
            logits = torch_model(**inputs).logits[0]
        expected = logits.sigmoid() if facts.activation == "sigmoid" else logits.softmax(0)
        scores, _, tokens, truncated = classify(folder / "variants" / "fp32", text)
        assert list(scores) == list(facts.labels)
        np.testing.assert_allclose(list(scores.values()), expected.numpy(), atol=1e-4)
        assert tokens == inputs["input_ids"].shape[1]
        assert truncated == (len(tokenizer(text)["input_ids"]) > facts.max_tokens)


def test_embeddings_and_fusing_do_what_they_are_for(model) -> None:
    """Fusing leaves fewer nodes, int8 fewer bytes, int8 embeddings fewer still, and mapping moves weights out."""
    names = ("fp32", "fused", "tensor", "tensor-embeddings", "channel-embeddings-mapped")
    for name in names:
        build_variant(model, name)
    variants = {name: manifests.read(str(model[0] / "variants" / name)) for name in names}
    assert variants["fused"]["graph_nodes"] < variants["fp32"]["graph_nodes"] / 3
    assert variants["tensor"]["size_bytes"] < variants["fused"]["size_bytes"]
    assert (
        variants["tensor-embeddings"]["part_bytes"]["embeddings"] < variants["tensor"]["part_bytes"]["embeddings"] / 3
    )
    assert "model.onnx.data" in variants["channel-embeddings-mapped"]["files"]


def test_a_repaired_variant_reaches_the_agreement_it_was_asked_for(model) -> None:
    """With `keep-sensitive` the labels agree with torch's as often as the gate asks, and the kept nodes are recorded."""
    variant = build_variant(model, "channel-repaired") or read(
        model[0] / "variants" / "channel-repaired" / "variant.json", Variant, ""
    )
    assert variant.parity.label_agreement >= LEAST
    assert not variant.float_nodes or variant.float_nodes[-1].label_agreement >= LEAST


def test_a_variant_is_built_once(model) -> None:
    """Nothing changed, nothing built; a damaged file or another recipe under the name builds it anew."""
    build_variant(model, "tensor")
    path = model[0] / "variants" / "tensor" / "model.onnx"
    written = path.stat().st_mtime_ns
    assert build_variant(model, "tensor") is None
    assert path.stat().st_mtime_ns == written
    path.write_bytes(path.read_bytes()[:-1])
    assert build_variant(model, "tensor") is not None


@pytest.mark.parametrize(
    ("steps", "happened"),
    [
        (("fuze",), "unknown step 'fuze'"),
        (("int8-tensor", "fuse"), "out of order or twice"),
        (("mapped", "int8-tensor"), "out of order or twice"),
        (("int8-tensor", "int8-tensor"), "out of order or twice"),
        (("int8-tensor", "int8-channel"), "quantizes the same weights twice"),
        (("fuse", "keep-sensitive"), "no int8 step"),
    ],
)
def test_steps_that_cannot_work_are_refused(steps, happened) -> None:
    """Unknown, repeated and misplaced steps are refused before anything is built."""
    with pytest.raises(PlanError, match=happened):
        recipes.check(Recipe(name="odd", steps=steps))
