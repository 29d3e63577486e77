"""The report's picture: cold start by memory size, one line a form, with intervals."""

from pathlib import Path

import matplotlib

matplotlib.use("svg")

import matplotlib.pyplot as plt

from bench.evidence import Evidence
from bench.statistics import median

MARKERS = "osD^v<>Ph*"


def draw_cold_starts(evidence: Evidence, path: Path) -> None:
    """Write the figure as SVG, the same bytes for the same evidence; forms differ by marker as well as by colour.

    Forms measured at one memory size alone are left to the tables.
    """
    plt.rcParams.update({"svg.hashsalt": "workbench", "svg.fonttype": "path", "font.size": 10})
    canvas, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    colours = plt.colormaps["viridis"]
    contests = [one for one in evidence.run.contests if len(evidence.sizes(one.name)) > 1]
    for index, contest in enumerate(contests):
        points = _points(evidence, contest.name)
        if points:
            sizes, intervals = zip(*points, strict=True)
            values = [one.value for one in intervals]
            errors = [[one.value - one.low for one in intervals], [one.high - one.value for one in intervals]]
            colour = colours(0.9 * index / max(1, len(contests) - 1))
            axes.errorbar(
                sizes,
                values,
                errors,
                label=contest.name,
                marker=MARKERS[index % len(MARKERS)],
                color=colour,
                capsize=3,
                linestyle="-" if contest.variant else "--",
            )
    axes.set(
        xlabel="memory size (MB)",
        ylabel="process start to first answer (ms, log)",
        yscale="log",
        title="Cold start by memory size: median and 95 % interval",
    )
    axes.set_xticks(evidence.run.plan.bench.memory_mb)
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("{x:g}")
    axes.grid(alpha=0.3, which="both")
    canvas.legend(loc="outside right upper", frameon=False)
    canvas.savefig(path, metadata={"Date": None})
    plt.close(canvas)


def _points(evidence: Evidence, name: str) -> list:
    sizes = evidence.run.plan.bench.memory_mb
    samples = {size: list(evidence.by_round(name, size, "cold_ms").values()) for size in sizes}
    return [(size, median(values)) for size, values in samples.items() if values]
