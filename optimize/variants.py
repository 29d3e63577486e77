"""Build a variant: a folder with `model.onnx`, its weights, `tokenizer.json` and `variant.json`, whole or not at all.

Built once: the same model, recipe, tools, texts and code give the same variant, and it is used again.
"""

import json
import logging
import shutil
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import onnx

from optimize import parity, recipes, sensitivity
from workbench.errors import RecordError
from workbench.records import FloatNode, ModelFacts, Parity, Recipe, Variant, fingerprint
from workbench.store import file_sha256, read, tree_sha256, write

TOOLS = ("torch", "transformers", "optimum", "optimum-onnx", "onnx", "onnxruntime", "tokenizers")
PARTS = {"embeddings": "embeddings", "classifier": "head"}
VARIANT_FILE = "variant.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Inputs:
    """What every variant of a model is made from.

    `exported` has the ONNX file and torch's answers to `texts`; `agreement` is the share of labels like torch's that the
    step `keep-sensitive` brings a variant to.
    """

    facts: ModelFacts
    checkpoint: Path
    exported: Path
    texts: tuple[str, ...]
    agreement: float


def build(recipe: Recipe, inputs: Inputs, folder: Path) -> Variant | None:
    """Build `recipe` into `folder`; None if the same one is there already."""
    identity = _identity(recipe, inputs)
    if _is_built(folder, identity):
        return None
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    kept = _make_model(recipe, inputs, partial / "model.onnx")
    shutil.copyfile(inputs.exported / "tokenizer.json", partial / "tokenizer.json")
    variant = _describe(recipe, inputs, partial, kept, identity)
    write(partial / VARIANT_FILE, variant)
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
    return variant


def _identity(recipe: Recipe, inputs: Inputs) -> str:
    code = tree_sha256(Path(__file__).parent.glob("*.py"), Path(__file__).parent)
    return fingerprint([recipe, inputs.facts, inputs.texts, inputs.agreement, _versions(), code])


def _versions() -> dict[str, str]:
    return {tool: version(tool) for tool in TOOLS}


def _is_built(folder: Path, identity: str) -> bool:
    try:
        variant = read(folder / VARIANT_FILE, Variant, "build it")
    except RecordError:
        return False
    intact = all((folder / name).exists() and file_sha256(folder / name) == sha for name, sha in variant.files.items())
    return intact and variant.built_from == identity


def _make_model(recipe: Recipe, inputs: Inputs, model: Path) -> tuple[FloatNode, ...]:
    """Write the recipe's graph to `model`; the quantizer's advice, given at every call, is kept out of the log."""

    def repair(float_model: Path, target: Path, steps: list[str]) -> tuple[FloatNode, ...]:
        return sensitivity.repair(
            float_model,
            target,
            steps,
            lambda path: _parity(path, inputs).label_agreement,
            lambda path: _parity(path, inputs).max_logit_difference,
            inputs.agreement,
        )

    config = json.loads((inputs.checkpoint / "config.json").read_text())
    logging.disable(logging.WARNING)
    try:
        return recipes.apply(recipe, inputs.exported / "model.onnx", model, config, repair)
    finally:
        logging.disable(logging.NOTSET)


def _describe(recipe: Recipe, inputs: Inputs, folder: Path, kept: tuple[FloatNode, ...], identity: str) -> Variant:
    files = {path.name: file_sha256(path) for path in sorted(folder.iterdir())}
    part_bytes, nodes = _anatomy(folder / "model.onnx")
    return Variant(
        recipe=recipe,
        model=inputs.facts,
        files=files,
        sha256=fingerprint(files),
        size_bytes=sum(path.stat().st_size for path in folder.glob("model.onnx*")),
        part_bytes=part_bytes,
        graph_nodes=nodes,
        optimize_at_load=recipes.MAPPED not in recipe.steps,
        versions=_versions(),
        float_nodes=kept,
        parity=_parity(folder / "model.onnx", inputs),
        built_from=identity,
    )


def _parity(model: Path, inputs: Inputs) -> Parity:
    files = inputs.exported / "tokenizer.json", inputs.exported / "reference.json"
    return parity.measure(model, *files, inputs.texts, inputs.facts)


def _anatomy(model: Path) -> tuple[dict[str, int], int]:
    """Bytes of the weights by part of the model, what is not named embeddings or head being encoder; node count."""
    graph = onnx.load(model).graph
    sizes = dict.fromkeys((*PARTS.values(), "encoder"), 0)
    for tensor in graph.initializer:
        part = next((part for word, part in PARTS.items() if word in tensor.name), "encoder")
        sizes[part] += len(tensor.raw_data) or tensor.ByteSize()
    return sizes, len(graph.node)
