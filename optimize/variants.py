"""Build a variant: a folder with what its engine and tokenizer read, and `variant.json`, whole or not at all.

The files of a list of steps are made once, in a folder of their own, and linked into every variant that only runs them
otherwise. Built once: the same model, recipe, tools, texts and code give the same variant, and it is used again.
"""

import json
import logging
import math
import os
import shutil
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import onnx

from optimize import native, parity, recipes, sensitivity, wordpiece
from workbench import machine
from workbench.errors import RecordError
from workbench.records import FloatNode, ModelFacts, Parity, Recipe, Variant, fingerprint
from workbench.store import file_sha256, read, tree_sha256, write

TOOLS = ("torch", "transformers", "optimum", "optimum-onnx", "onnx", "onnxruntime", "tokenizers")
PARTS = {"embeddings": "embeddings", "classifier": "head"}
VARIANT_FILE, MADE_FILE = "variant.json", "made.json"
TOKENIZERS = {"tokenizers": "tokenizer.json", "mapped": "tokenizer.bin"}


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


@dataclass(frozen=True, kw_only=True, slots=True)
class Made:
    """What a list of steps made: files with their sha256, and the facts of them that a variant's record repeats."""

    files: dict[str, str]
    part_bytes: dict[str, int]
    graph_nodes: int
    float_nodes: tuple[FloatNode, ...]
    self_checked: tuple[str, ...]
    cpu_flags: tuple[str, ...]
    parity: Parity
    built_from: str


def build(recipe: Recipe, inputs: Inputs, folder: Path) -> Variant | None:
    """Build `recipe` into `folder`; None if the same one is there already."""
    identity = _identity([recipe], inputs)
    if _is_intact(folder, VARIANT_FILE, Variant, identity):
        return None
    source, made = make(recipe.steps, inputs)
    variant = _describe(recipe, inputs, source, made, identity)
    partial = _fresh(folder)
    for name in variant.files:
        os.link(source / name, partial / name)
    write(partial / VARIANT_FILE, variant)
    _put(partial, folder)
    return variant


def make(steps: tuple[str, ...], inputs: Inputs) -> tuple[Path, Made]:
    """The folder of what `steps` make, and its record, made now if it is not there."""
    folder = inputs.exported.parent / "steps" / ("+".join(steps) or "none")
    identity = _identity([steps], inputs)
    if not _is_intact(folder, MADE_FILE, Made, identity):
        partial = _fresh(folder)
        maker = _from_checkpoint if recipes.NATIVE in steps else _from_graph
        write(partial / MADE_FILE, maker(steps, inputs, partial, identity))
        _put(partial, folder)
    return folder, read(folder / MADE_FILE, Made, "build it")


def _identity(what: list, inputs: Inputs) -> str:
    root = Path(__file__).parent
    code = tree_sha256((*root.glob("*.py"), native.SOURCE), root.parent)
    return fingerprint([*what, inputs.facts, inputs.texts, inputs.agreement, _versions(), code])


def _versions() -> dict[str, str]:
    return {tool: version(tool) for tool in TOOLS}


def _is_intact(folder: Path, record: str, kind: type[Variant] | type[Made], identity: str) -> bool:
    """Whether `folder` holds what its record says, built from `identity`."""
    try:
        found = read(folder / record, kind, "build it")
    except RecordError:
        return False
    return found.built_from == identity and all(
        (folder / name).exists() and file_sha256(folder / name) == sha for name, sha in found.files.items()
    )


def _fresh(folder: Path) -> Path:
    """An empty folder beside `folder`, to be put in its place when it is whole."""
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    return partial


def _put(partial: Path, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)


def _describe(recipe: Recipe, inputs: Inputs, source: Path, made: Made, identity: str) -> Variant:
    """The record; a tokenizer that cannot be mapped is read by the library, and the recipe says so."""
    can_map = TOKENIZERS["mapped"] in made.files
    runtime = recipe.runtime if can_map else replace(recipe.runtime, tokenizer="tokenizers")
    weights = made.files.keys() - TOKENIZERS.values()
    files = {name: made.files[name] for name in sorted({*weights, TOKENIZERS[runtime.tokenizer]})}
    return Variant(
        recipe=replace(recipe, runtime=runtime),
        model=inputs.facts,
        files=files,
        sha256=fingerprint([files, runtime]),
        size_bytes=sum((source / name).stat().st_size for name in weights),
        part_bytes=made.part_bytes,
        graph_nodes=made.graph_nodes,
        optimize_at_load=not recipes.SAVED.keys() & set(recipe.steps),
        versions=_versions(),
        float_nodes=made.float_nodes,
        parity=made.parity,
        built_from=identity,
        self_checked=made.self_checked,
        cpu_flags=made.cpu_flags,
    )


def _from_checkpoint(steps: tuple[str, ...], inputs: Inputs, folder: Path, identity: str) -> Made:
    """The files of the native engine."""
    self_checked = native.build(inputs.checkpoint, inputs.facts, folder)
    shutil.copy(inputs.exported / "tokenizer.json", folder)
    return Made(
        files=_files(folder, inputs),
        part_bytes=native.part_bytes(folder),
        graph_nodes=0,
        float_nodes=(),
        self_checked=self_checked,
        cpu_flags=(),
        parity=_parity(native.answer(folder), folder, inputs),
        built_from=identity,
    )


def _from_graph(steps: tuple[str, ...], inputs: Inputs, folder: Path, identity: str) -> Made:
    """The exported graph as `steps` change it; the quantizer's advice, given at every call, is kept out of the log."""
    config = json.loads((inputs.checkpoint / "config.json").read_text())
    model = folder / "model.onnx"
    logging.disable(logging.WARNING)
    try:
        kept = recipes.apply(steps, inputs.exported, folder, config, _repairer(inputs))
    finally:
        logging.disable(logging.NOTSET)
    part_bytes, nodes = _anatomy(model)
    return Made(
        files=_files(folder, inputs),
        part_bytes=part_bytes,
        graph_nodes=nodes,
        float_nodes=kept,
        self_checked=(),
        cpu_flags=machine.describe("none").flags if recipes.PREPACKED in steps else (),
        parity=_parity(parity.onnx_answer(model), folder, inputs),
        built_from=identity,
    )


def _repairer(inputs: Inputs) -> recipes.Repair:
    def measure(model: Path) -> Parity:
        return _parity(parity.onnx_answer(model), model.parent, inputs)

    def repair(float_model: Path, target: Path, steps: list[str]) -> tuple[FloatNode, ...]:
        return sensitivity.repair(
            float_model,
            target,
            steps,
            lambda path: measure(path).label_agreement,
            lambda path: measure(path).max_logit_difference,
            inputs.agreement,
        )

    return repair


def _files(folder: Path, inputs: Inputs) -> dict[str, str]:
    """The sha256 of every file in `folder`, where the tokenizer is put in its mapped form too if it has one."""
    _add_mapped_tokenizer(folder / TOKENIZERS["tokenizers"], inputs)
    return {path.name: file_sha256(path) for path in sorted(folder.iterdir())}


def _add_mapped_tokenizer(tokenizer: Path, inputs: Inputs) -> None:
    """Made once for each tokenizer, since it takes seconds, and copied."""
    code = file_sha256(Path(wordpiece.__file__))
    name = fingerprint([file_sha256(tokenizer), inputs.facts.max_tokens, code])
    ready = inputs.exported.parent / "tokenizers" / f"{name[:16]}.bin"
    partial = ready.with_suffix(".partial")
    partial.parent.mkdir(exist_ok=True)
    if not ready.exists() and wordpiece.build(tokenizer, partial, inputs.facts.max_tokens):
        partial.rename(ready)
    if ready.exists():
        shutil.copyfile(ready, tokenizer.with_name(TOKENIZERS["mapped"]))


def _parity(answer: parity.Answer, folder: Path, inputs: Inputs) -> Parity:
    tokenizer, reference = folder / TOKENIZERS["tokenizers"], inputs.exported / "reference.json"
    return parity.measure(answer, tokenizer, reference, inputs.texts, inputs.facts)


def _anatomy(model: Path) -> tuple[dict[str, int], int]:
    """Bytes of the weights by part of the model, what is not named embeddings or head being encoder; node count."""
    graph = onnx.load(model, load_external_data=False).graph
    sizes = dict.fromkeys((*PARTS.values(), "encoder"), 0)
    for tensor in graph.initializer:
        part = next((part for word, part in PARTS.items() if word in tensor.name), "encoder")
        sizes[part] += math.prod(tensor.dims) * onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    return sizes, len(graph.node)
