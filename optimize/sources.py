"""One loader for every model source: the built-in model, a folder, a hub id with a pinned revision.

Refuses pickled weights, remote code, unknown families, and a checkpoint without a trained classification head unless
the plan says `speed_only`: transformers would fill the head with random numbers and answer with confidence.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
from safetensors import SafetensorError, safe_open
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerFast

from optimize import builtin
from workbench.emotions import EMOTIONS
from workbench.errors import SourceError
from workbench.labels import emotions_of
from workbench.paths import ROOT
from workbench.records import Activation, ModelFacts, ModelSource
from workbench.store import tree_sha256, write_text

FAMILIES = ("electra", "bert", "roberta")
NEEDED_FILES = ("*.json", "*.safetensors", "vocab.txt", "merges.txt")
PICKLED_FILES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
HEAD_PREFIX = "classifier."
DEFAULT_THRESHOLD = 0.5
UNTRAINED_EMOTION = "neutral"


def load_checkpoint(source: ModelSource, folder: Path) -> ModelFacts:
    """Bring `source` into `folder` (reused while the source is the same), check it and return what it is."""
    stamp, identity = folder.with_name(folder.name + ".source"), _identity(source)
    if not folder.exists() or not stamp.exists() or stamp.read_text() != identity:
        partial = folder.with_name(folder.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        _fetcher(source)(source, partial)
        _refuse_unsafe(partial)
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
        write_text(stamp, identity)
    return inspect(source, folder)


def inspect(source: ModelSource, folder: Path) -> ModelFacts:
    """Check the checkpoint in `folder` and return its facts, without loading its weights."""
    config = _refuse_unsafe(folder)
    shapes = _weight_shapes(folder)
    trained = any(name.startswith(HEAD_PREFIX) for name in shapes)
    if not trained and not source.speed_only:
        happened = f"{source.where} has no trained classification head, so its answers would be random"
        raise SourceError(
            happened, "use a fine-tuned checkpoint, or set model.speed_only = true to measure speed alone"
        )
    tokenizer, labels = load_tokenizer(folder), _labels(source, config)
    return ModelFacts(
        source=source,
        family=config["model_type"],
        labels=labels,
        emotions=emotions_of(source, labels) if trained else (UNTRAINED_EMOTION,) * len(labels),
        thresholds=dict.fromkeys(EMOTIONS, DEFAULT_THRESHOLD) | config.get("thresholds", {}),
        activation=source.activation or _activation(config),
        max_tokens=_max_tokens(config, tokenizer),
        vocabulary_size=config["vocab_size"],
        layers=config["num_hidden_layers"],
        hidden_size=config["hidden_size"],
        intermediate_size=config["intermediate_size"],
        parameters=sum(_product(shape) for shape in shapes.values()),
        trained=trained,
        sha256=tree_sha256((path for path in folder.iterdir() if path.is_file()), folder),
    )


def load_model(folder: Path) -> PreTrainedModel:
    """The torch model of a checked checkpoint, in evaluation mode."""
    return AutoModelForSequenceClassification.from_pretrained(folder, use_safetensors=True).eval()


def load_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """The checkpoint's fast tokenizer: WordPiece or byte-level BPE, special tokens as its own files say."""
    try:
        return AutoTokenizer.from_pretrained(folder, use_fast=True)
    except (OSError, ValueError, KeyError, TypeError) as error:
        remedy = "add tokenizer.json or vocab.txt to the checkpoint"
        raise SourceError(f"{folder} has no tokenizer that can be read", remedy) from error


def _identity(source: ModelSource) -> str:
    """What the source holds now: the built-in weights and code, a folder's files, or the pinned revision."""
    if source.where == "builtin":
        return tree_sha256((path for path in builtin.PACKED.iterdir() if path.is_file()), builtin.PACKED)
    if source.where[0] not in "./":
        return f"{source.where}@{source.revision}"
    origin = ROOT / source.where
    return tree_sha256((path for pattern in NEEDED_FILES for path in origin.glob(pattern)), origin)


def _fetcher(source: ModelSource) -> Callable[[ModelSource, Path], None]:
    if source.where == "builtin":
        return lambda _, folder: builtin.make(folder)
    return _copy_folder if source.where[0] in "./" else _download


def _copy_folder(source: ModelSource, folder: Path) -> None:
    origin = ROOT / source.where
    if not (origin / "config.json").exists():
        raise SourceError(f"{origin} is no checkpoint folder: it has no config.json", "mend model.where")
    _refuse_unsafe(origin)
    for path in {path for pattern in NEEDED_FILES for path in origin.glob(pattern)}:
        shutil.copyfile(path, folder / path.name)


def _download(source: ModelSource, folder: Path) -> None:
    if not source.revision:
        raise SourceError(f"{source.where} is not pinned", "set model.revision to the 40 hex digits of one commit")
    try:
        snapshot_download(source.where, revision=source.revision, local_dir=folder, allow_patterns=list(NEEDED_FILES))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        happened = f"{source.where} at {source.revision} could not be downloaded ({type(error).__name__})"
        raise SourceError(happened, "check the id, the revision and the network, or use a local folder") from error
    shutil.rmtree(folder / ".cache", ignore_errors=True)


def _refuse_unsafe(folder: Path) -> dict[str, Any]:
    """The checkpoint's configuration, once nothing in the folder asks for code or pickles."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if "auto_map" in config:
        raise SourceError(
            f"{folder} asks for remote code (auto_map)", "use a checkpoint of a family transformers knows"
        )
    if config.get("model_type") not in FAMILIES:
        raise SourceError(
            f"{folder} is of the family {config.get('model_type')!r}", f"use one of {', '.join(FAMILIES)}"
        )
    if not any(folder.glob("*.safetensors")):
        pickled = any(path for pattern in PICKLED_FILES for path in folder.glob(pattern))
        happened = f"{folder} has {'only pickled' if pickled else 'no'} weights"
        raise SourceError(happened, "convert them to safetensors: loading a pickle runs whatever is in it")
    return config


def _weight_shapes(folder: Path) -> dict[str, list[int]]:
    shapes: dict[str, list[int]] = {}
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, framework="np") as weights:
                shapes |= {name: weights.get_slice(name).get_shape() for name in weights.keys()}  # noqa: SIM118
        except SafetensorError as error:
            raise SourceError(f"{path} is damaged ({error})", "fetch the checkpoint again") from error
    return shapes


def _labels(source: ModelSource, config: dict[str, Any]) -> tuple[str, ...]:
    found = tuple(label for _, label in sorted(config.get("id2label", {}).items(), key=lambda item: int(item[0])))
    if source.labels and len(source.labels) != len(found):
        happened = f"model.labels has {len(source.labels)} names for {len(found)} outputs"
        raise SourceError(happened, "name one label for each output, in order")
    return source.labels or found


def _activation(config: dict[str, Any]) -> Activation:
    return "sigmoid" if config.get("problem_type") == "multi_label_classification" else "softmax"


def _max_tokens(config: dict[str, Any], tokenizer: PreTrainedTokenizerFast) -> int:
    """RoBERTa's positions start behind its padding id, so two of them are never used."""
    positions = config["max_position_embeddings"] - (2 if config["model_type"] == "roberta" else 0)
    return min(positions, tokenizer.model_max_length)


def _product(shape: list[int]) -> int:
    total = 1
    for size in shape:
        total *= size
    return total
