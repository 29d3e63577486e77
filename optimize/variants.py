"""Build a variant: a folder with `model.onnx` (and its `.data` where mapped), `tokenizer.json` and `variant.json`, whole or not at all.

Built once: the same model, recipe, tools, texts and code give the same variant, and it is used again.
"""

import json
import logging
import shutil
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


def build(
    recipe: Recipe, facts: ModelFacts, folders: tuple[Path, Path, Path], texts: tuple[str, ...], agreement: float
) -> Variant | None:
    """Build `recipe` from the (checkpoint, export, variant) `folders`; None if the same one is there already.

    `agreement` is the share of labels like torch's that the step `keep-sensitive` brings the variant to.
    """
    checkpoint, exported, folder = folders
    versions = {tool: version(tool) for tool in TOOLS}
    code = tree_sha256(Path(__file__).parent.glob("*.py"), Path(__file__).parent)
    identity = fingerprint([recipe, facts, versions, texts, agreement, code])
    if _is_built(folder, identity):
        return None
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    model, tokenizer = partial / "model.onnx", partial / "tokenizer.json"
    logging.disable(logging.WARNING)
    config = json.loads((checkpoint / "config.json").read_text())

    def compared(path: Path) -> Parity:
        return parity.measure(path, exported / "tokenizer.json", exported / "reference.json", texts, facts)

    def repair(float_model: Path, target: Path, steps: list[str]) -> tuple[FloatNode, ...]:
        return sensitivity.repair(
            float_model,
            target,
            steps,
            lambda path: compared(path).label_agreement,
            lambda path: compared(path).max_logit_difference,
            agreement,
        )

    kept = recipes.apply(recipe, exported / "model.onnx", model, config, repair)
    logging.disable(logging.NOTSET)
    shutil.copyfile(exported / "tokenizer.json", tokenizer)
    files = {path.name: file_sha256(path) for path in sorted(partial.iterdir())}
    part_bytes, nodes = _anatomy(model)
    variant = Variant(
        recipe=recipe,
        model=facts,
        files=files,
        sha256=fingerprint(files),
        size_bytes=sum(path.stat().st_size for path in partial.glob("model.onnx*")),
        part_bytes=part_bytes,
        graph_nodes=nodes,
        optimize_at_load=recipes.MAPPED not in recipe.steps,
        versions=versions,
        float_nodes=kept,
        parity=compared(model),
        built_from=identity,
    )
    write(partial / VARIANT_FILE, variant)
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
    return variant


def _is_built(folder: Path, identity: str) -> bool:
    try:
        variant = read(folder / VARIANT_FILE, Variant, "build it")
    except RecordError:
        return False
    intact = all((folder / name).exists() and file_sha256(folder / name) == sha for name, sha in variant.files.items())
    return intact and variant.built_from == identity


def _anatomy(model: Path) -> tuple[dict[str, int], int]:
    """Bytes of the weights by part of the model, what is not named embeddings or head being encoder; node count."""
    graph = onnx.load(model).graph
    sizes = dict.fromkeys((*PARTS.values(), "encoder"), 0)
    for tensor in graph.initializer:
        part = next((part for word, part in PARTS.items() if word in tensor.name), "encoder")
        sizes[part] += len(tensor.raw_data) or tensor.ByteSize()
    return sizes, len(graph.node)
