"""The targets of the cold start, and whether a run's figures met them."""

from collections.abc import Mapping
from dataclasses import dataclass

from workbench.records import Interval


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """A bound on one figure of the summary: at least `bound` where `at_least`, else at most."""

    figure: str
    says: str
    bound: float
    at_least: bool

    def is_met(self, found: Interval) -> bool:
        """Whether the figure itself, not its interval, is within the bound."""
        return found.value >= self.bound if self.at_least else found.value <= self.bound


def _least(figure: str, says: str, bound: float) -> Target:
    return Target(figure=figure, says=says, bound=bound, at_least=True)


def _most(figure: str, says: str, bound: float) -> Target:
    return Target(figure=figure, says=says, bound=bound, at_least=False)


TARGETS = (
    _least("cold_ratio_vs_plan", "cold start against the plan's stack", 25),
    _least("cold_ratio_vs_optimum_int8", "cold start against optimum's int8", 20),
    _least("cold_ratio_vs_openvino", "cold start against the best openvino", 3),
    _least("cold_ratio_vs_onnxruntime", "cold start against an afternoon's onnxruntime + tokenizers", 3),
    _most("cold_over_limit", "cold start over the machine's limit", 2.5),
    _least("warm_ratio_vs_best", "warm, 64 tokens, 1,769 MB, against the best contender at its best setting", 1),
    _most("peak_memory_ratio_vs_plan", "peak memory over the plan's stack's", 0.25),
    _most("bytes_read_ratio_vs_plan", "bytes read at a start from disk over the plan's stack's", 0.2),
    _most("size_ratio_vs_fp32", "bytes over fp32's", 0.26),
)


def missed(figures: Mapping[str, Interval]) -> list[str]:
    """The targets whose figure is there and outside its bound."""
    return [one.says for one in TARGETS if one.figure in figures and not one.is_met(figures[one.figure])]
