"""Weights of 8 bits with a scale for every 32 along their input: onnxruntime's MatMulNBits.

Refuses nothing that is a matrix: inputs that are no multiple of the block are padded with zeros.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

BLOCK = 32
ZERO_POINT = 128
GREATEST = 127
INT8_ACTIVATIONS = 4


def quantize(model: Path, kept: Iterable[str] = ()) -> None:
    """Turn every MatMul with constant weights into MatMulNBits in place, but for the nodes `kept` in float."""
    loaded = onnx.load(model)
    weights = {tensor.name: tensor for tensor in loaded.graph.initializer}
    for node in loaded.graph.node:
        if node.op_type == "MatMul" and node.input[1] in weights and node.name not in kept:
            node.CopyFrom(_in_blocks(node, weights[node.input[1]], loaded.graph))
    used = {name for node in loaded.graph.node for name in node.input}
    for tensor in [tensor for tensor in loaded.graph.initializer if tensor.name not in used]:
        loaded.graph.initializer.remove(tensor)
    onnx.save(loaded, model)


def _in_blocks(node: onnx.NodeProto, weight: onnx.TensorProto, graph: onnx.GraphProto) -> onnx.NodeProto:
    """The node over quantized weights, which are added to the graph."""
    inputs, outputs = weight.dims
    names = f"{weight.name}_blocks", f"{weight.name}_scales"
    for name, values in zip(names, _quantized(numpy_helper.to_array(weight)), strict=True):
        graph.initializer.append(numpy_helper.from_array(values, name))
    return helper.make_node(
        "MatMulNBits",
        [node.input[0], *names],
        node.output,
        node.name,
        domain="com.microsoft",
        K=inputs,
        N=outputs,
        bits=8,
        block_size=BLOCK,
        accuracy_level=INT8_ACTIVATIONS,
    )


def _quantized(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bytes (outputs, blocks, block) around `ZERO_POINT` and float scales (outputs x blocks) of an (inputs, outputs) matrix."""
    inputs, outputs = weight.shape
    padded = np.pad(weight.T, ((0, 0), (0, -inputs % BLOCK))).reshape(outputs, -1, BLOCK)
    scales = np.maximum(np.abs(padded).max(2), np.finfo(np.float32).tiny) / GREATEST
    bytes_ = np.rint(padded / scales[:, :, None]) + ZERO_POINT
    return bytes_.astype(np.uint8), scales.astype(np.float32).ravel()
