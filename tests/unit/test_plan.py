"""The plan file is read strictly, and every refusal names the key and the remedy."""

from dataclasses import Field, fields

import pytest

from workbench.errors import PlanError
from workbench.plan import Plan, Workload, load, read_texts, texts_sha256
from workbench.records import Recipe, Runtime

DAMAGES = [
    ("cold_samples = 10", "cold_sample = 12", "bench.cold_sample is not a setting", "perhaps you meant 'cold_samples'"),
    ("cold_samples = 10", "", "bench.cold_samples is missing", "add it"),
    ("cold_samples = 10", "cold_samples = '12'", "bench.cold_samples is '12'", "a value of type int"),
    ("cold_samples = 10", "cold_samples = true", "bench.cold_samples is True", "a value of type int"),
    ("cold_samples = 10", "cold_samples = 0", "bench asks for no samples", "1 or more"),
    ("[1024, 1769, 2048, 3008]", "[64, 2048]", "bench.memory_mb has a size Lambda does not offer", "128 to 10240"),
    ("[1024, 1769, 2048, 3008]", "[1024]", "objective.memory_mb is not measured", "bench.memory_mb"),
    ('["burst"]', '["brust"]', "bench.regimes[0] is 'brust'", "perhaps you meant 'burst'"),
    ("threads = [1]", "threads = [0]", "bench.threads has a count below 1", "1 or more"),
    ('where = "builtin"', 'where = "beomi/KcELECTRA-base"', "model.revision does not pin a commit", "40 hex digits"),
    ('where = "builtin"', 'where = "builtin"\nrevision = "main"', "model.revision pins what is no hub model", "remove"),
    ('file = "bench/diaries.tsv"', 'file = "gone.tsv"', "workload.file is missing: gone.tsv", "mend the path"),
    ('name = "int8-tensor"\n', 'name = "fp32"\n', "recipes share a name", "its own"),
    ("cold_share = 0.9 ", "cold_share = 9 ", "objective.cold_share is no share", "0 to 1"),
    ('recipes = ["fp32",', 'recipes = ["fp64",', "quick.recipes names fp64", "use some of"),
    ('after = "lean"', 'after = "leen"', "axes[13].after names no recipe: 'leen'", "perhaps you meant 'lean'"),
    ('before = "fp32"', 'before = "?"', "axes[0].before names no recipe: '?'", "known are: fp32, fp32-fused"),
    (
        'after = "int8-tensor"',
        'after = "fp32-fused"',
        "axes compare a recipe with itself: int8, one scale a",
        "another",
    ),
    ('name = "two threads"', 'name = "fused graph"', "axes share a name", "its own"),
    ("threads = 2 }", "threads = 0 }", "recipes ask for threads below 1", "1 or more"),
    ('engine = "onnxruntime-c"', 'engine = "onnxruntime-d"', "runtime.engine is 'onnxruntime-d'", "'onnxruntime-c'"),
    ("[bench]", "[bench", "workbench.toml is not TOML", "mend that line"),
    ('folder = "bench/contenders/plan"', 'folder = "bench/gone"', "name a missing folder: bench/gone", "mend the path"),
]


def test_the_repository_s_own_plan_is_valid(plan: Plan) -> None:
    """The plan that ships loads, and asks for at least five variants at four memory sizes with ten cold samples."""
    assert len(plan.recipes) >= 5
    assert len(plan.bench.memory_mb) == 4
    assert plan.bench.cold_samples >= 10


@pytest.mark.parametrize(("sound", "damaged", "happened", "remedy"), DAMAGES)
def test_a_damaged_plan_is_refused_by_key(plan_file, sound, damaged, happened, remedy) -> None:
    """Every damage is a `PlanError` that names the key and says what to do."""
    text = plan_file.read_text()
    assert sound in text
    plan_file.write_text(text.replace(sound, damaged, 1))
    with pytest.raises(PlanError) as caught:
        load(plan_file)
    assert happened in caught.value.happened
    assert remedy in caught.value.remedy


def test_a_missing_plan_is_refused(tmp_path) -> None:
    """A plan file that is not there is named, with what to do."""
    with pytest.raises(PlanError, match="is missing"):
        load(tmp_path / "workbench.toml")


def test_quick_keeps_the_questions_and_takes_fewer_samples(plan_file) -> None:
    """The quick plan measures a subset of the recipes and sizes, at the same objective."""
    full, quick = load(plan_file), load(plan_file, quick=True)
    assert set(quick.recipes) < set(full.recipes)
    assert quick.bench.cold_samples < full.bench.cold_samples
    assert quick.objective == full.objective
    measured = {recipe.name for recipe in quick.recipes}
    assert all({axis.before, axis.after} <= measured for axis in quick.axes)


def test_every_recipe_is_an_end_of_an_axis(plan: Plan) -> None:
    """Nothing is measured that the report does not compare; every axis changes one thing, or all of it at once."""
    recipes = {recipe.name: recipe for recipe in plan.recipes}
    assert {name for axis in plan.axes for name in (axis.before, axis.after)} == recipes.keys()
    for axis in plan.axes:
        before, after = recipes[axis.before], recipes[axis.after]
        changed = [field.name for field in fields(Runtime) if _setting(before, field) != _setting(after, field)]
        steps = set(before.steps) ^ set(after.steps)
        is_one_thing = len(changed) + bool(steps) == 1 and len(steps) <= 2
        assert is_one_thing or after.steps == ("native",), axis.name


def _setting(recipe: Recipe, field: Field):
    return getattr(recipe.runtime, field.name)


def test_the_workload_spreads_over_the_file(plan: Plan) -> None:
    """The workload has as many different texts as the plan asks for, and its identity depends on every one."""
    texts = read_texts(plan.workload)
    assert len(set(texts)) == plan.workload.entries
    assert texts_sha256(texts) != texts_sha256(texts[:-1])


def test_a_workload_of_too_few_entries_is_refused(plan: Plan) -> None:
    """A workload that asks for more entries than its file has is refused with both numbers."""
    with pytest.raises(PlanError, match=r"has \d+ entries, workload.entries asks for 9999"):
        read_texts(Workload(file=plan.workload.file, entries=9999))
