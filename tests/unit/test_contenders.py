"""A contender is refused by name where it could not be measured; what it serves is made once, from what it says."""

import dataclasses
import shutil
import sys
from pathlib import Path

import pytest

from bench import functions, peers
from workbench import paths
from workbench.errors import BenchError, PlanError, VariantError
from workbench.plan import Contender, Plan, load

DAMAGES = [
    ('environment = "plan"', 'environment = "gone"', "run in an environment without a lock: gone"),
    ('model = "optimum/int8"', 'model = "optimum"', "serve a model that nothing makes: optimum"),
    ('model = "optimum/int8"', 'model = "afternoon/int8"', "serve a model that nothing makes: afternoon/int8"),
    ('name = "openvino-ptq"', 'name = "plan"', "share a name: plan, plan"),
    ('name = "openvino-ptq"', 'name = "fp32"', "share a name: fp32"),
    ("threads = [1, 0]", "threads = []", "lack thread counts of 0 or more: onnxruntime-int8"),
    ("threads = [1, 0]", "threads = [-1]", "lack thread counts of 0 or more: onnxruntime-int8"),
    ("[1769, 2048]", "[1769]", "are not measured at objective.memory_mb: optimum-int8"),
]
WRITES_ITS_INPUTS = """
import sys
from pathlib import Path
from workbench.texts import read_entries
form, export, diaries, folder = sys.argv[1:]
Path(folder, "model.onnx").write_bytes(b"12345")
Path(folder, "tokenizer.json").write_text(form + Path(export, "model.onnx").read_text())
assert read_entries(Path(diaries))
"""


@pytest.mark.parametrize(("sound", "damaged", "happened"), DAMAGES)
def test_a_contender_that_cannot_be_measured_is_refused(plan_file, sound, damaged, happened) -> None:
    """Every damage is a `PlanError` that names the contenders."""
    text = plan_file.read_text()
    assert sound in text
    plan_file.write_text(text.replace(sound, damaged, 1))
    with pytest.raises(PlanError) as caught:
        load(plan_file)
    assert caught.value.happened == f"workbench.toml: contenders {happened}"


def test_the_peers_a_user_would_pick_are_there(plan: Plan) -> None:
    """torch, optimum, openvino and onnxruntime stand beside the plan's stack; none but its own may skip a size."""
    names = [one.name for one in plan.contenders]
    assert names[0] == "plan"
    assert {"torch-int8", "optimum-fp32", "optimum-int8", "onnxruntime-int8", "openvino-weights", "openvino-ptq"} < {
        *names
    }
    assert plan.contenders[0].memory_mb == ()


@pytest.fixture
def small(plan, tmp_path, monkeypatch) -> Plan:
    """A plan with one contender of a few lines, whose model is made by this interpreter from a tiny export."""
    maker = tmp_path / "contenders" / "maker"
    maker.mkdir(parents=True)
    (maker / "requirements.txt").write_text("tool==1\n")
    (maker / "prepare.py").write_text(WRITES_ITS_INPUTS)
    (maker / "handler.py").write_text("def handler(event, context):\n    return {}\n")
    shutil.copy(paths.ROOT / plan.workload.file, tmp_path / "diaries.tsv")
    monkeypatch.setattr(peers, "CONTENDERS", maker.parent)
    monkeypatch.setattr(paths, "BUILD", tmp_path / "build")
    monkeypatch.setattr(paths, "environment_python", lambda name: Path(sys.executable))
    for name in ("checkpoint", "export"):
        folder = paths.model_folder(plan.model) / name
        folder.mkdir(parents=True)
        (folder / "model.onnx").write_text(name)
    contender = Contender(
        name="peer", folder=str(maker), handler="handler.handler", environment="maker", model="maker/form", threads=(1,)
    )
    workload = dataclasses.replace(plan.workload, file=str(tmp_path / "diaries.tsv"))
    return dataclasses.replace(plan, contenders=(contender,), workload=workload)


def made(plan: Plan) -> Path:
    return peers.prepared_folder(plan, "maker/form")


def test_a_model_is_prepared_once(small, capsys) -> None:
    """The second preparation leaves everything as it is, and says so."""
    peers.prepare(small)
    before = {path: path.stat().st_mtime_ns for path in made(small).iterdir()}
    peers.prepare(small)
    assert {path: path.stat().st_mtime_ns for path in made(small).iterdir()} == before
    assert capsys.readouterr().out == "maker/form: prepared\nmaker/form: unchanged\n"
    assert (made(small) / "tokenizer.json").read_text() == "formexport"


CHANGES = {
    "its script": lambda plan: append(peers.CONTENDERS / "maker" / "prepare.py", "\n"),
    "its tools": lambda plan: append(peers.lock_file("maker"), "other==1\n"),
    "the diaries": lambda plan: append(Path(plan.workload.file), "x\tcalm\t\t하루\n"),
    "the export": lambda plan: append(paths.model_folder(plan.model) / "export" / "model.onnx", "!"),
    "the checkpoint": lambda plan: append(paths.model_folder(plan.model) / "checkpoint" / "model.onnx", "!"),
    "the processor": lambda plan: None,
    "a kill before its end": lambda plan: (made(plan) / peers.STAMP).unlink(),
}


def append(path: Path, text: str) -> None:
    path.write_text(path.read_text() + text)


@pytest.mark.parametrize("what", CHANGES)
def test_a_change_prepares_it_again(small, what, monkeypatch, capsys) -> None:
    """Whatever it depends on, once changed, or a preparation cut short, has it made anew, nothing old left."""
    peers.prepare(small)
    (made(small) / "left over").touch()
    CHANGES[what](small)
    if what == "the processor":
        here = dataclasses.replace(peers.machine.describe("none"), flags=("another",))
        monkeypatch.setattr(peers.machine, "describe", lambda limits: here)
    capsys.readouterr()
    peers.prepare(small)
    assert capsys.readouterr().out == "maker/form: prepared\n"
    assert not (made(small) / "left over").exists()


def test_a_failed_preparation_is_no_model(small) -> None:
    """Where the script fails, the command does, and the contender is not measured with what it left behind."""
    append(peers.CONTENDERS / "maker" / "prepare.py", "sys.exit(1)\n")
    with pytest.raises(BenchError, match="maker/form could not be prepared"):
        peers.prepare(small)
    assert (made(small) / "model.onnx").exists()
    with pytest.raises(VariantError, match=r"maker/form, which peer serves, is not prepared\n  -> run `nox -s contend"):
        peers.served_folder(small, small.contenders[0])


def test_a_contender_s_function_tells_what_it_serves(small) -> None:
    """Size is the model's alone, and its identity changes with its code, its lock and every byte it serves."""
    peers.prepare(small)
    contender = small.contenders[0]
    function = functions._contender(small, contender)
    assert (function.size_bytes, function.model_folder) == (5, made(small))
    assert (function.threads, function.memory_mb) == ((1,), ())
    seen = {function.sha256}
    for path in (Path(contender.folder) / "handler.py", peers.lock_file("maker"), made(small) / "tokenizer.json"):
        append(path, "\n")
        seen.add(functions._contender(small, contender).sha256)
    assert len(seen) == 4
