"""The whole experiment in one file: `workbench.toml` read into frozen records; its paths start at the repository's root.

Refuses unknown keys, values out of range and files that are not there, naming the key and what to do.
"""

import dataclasses
import hashlib
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from workbench.errors import PlanError
from workbench.paths import ROOT
from workbench.records import ModelSource, Recipe, Regime
from workbench.schema import SchemaError, from_mapping, suggest
from workbench.texts import read_entries, spread

LAMBDA_MEMORY_MB = range(128, 10_241)
PLAN_FILE = "workbench.toml"
CONTENDERS = ROOT / "bench" / "contenders"
READY_MODELS = ("checkpoint", "export")


@dataclass(frozen=True, kw_only=True, slots=True)
class Axis:
    """One thing that was tried: the names of two recipes, without it and with it."""

    name: str
    before: str
    after: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Sweep:
    """What is measured: memory sizes in MB, threads (0: the library's default), CPU regimes and sample counts.

    A warm round is one process a cell, which answers `warm_samples` texts of each kind.
    `disk_samples` are cold starts from disk, at the objective's memory size alone; 0 leaves them out.
    """

    memory_mb: tuple[int, ...]
    threads: tuple[int, ...]
    regimes: tuple[Regime, ...]
    place: Literal["process"]
    cold_samples: int
    warm_rounds: int
    warm_samples: int
    timeout_s: float
    seed: int
    disk_samples: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Contender:
    """A peer from outside: a folder with a handler, the environment it runs in, and the model it serves.

    `environment` is locked by bench/contenders/ENVIRONMENT/requirements.txt. `model` is `checkpoint`, `export`, or
    `ENVIRONMENT/FORM`, which bench/contenders/ENVIRONMENT/prepare.py makes. `threads` are thread counts (0: the
    library's own default), the headline's first; `memory_mb` are sizes in MB, none meaning all of the sweep.
    """

    name: str
    folder: str
    handler: str
    environment: str
    model: str = "checkpoint"
    threads: tuple[int, ...] = (0,)
    memory_mb: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Workload:
    """The labelled diary entries: `entries` of them are sent when speed is measured, all judge accuracy."""

    file: str
    entries: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Gates:
    """What a variant must hold before its speed counts.

    Shares: how often its main emotion is fp32's, how far macro-F1 may fall (the whole 95 % interval), which part of the
    memory size it may use, and which part of fp32's recall of an emotion it must keep. `init_ms` is in ms.
    """

    label_agreement: float
    macro_f1_drop: float
    recall_kept: float
    init_ms: float
    peak_memory_share: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Objective:
    """What the chooser minimizes: the expected wait in ms at `memory_mb` when `cold_share` of the calls start cold."""

    name: Literal["latency"]
    memory_mb: int
    cold_share: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Image:
    """What the winner is built into."""

    base: str
    architecture: Literal["x86_64", "arm64"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Quick:
    """What a run of a few minutes measures in place of the whole plan."""

    recipes: tuple[str, ...]
    memory_mb: tuple[int, ...]
    contenders: tuple[str, ...]
    cold_samples: int
    warm_rounds: int
    warm_samples: int
    disk_samples: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """`workbench.toml`, whole."""

    model: ModelSource
    recipes: tuple[Recipe, ...]
    bench: Sweep
    contenders: tuple[Contender, ...]
    workload: Workload
    gates: Gates
    objective: Objective
    image: Image
    quick: Quick
    axes: tuple[Axis, ...] = ()


def load(path: Path, *, quick: bool = False) -> Plan:
    """Read and check the plan in `path`; with `quick` its `[quick]` settings replace the full ones."""
    plan = _read(path)
    for key, problem, remedy in _faults(plan):
        raise PlanError(f"{path.name}: {key} {problem}", remedy)
    return shorten(plan) if quick else plan


def shorten(plan: Plan) -> Plan:
    """The plan of a quick run: fewer recipes, sizes and samples, the same questions."""
    quick = plan.quick
    sweep = dataclasses.replace(
        plan.bench,
        memory_mb=quick.memory_mb,
        cold_samples=quick.cold_samples,
        warm_rounds=quick.warm_rounds,
        warm_samples=quick.warm_samples,
        disk_samples=quick.disk_samples,
    )
    recipes = tuple(recipe for recipe in plan.recipes if recipe.name in quick.recipes)
    axes = tuple(axis for axis in plan.axes if {axis.before, axis.after} <= set(quick.recipes))
    contenders = tuple(one for one in plan.contenders if one.name in quick.contenders)
    return dataclasses.replace(plan, bench=sweep, recipes=recipes, axes=axes, contenders=contenders)


def read_texts(workload: Workload) -> tuple[str, ...]:
    """The workload's diary texts, evenly spread over its file so that the mix of lengths is kept."""
    entries = read_entries(ROOT / workload.file)
    if len(entries) < workload.entries:
        happened = f"{workload.file} has {len(entries)} entries, workload.entries asks for {workload.entries}"
        raise PlanError(happened, "ask for fewer or write more")
    return tuple(entry.text for entry in spread(entries, workload.entries))


def texts_sha256(texts: tuple[str, ...]) -> str:
    """The identity of a workload: figures of different workloads are never mixed."""
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()


def _read(path: Path) -> Plan:
    if not path.exists():
        raise PlanError(f"{path} is missing", "run from the repository's root or name a plan with --plan")
    try:
        return from_mapping(Plan, tomllib.loads(path.read_text(encoding="utf-8")))
    except tomllib.TOMLDecodeError as error:
        raise PlanError(f"{path.name} is not TOML: {error}", "mend that line") from error
    except SchemaError as error:
        raise PlanError(f"{path.name}: {error.key} {error.problem}", error.remedy) from error


def _faults(plan: Plan) -> list[tuple[str, str, str]]:
    """Every (key, problem, remedy) that types alone do not show, in the file's order."""
    return [(key, problem, remedy) for bad, key, problem, remedy in _checks(plan) if bad]


def _checks(plan: Plan) -> list[tuple[bool, str, str, Any]]:
    model, sweep, names = plan.model, plan.bench, [recipe.name for recipe in plan.recipes]
    is_hub = model.where != "builtin" and model.where[0] not in "./"
    pinned = re.fullmatch(r"[0-9a-f]{40}", model.revision or "")
    memory = (*sweep.memory_mb, *plan.quick.memory_mb)
    unknown = [name for name in plan.quick.recipes if name not in names]
    samples = [count for one in (sweep, plan.quick) for count in (one.cold_samples, one.warm_rounds, one.warm_samples)]
    elsewhere = [one.name for one in plan.recipes if one.memory_mb and plan.objective.memory_mb not in one.memory_mb]
    outside = [name for name in plan.quick.contenders if name not in (one.name for one in plan.contenders)]
    return [
        (is_hub and not pinned, "model.revision", "does not pin a commit", "write the 40 hex digits of one commit"),
        (not is_hub and bool(model.revision), "model.revision", "pins what is no hub model", "remove it"),
        (len(names) != len(set(names)), "recipes", "share a name", "give each recipe its own"),
        (not names, "recipes", "is empty", "add at least one recipe"),
        (
            not memory or any(size not in LAMBDA_MEMORY_MB for size in memory),
            "bench.memory_mb",
            "has a size Lambda does not offer",
            "use 128 to 10240",
        ),
        (any(count < 1 for count in sweep.threads), "bench.threads", "has a count below 1", "use 1 or more"),
        (not sweep.threads or not sweep.regimes, "bench", "measures nothing", "name threads and regimes"),
        (min(samples) < 1, "bench", "asks for no samples", "use 1 or more cold_samples, warm_rounds and warm_samples"),
        (
            bool(elsewhere),
            "recipes",
            f"are not measured at objective.memory_mb: {', '.join(elsewhere)}",
            f"add {plan.objective.memory_mb} to their memory_mb",
        ),
        (bool(outside), "quick.contenders", f"names {', '.join(outside)}", "use names of [[contenders]]"),
        (
            min(sweep.disk_samples, plan.quick.disk_samples) < 0,
            "bench.disk_samples",
            "is below 0",
            "use 0 to leave starts from disk out",
        ),
        (sweep.timeout_s <= 0, "bench.timeout_s", "is not positive", "use seconds above 0"),
        *_axis_checks(plan, names),
        *_contender_checks(plan),
        (plan.workload.entries < 1, "workload.entries", "is below 1", "use 1 or more"),
        (
            not (ROOT / plan.workload.file).is_file(),
            "workload.file",
            f"is missing: {plan.workload.file}",
            "mend the path",
        ),
        (not 0 <= plan.gates.label_agreement <= 1, "gates.label_agreement", "is no share", "use 0 to 1"),
        (not 0 <= plan.gates.macro_f1_drop <= 1, "gates.macro_f1_drop", "is no share", "use 0 to 1"),
        (not 0 <= plan.gates.recall_kept <= 1, "gates.recall_kept", "is no share", "use 0 to 1"),
        (
            not any(not recipe.steps for recipe in plan.recipes),
            "recipes",
            "lack the reference",
            "add one without steps",
        ),
        (not 0 < plan.gates.peak_memory_share <= 1, "gates.peak_memory_share", "is no share", "use 0 to 1"),
        (not 0 <= plan.objective.cold_share <= 1, "objective.cold_share", "is no share", "use 0 to 1"),
        (
            plan.objective.memory_mb not in sweep.memory_mb or plan.objective.memory_mb not in plan.quick.memory_mb,
            "objective.memory_mb",
            "is not measured",
            "use a size that bench.memory_mb and quick.memory_mb both have",
        ),
        (bool(unknown), "quick.recipes", f"names {', '.join(unknown)}", f"use some of {', '.join(names)}"),
    ]


def _axis_checks(plan: Plan, recipes: list[str]) -> list[tuple[bool, str, str, Any]]:
    titles = [axis.name for axis in plan.axes]
    runs = [recipe.runtime.threads for recipe in plan.recipes]
    unknown = [
        (True, f"axes[{place}].{end}", f"names no recipe: {name!r}", suggest(name, recipes))
        for place, axis in enumerate(plan.axes)
        for end, name in (("before", axis.before), ("after", axis.after))
        if name not in recipes
    ]
    same = [axis.name for axis in plan.axes if axis.before == axis.after]
    return [
        *unknown,
        (bool(same), "axes", f"compare a recipe with itself: {', '.join(same)}", "name another one"),
        (len(titles) != len(set(titles)), "axes", "share a name", "give each axis its own"),
        (any(count is not None and count < 1 for count in runs), "recipes", "ask for threads below 1", "use 1 or more"),
    ]


def _contender_checks(plan: Plan) -> list[tuple[bool, str, str, Any]]:
    peers, size = plan.contenders, plan.objective.memory_mb
    names = [*(recipe.name for recipe in plan.recipes), *(one.name for one in peers)]
    found: list[tuple[list[str], str, str]] = [
        (
            [one.folder for one in peers if not (ROOT / one.folder).is_dir()],
            "name a missing folder",
            "mend the path or remove it",
        ),
        ([one.name for one in peers if names.count(one.name) > 1], "share a name", "give each its own"),
        (
            [one.environment for one in peers if not (CONTENDERS / one.environment / "requirements.txt").is_file()],
            "run in an environment without a lock",
            "write its requirements.in and run `nox -s lock`",
        ),
        (
            [one.model for one in peers if not _is_made(one.model)],
            "serve a model that nothing makes",
            f"use {', '.join(READY_MODELS)} or ENVIRONMENT/FORM",
        ),
        (
            [one.name for one in peers if min(one.threads, default=-1) < 0],
            "lack thread counts of 0 or more",
            "use 0 for the library's own default",
        ),
        (
            [one.name for one in peers if one.memory_mb and size not in one.memory_mb],
            "are not measured at objective.memory_mb",
            f"add {size} to their memory_mb",
        ),
    ]
    return [(bool(bad), "contenders", f"{problem}: {', '.join(bad)}", remedy) for bad, problem, remedy in found]


def _is_made(model: str) -> bool:
    environment, _, form = model.partition("/")
    return model in READY_MODELS or (bool(form) and (CONTENDERS / environment / "prepare.py").is_file())
