"""Every engine and tokenizer gives the plain path's answers, and refuses what it cannot run at init."""

import dataclasses
import json
import subprocess

import pytest

from bench.functions import APP, Function
from bench.local_lambda import LocalLambda, Settings
from optimize.export import export
from optimize.parity import parity_texts
from optimize.sources import load_checkpoint
from optimize.variants import Inputs, build
from tests.pipeline import tiny
from workbench import paths
from workbench.records import ModelSource, Recipe, Runtime

TEXTS = parity_texts(tiny.TEXTS)
STEPS = ("fuse", "batch-1", "first-row", "int8-channel", "int8-embeddings", "mapped")
LEAN = Runtime(engine="onnxruntime-c", tokenizer="mapped", prepacking=False)
RECIPES = (
    Recipe(name="float"),
    Recipe(name="plain", steps=STEPS),
    Recipe(name="c-api", steps=STEPS, runtime=Runtime(engine="onnxruntime-c")),
    Recipe(name="lean", steps=STEPS, runtime=LEAN),
    Recipe(name="lean-no-arena", steps=STEPS, runtime=dataclasses.replace(LEAN, arena=False)),
    Recipe(name="float-lean", runtime=LEAN),
    Recipe(name="blocks", steps=("fuse", "int8-blocks"), runtime=LEAN),
)
SETTINGS = Settings(memory_mb=2048, threads=1, regime="burst", limits="none", timeout_s=60)
TOLERANCE = 1e-6
HEAVY = {"numpy", "tokenizers", "openai", "boto3", "http.server", "torch", "transformers"}
ODD_TEXTS = (
    "",
    " \n",
    "\0",
    "오늘\0은",
    "\ud83d",
    "a\udc00b",
    "가" * 100_000,
    "가나 " * 3_000,
    "[CLS] [MASK]",
    "漢字 ひらがな",
)


@pytest.fixture(scope="module", params=["electra", "roberta"])
def variants(request, tmp_path_factory):
    """The folder of a tiny model's variants; the second model's tokenizer cannot be mapped."""
    folder = tmp_path_factory.mktemp(request.param)
    source = ModelSource(where=str(tiny.make(request.param, folder / "model")))
    facts = load_checkpoint(source, folder / "checkpoint")
    export(facts, folder / "checkpoint", folder / "export", TEXTS)
    inputs = Inputs(
        facts=facts, checkpoint=folder / "checkpoint", exported=folder / "export", texts=TEXTS, agreement=0.9
    )
    for recipe in RECIPES:
        build(recipe, inputs, folder / "variants" / recipe.name)
    return folder / "variants"


def run(script: str, *arguments: object, root=APP.parent, **environment: str) -> list:
    """What a script prints as JSON lines in the runtime environment, with the app at hand."""
    command = [paths.environment_python("runtime"), "-c", script, *map(str, arguments)]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith(("[", "{", '"'))]


LOGITS = """
import json, random, sys
from app import manifest, onnxruntime_c, onnxruntime_python
folder, numbers = sys.argv[1], random.Random(3)
rows = [[2, *numbers.choices(range(5, 500), k=count), 3] for count in (0, 1, 7, 40, 100)]
engines = [engine.load(folder, manifest.read(folder), 1) for engine in (onnxruntime_c, onnxruntime_python)]
assert [run.__module__ for run in engines] == ["app.onnxruntime_c", "app.onnxruntime_python"]
for run in engines:
    print(json.dumps([run(ids) for ids in rows]))
"""


@pytest.mark.parametrize("name", [recipe.name for recipe in RECIPES])
def test_the_c_api_gives_the_logits_of_the_python_package(variants, name) -> None:
    """On the same file and settings both give the same numbers, from 2 tokens to 102."""
    fast, plain = run(LOGITS, variants / name)
    assert len(fast) == 5
    for ours, theirs in zip(fast, plain, strict=True):
        assert ours == pytest.approx(theirs, abs=TOLERANCE)


LEAKS = """
import json, sys
from app import manifest, onnxruntime_c
def resident_kb():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4
api = onnxruntime_c._find_api()
counts = dict.fromkeys(("CreateTensorWithDataAsOrtValue", "ReleaseValue", "ReleaseStatus"), 0)
def counted(name, function):
    def call(*arguments):
        counts[name] += 1
        return function(*arguments)
    return call
for name in counts:
    setattr(api, name, counted(name, getattr(api, name)))
if sys.argv[2] == "planted":
    api.ReleaseValue = lambda value: None
onnxruntime_c._find_api = lambda: api
run = onnxruntime_c.load(sys.argv[1], manifest.read(sys.argv[1]), 1)
def grown_kb():
    before = resident_kb()
    for _ in range(2000):
        run([2, 5, 6, 3])
    return resident_kb() - before
grown_kb()
grown = grown_kb()
try:
    run([5] * 1000)
except onnxruntime_c.OrtError:
    print(json.dumps([grown, *counts.values()]))
"""


def test_two_thousand_calls_leave_nothing_behind(variants) -> None:
    """Every value is released, and a failed call's status too; values that are not released are seen to fill memory."""
    ((grown_kb, made, released, statuses),) = run(LEAKS, variants / "lean-no-arena", "sound")
    ((planted_kb, *_),) = run(LEAKS, variants / "lean-no-arena", "planted")
    assert planted_kb > 400
    assert grown_kb < planted_kb / 4
    assert made == released == 2 * (2 * 2000 + 1)
    assert statuses == 1


MODULES = """
import json, sys
from awslambdaric import bootstrap
from app import analyze
answer = analyze.handler({"text": "오늘 친구와 다퉈서 속상했다"}, None)
print(json.dumps({"engine": answer["model"]["engine"], "modules": list(sys.modules)}))
"""


def test_a_lean_start_imports_nothing_heavy(variants) -> None:
    """With the C API, numpy never loads on the emotion path, nor tokenizers where the vocabulary is mapped."""
    can_map = (variants / "lean" / "tokenizer.bin").exists()
    assert can_map == ("electra" in str(variants))
    for name, engine, heavy in (
        ("plain", "onnxruntime", {"numpy", "tokenizers"}),
        ("c-api", "onnxruntime-c", {"tokenizers"}),
        ("lean", "onnxruntime-c", set() if can_map else {"tokenizers"}),
    ):
        (found,) = run(MODULES, MODEL_FOLDER=str(variants / name))
        assert found["engine"] == engine
        assert HEAVY & set(found["modules"]) == heavy


WITHOUT_LIBRARY = """
import json, sys
from app import onnxruntime_c
onnxruntime_c.RELEASE = "0.0."
from app import analyze
print(json.dumps(analyze.handler({"text": "오늘"}, None)["model"]["engine"]))
"""


def test_without_its_library_the_c_api_falls_back_to_the_python_package(variants) -> None:
    """A library of another release is not called: the plain path answers, and the answer says so."""
    assert run(WITHOUT_LIBRARY, MODEL_FOLDER=str(variants / "lean")) == ["onnxruntime"]


def shipped(folder) -> Function:
    """The shipped handler over the variant in `folder`."""
    return Function(
        name="shipped",
        sha256="",
        python=paths.environment_python("runtime"),
        task_root=APP.parent,
        handler="app.analyze.handler",
        model_folder=folder,
        size_bytes=0,
        threads=(1,),
    )


def outcomes(folder) -> list[tuple]:
    """What the handler makes of each odd text: the outcome, and the problem's code or the rounded scores and counts."""
    found = []
    with LocalLambda(shipped(folder), SETTINGS) as local:
        for text in ODD_TEXTS:
            invocation = local.invoke(json.dumps({"text": text}).encode())
            answer = json.loads(invocation.body)
            scores = {name: round(score, 3) for name, score in answer.get("scores", {}).items()}
            found.append(
                (invocation.outcome, answer.get("code"), scores, answer.get("tokens"), answer.get("truncated"))
            )
    return found


def test_odd_texts_fare_alike_on_the_fast_and_the_plain_path(variants) -> None:
    """Lone surrogates, NUL, 100,000 characters, none at all: the same code or the same scores from both paths."""
    plain = outcomes(variants / "plain")
    assert {outcome for outcome, *_ in plain} == {"ok"}
    assert {code for _, code, *_ in plain} == {None, "text_empty", "text_undecodable", "text_too_long"}
    assert outcomes(variants / "lean") == plain


@pytest.fixture
def damaged(variants, tmp_path):
    """A copy of the lean variant, to be damaged, and what its init error says."""
    folder = tmp_path / "lean"
    folder.mkdir()
    for path in (variants / "lean").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())

    def refusal() -> str:
        with LocalLambda(shipped(folder), SETTINGS) as local:
            invocation = local.invoke(b'{"text": "x"}')
        assert invocation.outcome == "init_error"
        assert "\n" not in invocation.detail
        return invocation.detail

    return folder, refusal


def test_an_altered_tokenizer_is_refused(damaged) -> None:
    """One flipped bit in the tokenizer's file, mapped or not, is an init error that names it."""
    folder, refusal = damaged
    path = next(folder.glob("tokenizer.*"))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert f"{path.name} is damaged" in refusal()


def test_a_variant_for_another_cpu_is_refused(damaged) -> None:
    """Files bound to a CPU feature that this machine lacks end in an init error that names the feature."""
    folder, refusal = damaged
    path = folder / "variant.json"
    path.write_text(path.read_text().replace('"cpu_flags": []', '"cpu_flags": ["fpu", "avx1024_vnni"]'))
    assert "CPU with avx1024_vnni" in refusal()
