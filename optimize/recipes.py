"""The steps a recipe may name, each a change to one ONNX file.

Refuses unknown steps and orders that cannot work: `fuse` comes first, since quantized nodes no longer fuse, and
`mapped` last, since it writes the graph as onnxruntime would make it at load.
"""

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import onnx
import onnxruntime
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.transformers.optimizer import optimize_model

from workbench.errors import PlanError
from workbench.records import FloatNode, Recipe

Repair = Callable[[Path, Path, list[str]], tuple[FloatNode, ...]]
FUSE, KEEP, MAPPED = "fuse", "keep-sensitive", "mapped"
MATRIX_OPERATORS = ("MatMul", "Gemm", "Attention")
QUANTIZED_OPERATORS = {
    "int8-tensor": MATRIX_OPERATORS,
    "int8-channel": MATRIX_OPERATORS,
    "int8-embeddings": ("Gather", "EmbedLayerNormalization"),
}
ORDER = (FUSE, *QUANTIZED_OPERATORS, KEEP, MAPPED)


def check(recipe: Recipe) -> None:
    """Raise `PlanError` if the steps of `recipe` are unknown, repeated, contradictory or out of order."""
    steps = recipe.steps
    unknown = [step for step in steps if step not in ORDER]
    if unknown:
        raise PlanError(f"recipe {recipe.name!r} has an unknown step {unknown[0]!r}", f"known are: {', '.join(ORDER)}")
    if list(steps) != sorted(set(steps), key=ORDER.index):
        raise PlanError(f"recipe {recipe.name!r} has steps out of order or twice", f"the order is {', '.join(ORDER)}")
    if {"int8-tensor", "int8-channel"} <= set(steps):
        raise PlanError(f"recipe {recipe.name!r} quantizes the same weights twice", "keep one of the two int8 steps")
    if KEEP in steps and not QUANTIZED_OPERATORS.keys() & set(steps):
        raise PlanError(f"recipe {recipe.name!r} has no int8 step for {KEEP!r} to keep nodes from", "add one before it")


def apply(
    recipe: Recipe, exported: Path, target: Path, config: dict[str, int], repair: Repair
) -> tuple[FloatNode, ...]:
    """Write `exported` as `recipe` makes it to `target`; the nodes that `keep-sensitive` left in float.

    `config` has `num_attention_heads` and `hidden_size`; `repair` quantizes a float file into another by given steps,
    keeping the nodes that int8 would ruin.
    """
    check(recipe)
    shutil.copyfile(exported, target)
    if FUSE in recipe.steps:
        fuse(target, config["num_attention_heads"], config["hidden_size"])
    steps = [step for step in recipe.steps if step in QUANTIZED_OPERATORS]
    kept: tuple[FloatNode, ...] = ()
    if KEEP in recipe.steps:
        kept = repair(target.rename(target.with_suffix(".fused.onnx")), target, steps)
        target.with_suffix(".fused.onnx").unlink()
    elif steps:
        quantize(target, steps)
    if MAPPED in recipe.steps:
        save_mapped(target)
    return kept


def fuse(model: Path, heads: int, hidden_size: int) -> None:
    """Replace attention, layer norm, GELU and embedding subgraphs by onnxruntime's fused operators, in place."""
    optimized = optimize_model(str(model), "bert", num_heads=heads, hidden_size=hidden_size, opt_level=0)
    optimized.save_model_to_file(str(model))


def quantize(model: Path, steps: list[str], kept: Iterable[str] = ()) -> None:
    """Quantize the weights that `steps` name to signed 8 bits in place, but for the nodes `kept` in float.

    Activations are quantized as they come. Fused operators carry no shape facts, so the quantizer is told that unnamed
    tensors are float. It splits a Gemm before it looks for the nodes to exclude, and renames its MatMul.
    """
    unquantized = model.with_suffix(".float.onnx")
    model.rename(unquantized)
    quantize_dynamic(
        unquantized,
        model,
        op_types_to_quantize=[operator for step in steps for operator in QUANTIZED_OPERATORS[step]],
        per_channel="int8-channel" in steps,
        weight_type=QuantType.QInt8,
        nodes_to_exclude=[excluded for name in kept for excluded in (name, f"{name}_MatMul")],
        extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
    )
    unquantized.unlink()


def save_mapped(model: Path) -> None:
    """Save the graph as optimized, its weights in `<name>.data` beside it, which onnxruntime maps instead of copying.

    Stays below the hardware-specific level, so that the file does not depend on the CPU it was made on.
    """
    plain = model.with_suffix(".plain.onnx")
    model.rename(plain)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(model)
    options.add_session_config_entry("session.optimized_model_external_initializers_file_name", f"{model.name}.data")
    options.add_session_config_entry("session.optimized_model_external_initializers_min_size_in_bytes", "1024")
    onnxruntime.InferenceSession(plain, options, providers=["CPUExecutionProvider"])
    plain.unlink()
