"""The steps a recipe may name, each a change to one ONNX file (and, for `prune`, to its tokenizer).

Refuses unknown steps and orders that cannot work: `fuse` comes early, since quantized nodes no longer fuse, and
`saved`, `mapped` or `prepacked` last, since they write the graph as onnxruntime would make it at load. `native` stands
alone: it starts from the checkpoint and makes no ONNX file.
"""

import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import onnx
import onnxruntime
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.transformers.fusion_options import FusionOptions
from onnxruntime.transformers.optimizer import optimize_model

from optimize import blocks, graphs, vocabulary
from workbench.errors import PlanError
from workbench.records import FloatNode, Recipe

Repair = Callable[[Path, Path, list[str]], tuple[FloatNode, ...]]
PRUNE, FUSE, ONE_TEXT, FIRST_ROW = "prune", "fuse", "batch-1", "first-row"
BLOCKS, HALF, KEEP = "int8-blocks", "fp16-embeddings", "keep-sensitive"
PREPACKED, NATIVE = "prepacked", "native"
MATRIX_OPERATORS = ("MatMul", "Gemm", "Attention")
QUANTIZED_OPERATORS = {
    "int8-tensor": MATRIX_OPERATORS,
    "int8-channel": MATRIX_OPERATORS,
    BLOCKS: ("MatMul",),
    "int8-embeddings": ("Gather",),
}
EXTERNAL_WEIGHTS = {
    "session.optimized_model_external_initializers_file_name": "model.onnx.data",
    "session.optimized_model_external_initializers_min_size_in_bytes": "1024",
}
# How the graph is saved as optimized: with its weights inside, beside it, or beside it as this CPU's kernels take them.
SAVED = {
    "saved": {},
    "mapped": EXTERNAL_WEIGHTS,
    PREPACKED: EXTERNAL_WEIGHTS | {"session.save_external_prepacked_constant_initializers": "1"},
}
ORDER = (PRUNE, FUSE, ONE_TEXT, FIRST_ROW, *QUANTIZED_OPERATORS, HALF, KEEP, *SAVED, NATIVE)
ALTERNATIVES = (("int8-tensor", "int8-channel", BLOCKS), ("int8-embeddings", HALF), tuple(SAVED))
NEEDS = {ONE_TEXT: (FUSE,), FIRST_ROW: (FUSE,), KEEP: tuple(QUANTIZED_OPERATORS)}


def check(recipe: Recipe) -> None:
    """Raise `PlanError` if the steps are unknown, repeated, contradictory, out of order or not for the engine."""
    for bad, happened, remedy in _faults(recipe):
        if bad:
            raise PlanError(f"recipe {recipe.name!r} {happened}", remedy)


def _faults(recipe: Recipe) -> Iterable[tuple[bool, str, str]]:
    """Every (whether it is so, what happened, what to do)."""
    steps, engine = recipe.steps, recipe.runtime.engine
    known = f"known are: {', '.join(ORDER)}"
    for step in steps:
        yield step not in ORDER, f"has an unknown step {step!r}", known
        needed = NEEDS.get(step, ())
        lacks = bool(needed) and not set(needed) & set(steps)
        yield lacks, f"has {step!r} without {' or '.join(needed)}", "add it before"
    yield list(steps) != sorted(set(steps), key=ORDER.index), "has steps out of order or twice", known
    for group in ALTERNATIVES:
        yield len(set(group) & set(steps)) > 1, f"has more than one of {', '.join(group)}", "keep one"
    yield NATIVE in steps and len(steps) > 1, f"has other steps beside {NATIVE!r}", "leave it alone"
    odd = (NATIVE in steps) != (engine == NATIVE)
    yield odd, f"runs {', '.join(steps)} by the engine {engine!r}", f"the step and the engine {NATIVE!r} go together"


def apply(
    steps: tuple[str, ...], exported: Path, folder: Path, config: dict[str, int], repair: Repair
) -> tuple[FloatNode, ...]:
    """Write `model.onnx` and `tokenizer.json` of `exported`, as `steps` make them, into `folder`.

    `config` is the checkpoint's; `repair` quantizes a float file into another by given steps, keeping the nodes that
    int8 would ruin, which are returned.
    """
    model, tokenizer = (Path(shutil.copy(exported / name, folder)) for name in ("model.onnx", "tokenizer.json"))
    changes: dict[str, Callable[[], None]] = {
        PRUNE: lambda: vocabulary.prune(model, tokenizer, config["pad_token_id"]),
        FUSE: lambda: fuse(model, config["num_attention_heads"], config["hidden_size"], split=BLOCKS in steps),
        ONE_TEXT: lambda: graphs.one_text(model),
        FIRST_ROW: lambda: graphs.first_row(model),
    }
    for step in filter(steps.__contains__, changes):
        changes[step]()
    kept = _to_int8(model, steps, repair)
    if HALF in steps:
        graphs.halve_embeddings(model)
    for step in filter(steps.__contains__, SAVED):
        save_optimized(model, SAVED[step])
    return kept


def _to_int8(model: Path, steps: tuple[str, ...], repair: Repair) -> tuple[FloatNode, ...]:
    """Quantize as `steps` say, in place; the nodes that `keep-sensitive` left in float."""
    quantized = [step for step in steps if step in QUANTIZED_OPERATORS]
    if KEEP not in steps:
        quantize(model, quantized)
        return ()
    unquantized = model.rename(model.with_suffix(".fused.onnx"))
    kept = repair(unquantized, model, quantized)
    unquantized.unlink()
    return kept


def fuse(model: Path, heads: int, hidden_size: int, *, split: bool = False) -> None:
    """Replace attention, layer norm and GELU subgraphs by onnxruntime's fused operators, in place.

    With `split`, query, key and value stay matrices of their own, as blockwise weights need them. Embeddings stay
    look-ups, so that their tables can be changed one by one.
    """
    options = FusionOptions("bert")
    options.enable_embed_layer_norm = False
    options.use_multi_head_attention = split
    optimized = optimize_model(
        str(model), "bert", num_heads=heads, hidden_size=hidden_size, optimization_options=options, opt_level=0
    )
    optimized.save_model_to_file(str(model))


def quantize(model: Path, steps: list[str], kept: Iterable[str] = ()) -> None:
    """Quantize the weights that `steps` name to 8 bits in place, but for the nodes `kept` in float."""
    if BLOCKS in steps:
        blocks.quantize(model, kept)
    operators = [operator for step in steps if step != BLOCKS for operator in QUANTIZED_OPERATORS[step]]
    if operators:
        _quantize_dynamic(model, operators, "int8-channel" in steps, kept)


def _quantize_dynamic(model: Path, operators: list[str], per_channel: bool, kept: Iterable[str]) -> None:
    """Signed 8-bit weights, activations quantized as they come.

    Fused operators carry no shape facts, so the quantizer is told that unnamed tensors are float. It splits a Gemm
    before it looks for the nodes to exclude, and renames its MatMul.
    """
    unquantized = model.with_suffix(".float.onnx")
    model.rename(unquantized)
    quantize_dynamic(
        unquantized,
        model,
        op_types_to_quantize=operators,
        per_channel=per_channel,
        weight_type=QuantType.QInt8,
        nodes_to_exclude=[excluded for name in kept for excluded in (name, f"{name}_MatMul")],
        extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
    )
    unquantized.unlink()


def save_optimized(model: Path, entries: Mapping[str, str]) -> None:
    """Save the graph as onnxruntime optimizes it, so that a load need not; `entries` say where its weights go.

    Weights beside the graph are mapped where those inside it are copied. Stays below the hardware-specific level, so
    that the file does not depend on the CPU it was made on; prepacked weights do.
    """
    plain = model.rename(model.with_suffix(".plain.onnx"))
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(model)
    for name, value in entries.items():
        options.add_session_config_entry(name, value)
    onnxruntime.InferenceSession(plain, options, providers=["CPUExecutionProvider"])
    plain.unlink()
