"""Find the few nodes that int8 harms most and keep them in float, where a variant's answers drift too far.

Refuses to search all subsets: each node is measured quantized alone, so that two bad nodes cannot hide each other,
then the worst are added one by one. A model of fifty nodes is quantized some sixty times.
"""

import shutil
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import onnx
from rich.progress import track

from optimize import recipes
from workbench.errors import VariantError
from workbench.records import FloatNode

WEIGHT_INPUT = {"MatMul": 1, "Gemm": 1, "Attention": 1, "Gather": 0}
Measure = Callable[[Path], float]
Trial = Callable[[Iterable[str]], float]


def repair(
    float_model: Path, target: Path, steps: list[str], agreement: Measure, error: Measure, least: float
) -> tuple[FloatNode, ...]:
    """Quantize `float_model` into `target` by the int8 `steps`, keeping as few nodes in float as `least` needs.

    `agreement(target)` (0 to 1) must reach `least`; `error(target)` (logits) ranks the nodes, since one node alone
    seldom changes a label. The kept nodes come worst first; () if plain int8 reaches `least`.
    """
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        named = Path(scratch) / "named.onnx"
        weights = _name_nodes(float_model, named, steps)

        def keep(nodes: Iterable[str], measure: Measure = agreement) -> float:
            shutil.copyfile(named, target)
            recipes.quantize(target, steps, nodes)
            return measure(target)

        if keep(()) >= least:
            return ()
        if (best := keep(weights)) < least:
            target.unlink()
            raise VariantError(
                f"labels agree on {best:.1%} of the texts even with no node in int8; {least:.1%} is the least",
                "lower the gate, or look for the difference before int8: in the export or the fused graph",
            )
        ranked = _rank(weights, lambda nodes: keep(nodes, error))
        kept = _without_needless(_worst(ranked, keep, least), weights, keep, least)
        return _record(kept, target, keep)


def bytes_per_point(before: float, kept: tuple[FloatNode, ...]) -> float:
    """Bytes that one percentage point of label agreement cost, from `before` (0 to 1) to the last of the `kept`."""
    return sum(node.added_bytes for node in kept) / (100 * (kept[-1].label_agreement - before))


def _name_nodes(model: Path, named: Path, steps: list[str]) -> dict[str, int]:
    """Write `model` to `named`, all nodes that `steps` quantize having names; the bytes of their weights by name."""
    loaded = onnx.load(model)
    operators = {operator for step in steps for operator in recipes.QUANTIZED_OPERATORS[step]}
    nodes = [node for node in loaded.graph.node if node.op_type in operators]
    for node in nodes:
        node.name = node.name or node.output[0]
    onnx.save(loaded, named)
    sizes = {tensor.name: tensor.ByteSize() for tensor in loaded.graph.initializer if tensor.data_type == tensor.FLOAT}
    inputs = {node.name: node.input[WEIGHT_INPUT[node.op_type]] for node in nodes}
    return {name: sizes[weight] for name, weight in inputs.items() if weight in sizes}


def _rank(weights: dict[str, int], error_with: Trial) -> list[str]:
    """The nodes by the error (logits) that each makes when it alone is quantized, worst first."""
    names = track(weights, description="int8 node by node")
    errors = {name: error_with(weights.keys() - {name}) for name in names}
    return sorted(errors, key=errors.__getitem__, reverse=True)


def _worst(ranked: list[str], agreement_with: Trial, least: float) -> list[str]:
    """As many of the `ranked` nodes, from the first on, as bring the agreement to `least`."""
    counts = range(1, len(ranked))
    return next((ranked[:count] for count in counts if agreement_with(ranked[:count]) >= least), ranked)


def _without_needless(kept: list[str], weights: dict[str, int], agreement_with: Trial, least: float) -> list[str]:
    """The `kept` nodes less each, the largest first, without which the agreement is still `least`."""
    for name in sorted(kept, key=weights.__getitem__, reverse=True):
        fewer = [other for other in kept if other != name]
        if agreement_with(fewer) >= least:
            kept = fewer
    return kept


def _record(kept: list[str], target: Path, agreement_with: Trial) -> tuple[FloatNode, ...]:
    """What each kept node adds in bytes and agreement, one after the other, so that `target` ends with all of them."""
    reached, sizes = [], []
    for count in range(len(kept) + 1):
        reached.append(agreement_with(kept[:count]))
        sizes.append(target.stat().st_size)
    steps = zip(kept, sizes, sizes[1:], reached[1:], strict=False)
    return tuple(FloatNode(name=n, added_bytes=new - old, label_agreement=a) for n, old, new, a in steps)
