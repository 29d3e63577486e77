"""`python -m bench run|choose|report|serve [--plan FILE] [--quick]`: measure, decide, report, serve."""

import argparse
import os
import subprocess
import sys
from pathlib import Path

from bench import cold, limit, quality, runs
from bench.choose import choose
from bench.functions import compile_ahead, functions, variants
from bench.limits import detect
from workbench import machine, paths
from workbench.errors import BenchError, run_command
from workbench.plan import PLAN_FILE, Plan, load, read_texts


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("--plan", type=Path, default=Path(PLAN_FILE))
    parser.add_argument("--data", type=Path, help="folder with kote/val.tsv, to score its held-out rows as well")
    parser.add_argument("--quick", action="store_true", help="the few minutes' run of the plan's [quick] table")
    options, _ = parser.parse_known_args()
    STAGES[options.stage](load(options.plan, quick=options.quick), options)


def run(plan: Plan, options: argparse.Namespace) -> None:
    """Measure every cell of the plan that has no record yet."""
    texts = read_texts(plan.workload)
    functions_, facts = functions(plan), machine.describe(detect())
    for function in functions_:
        compile_ahead(function)
    built = variants(plan)
    folder = runs.open_run(plan, functions_, built, texts, facts, quick=options.quick)
    print(f"measuring into {folder} (limits: {facts.limits})", flush=True)
    cells = runs.cells(plan, functions_, facts)
    cold.measure(folder, cells, texts)
    cold.measure_from_disk(folder, cells, texts)
    limit.record(folder, min(variant.size_bytes for variant in built.values()))
    _measure_warm(folder)
    asked = {variant.answers: name for name, variant in reversed(built.items())}.values()
    judged = [function for function in functions_ if function.name in asked]
    quality.measure(folder, judged, quality.datasets(plan.workload, options.data), quality.smaller_cpu())
    runs.finish(folder)
    print(f"measured: {folder}")


def _measure_warm(folder: Path) -> None:
    raw = paths.BUILD / "benchmarks" / f"{folder.name}.json"
    raw.parent.mkdir(parents=True, exist_ok=True)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "--benchmark-disable-gc",
        f"--benchmark-json={raw}",
        "bench/warm.py",
    ]
    environment = os.environ | {"WORKBENCH_RUN": str(folder)}
    if subprocess.run(command, cwd=paths.ROOT, env=environment).returncode:
        raise BenchError(
            "the warm benchmark failed; its output is above", "mend the cause and run it again: it goes on"
        )


def decide(plan: Plan, options: argparse.Namespace) -> None:
    """Choose among the newest finished run's variants."""
    verdict = choose(runs.latest(quick=options.quick))
    print(
        f"{verdict.winner} at {verdict.memory_mb} MB, expected wait {verdict.score_ms:.0f} ms{' (tie)' if verdict.tie else ''}"
    )


def report(plan: Plan, options: argparse.Namespace) -> None:
    """Write the report of the newest finished run."""
    from bench.report import write_report

    folder = runs.latest(quick=options.quick)
    write_report(folder, folder.parent.parent)
    print((folder.parent.parent / "README.md").read_text(encoding="utf-8").split("\n\n")[2])
    print(f"report: {folder.parent.parent / 'README.md'}")


def serve(plan: Plan, options: argparse.Namespace) -> None:
    """Serve the winner on the local invoke endpoint."""
    from bench.serve import serve as serve_winner

    serve_winner(plan)


STAGES = {"run": run, "choose": decide, "report": report, "serve": serve}

if __name__ == "__main__":
    run_command(main)
