"""Every recipe keeps the model's answers, through the code that ships, and is built once."""

import json
import shutil
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.pre_tokenizers import ByteLevel

from lambda_image.app import manifest as manifests
from lambda_image.app.classifier import Classifier, Stopwatch
from optimize import blocks, graphs, recipes, vocabulary
from optimize.export import export
from optimize.parity import parity_texts
from optimize.sources import load_checkpoint, load_model, load_tokenizer
from optimize.variants import Inputs, build
from tests.pipeline import tiny
from workbench.errors import PlanError, VariantError
from workbench.records import ModelSource, Recipe, Runtime, Variant
from workbench.store import read

TEXTS = parity_texts(tiny.TEXTS)
LEAST = 0.9
STEPS = {
    "fp32": (),
    "pruned": ("prune",),
    "fused": ("fuse",),
    "fused-saved": ("fuse", "saved"),
    "fused-mapped": ("fuse", "mapped"),
    "one-text": ("fuse", "batch-1"),
    "first-row": ("fuse", "first-row"),
    "one-text-first-row": ("fuse", "batch-1", "first-row"),
    "half": ("fuse", "fp16-embeddings"),
    "half-mapped": ("fuse", "fp16-embeddings", "mapped"),
    "tensor": ("fuse", "int8-tensor"),
    "tensor-embeddings": ("fuse", "int8-tensor", "int8-embeddings"),
    "channel": ("fuse", "int8-channel"),
    "channel-embeddings": ("fuse", "int8-channel", "int8-embeddings"),
    "channel-embeddings-mapped": ("fuse", "int8-channel", "int8-embeddings", "mapped"),
    "channel-half-prepacked": ("fuse", "int8-channel", "fp16-embeddings", "prepacked"),
    "channel-repaired": ("fuse", "int8-channel", "keep-sensitive"),
    "unfused-channel-embeddings": ("int8-channel", "int8-embeddings"),
    "blocks": ("fuse", "batch-1", "first-row", "int8-blocks"),
    "all": ("prune", "fuse", "batch-1", "first-row", "int8-channel", "int8-embeddings", "mapped"),
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
    return Classifier(str(folder), manifest, verification, 1, Stopwatch(time.perf_counter())).classify(text)


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


def test_recipes_that_only_run_otherwise_share_their_files(model) -> None:
    """The same steps under two runtimes are made once and linked; the variants' identities still differ."""
    folder, facts = model
    inputs = Inputs(
        facts=facts, checkpoint=folder / "checkpoint", exported=folder / "export", texts=TEXTS, agreement=LEAST
    )
    variants = [
        build(Recipe(name=name, steps=("fuse",), runtime=runtime), inputs, folder / "variants" / name)
        for name, runtime in (("arena", Runtime()), ("no-arena", Runtime(arena=False)))
    ]
    paths = [folder / "variants" / name / "model.onnx" for name in ("arena", "no-arena")]
    assert paths[0].samefile(paths[1])
    assert variants[0].files == variants[1].files
    assert variants[0].sha256 != variants[1].sha256


def test_a_pruned_vocabulary_keeps_every_token_of_korean_text(model) -> None:
    """Diaries, digits, emoji and jamo keep their tokens under other ids; a token of another script is gone."""
    build_variant(model, "pruned")
    full, pruned = (
        Tokenizer.from_file(str(folder / "tokenizer.json"))
        for folder in (model[0] / "export", model[0] / "variants" / "pruned")
    )
    kind = json.loads((model[0] / "export" / "tokenizer.json").read_text())["model"]["type"]
    unused = {token for token in full.get_vocab() if not vocabulary.is_used(vocabulary.READ[kind](token))}
    for text in (*TEXTS, "ㅋㅋㅋ 2026년 11월! 😭❤️ :) a+b=Ω", "[MASK] <mask>"):
        assert pruned.encode(text).tokens == full.encode(text).tokens
    assert sorted(pruned.get_vocab().values()) == list(range(len(pruned.get_vocab())))
    assert full.get_vocab().keys() - pruned.get_vocab().keys() == unused
    assert (kind == "BPE") == (not unused)
    assert vocabulary.BYTES.keys() == set(ByteLevel.alphabet())
    rows = {
        tensor.name: tensor.dims[0]
        for tensor in onnx.load(model[0] / "variants" / "pruned" / "model.onnx").graph.initializer
    }
    assert {count for name, count in rows.items() if "word_embeddings" in name} == {len(pruned.get_vocab())}


@pytest.mark.parametrize(
    ("token", "used"),
    [
        *(("오늘", True), ("##었다", True), ("ㅠㅠ", True), ("ok", True), ("😭", True), ("❤️", True), ("…", True)),
        *(("日", False), ("ひら", False), ("café", False), ("мир", False), ("[unused7]", False), ("가日", False)),
    ],
)
def test_a_token_is_used_by_its_characters(token, used) -> None:
    """Hangul, ASCII, digits, punctuation and emoji are used; letters of other scripts and placeholders are not."""
    assert vocabulary.is_used(token) == used


def test_blockwise_weights_are_within_half_a_step(model) -> None:
    """Each weight of a block is off by at most half of the block's scale, and a sum over padding stays the same."""
    weight = np.random.default_rng(5).normal(size=(70, 6)).astype(np.float32)
    values, scales = blocks._quantized(weight)
    back = (values.astype(np.float32) - blocks.ZERO_POINT) * scales.reshape(6, -1, 1)
    assert values.shape == (6, 3, blocks.BLOCK)
    assert np.abs(back.reshape(6, -1)[:, :70].T - weight).max() <= scales.max() / 2 + 1e-6
    assert np.abs(back.reshape(6, -1)[:, 70:]).max() == 0


def test_the_last_layer_computes_one_row(model) -> None:
    """After `first-row` the last layer's matrices see one row: its output has one row for any number of tokens."""
    build_variant(model, "one-text-first-row")
    graph = onnx.load(model[0] / "variants" / "one-text-first-row" / "model.onnx")
    last = [node for node in graph.graph.node if node.op_type == "SkipLayerNormalization"][-1].output[0]
    graph.graph.output.append(onnx.helper.make_tensor_value_info(last, onnx.TensorProto.FLOAT, None))
    session = onnxruntime.InferenceSession(graph.SerializeToString())
    assert [given.name for given in session.get_inputs()] == ["input_ids"]
    assert session.run([last], {"input_ids": np.array([[2, 5, 6, 7, 3]])})[0].shape == (1, 1, 64)


def test_steps_for_another_graph_are_refused(model, tmp_path) -> None:
    """A graph without fused attention or with no table of word embeddings is named, not changed."""
    path = Path(shutil.copy(model[0] / "export" / "model.onnx", tmp_path))
    with pytest.raises(VariantError, match="no fused attention"):
        graphs.one_text(path)
    loaded = onnx.load(path)
    for node in loaded.graph.node:
        node.input[:] = [name.replace("word_embeddings", "words") for name in node.input]
    onnx.save(loaded, path)
    with pytest.raises(VariantError, match="0 look-ups of word_embeddings"):
        graphs.keep_rows(path, [0])


@pytest.mark.parametrize(
    ("steps", "happened"),
    [
        (("fuze",), "unknown step 'fuze'"),
        (("int8-tensor", "fuse"), "out of order or twice"),
        (("mapped", "int8-tensor"), "out of order or twice"),
        (("int8-tensor", "int8-tensor"), "out of order or twice"),
        (("int8-tensor", "int8-channel"), "more than one of int8-tensor, int8-channel, int8-blocks"),
        (("int8-embeddings", "fp16-embeddings"), "more than one of int8-embeddings, fp16-embeddings"),
        (("mapped", "prepacked"), "more than one of saved, mapped, prepacked"),
        (("fuse", "keep-sensitive"), "'keep-sensitive' without"),
        (("batch-1",), "'batch-1' without"),
        (("first-row",), "'first-row' without"),
        (("fuse", "native"), "other steps beside 'native'"),
        (("native",), "runs native by the engine 'onnxruntime'"),
    ],
)
def test_steps_that_cannot_work_are_refused(steps, happened) -> None:
    """Unknown, repeated and misplaced steps are refused before anything is built."""
    with pytest.raises(PlanError, match=happened):
        recipes.check(Recipe(name="odd", steps=steps))
