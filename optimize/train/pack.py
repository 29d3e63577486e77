"""Stage `pack`: one small file of 8-bit rows; and `grow`, which makes it KcELECTRA-base's size with the same answers."""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import ElectraConfig, ElectraForSequenceClassification

from workbench.errors import VariantError

TIMES = 3
ROWS = 54_343
LIMIT = 16_000_000
PRESENT = 0.5
SCALE = ".scale"
AIDS = ("guess.", "aside.")


def pack(model: ElectraForSequenceClassification, path: Path) -> int:
    """Write the model's weights, matrices as 8-bit rows with a 16-bit scale each; return the bytes, at most 16 MB."""
    packed = {}
    for name, weight in model.state_dict().items():
        if name.startswith(AIDS):
            continue
        if weight.ndim == 2:
            packed[name], packed[name + SCALE] = rows_of_8_bits(weight)
        else:
            packed[name] = weight.float().contiguous()
    save_file(packed, path, {"format": "pt"})
    path.chmod(0o644)
    if path.stat().st_size > LIMIT:
        raise VariantError(f"{path} has {path.stat().st_size} bytes, more than {LIMIT}", "train a smaller vocabulary")
    return path.stat().st_size


def rows_of_8_bits(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a matrix as int8 rows and each row's scale (fp16): weight is about row times scale."""
    scale = (weight.abs().amax(1).float() / 127).clamp(min=1e-7).half()
    return (weight.float() / scale.float()[:, None]).round().clamp(-127, 127).to(torch.int8), scale


def unpack(path: Path) -> dict[str, torch.Tensor]:
    """Return the fp32 weights of a packed file by name."""
    stored = load_file(path)
    return {
        name: weight.float() * stored[name + SCALE].float()[:, None] if name + SCALE in stored else weight
        for name, weight in stored.items()
        if not name.endswith(SCALE)
    }


def load(folder: Path) -> ElectraForSequenceClassification:
    """Return the small model of a folder with `config.json` and the packed `model.safetensors`."""
    model = ElectraForSequenceClassification(ElectraConfig.from_pretrained(folder))
    model.load_state_dict(unpack(folder / "model.safetensors"))
    return model.eval()


def grow(
    model: ElectraForSequenceClassification, times: int = TIMES, rows: int = ROWS
) -> ElectraForSequenceClassification:
    """Return a model `times` as wide, with `rows` embeddings, that gives the same logits."""
    shape = ElectraConfig.from_dict(model.config.to_dict())
    for side in ("hidden_size", "embedding_size", "intermediate_size", "num_attention_heads"):
        setattr(shape, side, getattr(shape, side) * times)
    shape.vocab_size = rows
    grown = ElectraForSequenceClassification(shape)
    grown.load_state_dict(
        {name: grown_weight(name, weight, times, rows) for name, weight in model.state_dict().items()}
    )
    return grown.eval()


def grown_weight(name: str, weight: torch.Tensor, times: int, rows: int) -> torch.Tensor:
    """Return one weight in the grown model: vectors repeat, matrices repeat both ways and share their input out."""
    if "word_embeddings" in name:
        weight = weight[torch.arange(rows) % len(weight)]
    if "embeddings." in name and weight.ndim == 2:
        return weight.repeat(1, times)
    if name.startswith("classifier.out_proj"):
        return weight.repeat(1, times) / times if weight.ndim == 2 else weight
    return weight.repeat(times, times) / times if weight.ndim == 2 else weight.repeat(times)


def grown_vocabulary(tokens: list[str], rows: int = ROWS) -> list[str]:
    """Return the tokens followed by `[unusedN]` up to `rows`; no text splits into one of those."""
    return tokens + [f"[unused{n}]" for n in range(rows - len(tokens))]


def write_config(model: ElectraForSequenceClassification, path: Path) -> None:
    """Write `config.json`, with the probability from which each emotion counts as present."""
    shape = model.config.to_diff_dict() | {"architectures": ["ElectraForSequenceClassification"]}
    shape.pop("output_hidden_states", None)
    shape["thresholds"] = dict.fromkeys(model.config.label2id, PRESENT)
    path.write_text(json.dumps(shape, ensure_ascii=False, indent=1) + "\n", "utf-8")
