"""`python -m optimize export|quantize [--plan FILE] [--quick]`: from the model source to variants."""

import argparse
from pathlib import Path

from rich.progress import track

from optimize import recipes
from optimize.parity import parity_texts
from workbench import paths
from workbench.errors import run_command
from workbench.plan import PLAN_FILE, Plan, load
from workbench.texts import read_entries, split_entries


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m optimize", description=__doc__)
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("--plan", type=Path, default=Path(PLAN_FILE))
    parser.add_argument("--quick", action="store_true", help="only the recipes of the plan's [quick] table")
    options, _ = parser.parse_known_args()
    plan = load(options.plan, quick=options.quick)
    for recipe in plan.recipes:
        recipes.check(recipe)
    STAGES[options.stage](plan, calibration_texts(plan))


def calibration_texts(plan: Plan) -> tuple[str, ...]:
    """The texts that variants are compared and repaired on: the diaries that never judge, and longer ones made of them."""
    calibration, _ = split_entries(read_entries(paths.ROOT / plan.workload.file))
    return parity_texts(tuple(entry.text for entry in calibration))


def export_model(plan: Plan, texts: tuple[str, ...]) -> None:
    """Load the model source, export it to ONNX and store torch's answers."""
    from optimize.export import export
    from optimize.sources import load_checkpoint

    folder = paths.model_folder(plan.model)
    print(f"loading {plan.model.where} ...", flush=True)
    facts = load_checkpoint(plan.model, folder / "checkpoint")
    print(
        f"{facts.family}, {facts.parameters / 1e6:.0f} M parameters, {len(facts.labels)} labels; exporting ...",
        flush=True,
    )
    fresh = export(facts, folder / "checkpoint", folder / "export", texts)
    print(f"{'exported' if fresh else 'unchanged'}: {folder / 'export'}")


def build_variants(plan: Plan, texts: tuple[str, ...]) -> None:
    """Build every recipe of the plan into its variant folder."""
    from optimize.sources import inspect
    from optimize.variants import Inputs, build

    folder = paths.model_folder(plan.model)
    inputs = Inputs(
        facts=inspect(plan.model, folder / "checkpoint"),
        checkpoint=folder / "checkpoint",
        exported=folder / "export",
        texts=texts,
        agreement=plan.gates.label_agreement,
    )
    for recipe in track(plan.recipes, description="variants"):
        variant = build(recipe, inputs, paths.variant_folder(plan.model, recipe.name))
        if variant is None:
            print(f"{recipe.name}: unchanged")
        else:
            agreement = variant.parity.label_agreement
            print(f"{recipe.name}: {variant.size_bytes / 1e6:.0f} MB, labels agree on {agreement:.1%} of the texts")
            if variant.recipe.runtime != recipe.runtime:
                print(f"  its tokenizer cannot be mapped: {variant.recipe.runtime.tokenizer} reads it")
        for node in variant.float_nodes if variant else ():
            print(
                f"  kept in float: {node.name}, {node.added_bytes:+,} bytes, labels then agree on {node.label_agreement:.1%}"
            )


STAGES = {"export": export_model, "quantize": build_variants}

if __name__ == "__main__":
    run_command(main)
