"""Changes to a fused float graph: one text at a time, only the first row of the last layer, half-size embedding rows.

Refuses a graph without the nodes that fusing leaves in the families we know, naming what it looked for.
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper
from onnxruntime.transformers.onnx_model import OnnxModel

from workbench.errors import VariantError

MASK_INPUT = {"Attention": 3, "MultiHeadAttention": 4}
WORDS, TYPES, POSITIONS = "word_embeddings", "token_type_embeddings", "position_embeddings"


def one_text(model: Path) -> None:
    """Leave `input_ids` as the only input, in place: nothing is padded, and every token is of type 0.

    The row of type 0 is added to every position's row once and for all.
    """
    graph = OnnxModel(onnx.load(model))
    for node in _attentions(graph):
        del node.input[MASK_INPUT[node.op_type] :]
    _fold_types(graph)
    _save(graph, model)
    left = [given.name for given in graph.model.graph.input if given.name != "input_ids"]
    if left:
        raise _unlike(f"still reads {', '.join(left)}")


def first_row(model: Path) -> None:
    """Compute only [CLS]'s row after the last attention, in place: the head reads no other."""
    graph = OnnxModel(onnx.load(model))
    attention = _attentions(graph)[-1]
    dense = _only_child(graph, attention, "MatMul")
    skip = _only_child(graph, dense, "SkipLayerNormalization")
    residual = next(place for place in (0, 1) if skip.input[place] != dense.output[0])
    for name, values in {"first_row": [0], "second_row": [1], "row_axis": [1]}.items():
        graph.add_initializer(numpy_helper.from_array(np.array(values), name))
    dense.input[0] = _first_row_of(graph, attention.output[0])
    skip.input[residual] = _first_row_of(graph, skip.input[residual])
    _save(graph, model)


def halve_embeddings(model: Path) -> None:
    """Keep the word embeddings as 16-bit floats, in place; the rows of a text are cast after they are looked up."""
    graph = OnnxModel(onnx.load(model))
    lookup = _lookup(graph, WORDS)
    _change(graph, lookup.input[0], lambda table: table.astype(np.float16))
    wide, lookup.output[0] = lookup.output[0], f"{lookup.output[0]}_half"
    graph.add_node(helper.make_node("Cast", [lookup.output[0]], [wide], f"{lookup.name}_cast", to=TensorProto.FLOAT))
    _save(graph, model)


def keep_rows(model: Path, rows: list[int]) -> None:
    """Keep only these rows of the word embeddings, in this order, in place."""
    graph = OnnxModel(onnx.load(model))
    _change(graph, _lookup(graph, WORDS).input[0], lambda table: table[rows])
    _save(graph, model)


def _fold_types(graph: OnnxModel) -> None:
    lookup = _lookup(graph, TYPES)
    row = numpy_helper.to_array(graph.get_initializer(lookup.input[0]))[0]
    _change(graph, _lookup(graph, POSITIONS).input[0], lambda table: table + row)
    add = _only_child(graph, lookup, "Add")
    other = next(name for name in add.input if name != lookup.output[0])
    graph.replace_input_of_all_nodes(add.output[0], other)


def _attentions(graph: OnnxModel) -> list[NodeProto]:
    """The fused attention nodes, first layer first."""
    nodes = [node for node in graph.nodes() if node.op_type in MASK_INPUT]
    if not nodes:
        raise _unlike("has no fused attention")
    return nodes


def _lookup(graph: OnnxModel, table: str) -> NodeProto:
    """The node that looks rows up in the named embedding table."""
    found = [node for node in graph.nodes() if node.op_type == "Gather" and table in node.input[0]]
    if len(found) != 1:
        raise _unlike(f"has {len(found)} look-ups of {table}, not 1")
    return found[0]


def _only_child(graph: OnnxModel, node: NodeProto, operator: str) -> NodeProto:
    children = graph.get_children(node)
    if [child.op_type for child in children] != [operator]:
        raise _unlike(f"has no {operator} alone after {node.name}")
    return children[0]


def _change(graph: OnnxModel, name: str, change) -> None:
    """Replace an initializer's values by what `change` makes of them."""
    tensor = graph.get_initializer(name)
    tensor.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(tensor)), name))


def _first_row_of(graph: OnnxModel, name: str) -> str:
    """The name of row 0, (1, 1, hidden), of the tensor `name` (1, tokens, hidden)."""
    row = f"{name}_first_row"
    graph.add_node(helper.make_node("Slice", [name, "first_row", "second_row", "row_axis"], [row], row))
    return row


def _save(graph: OnnxModel, model: Path) -> None:
    """Write the graph without what nothing reads any more."""
    graph.prune_graph()
    graph.topological_sort()
    onnx.save(graph.model, model)


def _unlike(found: str) -> VariantError:
    return VariantError(f"the graph {found}", "leave the step out for this model")
