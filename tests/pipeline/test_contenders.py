"""Every contender answers as the plan's stack does, through the real local Lambda, from models made in its environment."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from bench import cold, peers
from bench.functions import Function
from bench.local_lambda import LocalLambda, Settings
from optimize.export import export
from optimize.sources import load_checkpoint
from tests.pipeline import tiny
from workbench import paths
from workbench.plan import PLAN_FILE, load
from workbench.records import ModelSource

ASKED, LEAST_AGREED = 5, 4
TOO_LONG, MOST_TOKENS = "가나다 " * 400, 128
CONTENDERS = load(paths.ROOT / PLAN_FILE).contenders
FLOAT = ("plan", "optimum-fp32")
SETTINGS = Settings(memory_mb=2048, threads=1, regime="burst", limits="none", timeout_s=60)


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    """The repository's plan for a tiny model, exported, and the contenders' models made from it."""
    folder = tmp_path_factory.mktemp("contenders")
    tiny.make("electra", folder / "model", multi_label=True)
    plan = dataclasses.replace(load(paths.ROOT / PLAN_FILE), model=ModelSource(where=str(folder / "model")))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paths, "BUILD", folder / "build")
        checkpoint, exported = (paths.model_folder(plan.model) / name for name in ("checkpoint", "export"))
        export(load_checkpoint(plan.model, checkpoint), checkpoint, exported, tiny.TEXTS)
        peers.prepare(plan)
        yield plan


def function(plan, contender) -> Function:
    """The contender's function, without the hashes that a run records."""
    return Function(
        name=contender.name,
        sha256="",
        python=paths.environment_python(contender.environment),
        task_root=paths.ROOT / contender.folder,
        handler=contender.handler,
        model_folder=peers.served_folder(plan, contender),
        size_bytes=0,
        threads=(1,),
    )


def answers(asked: Function) -> list[dict]:
    with LocalLambda(asked, SETTINGS) as local:
        return [json.loads(local.invoke(cold.request(text)).body) for text in (*tiny.TEXTS[:ASKED], TOO_LONG)]


def expected(plan) -> np.ndarray:
    """The scores (diaries x labels) of torch itself, as the export stored its logits."""
    reference = json.loads((paths.model_folder(plan.model) / "export" / "reference.json").read_text())
    return 1 / (1 + np.exp(-np.array(reference["logits"][:ASKED])))


@pytest.mark.parametrize("contender", CONTENDERS, ids=lambda one: one.name)
def test_every_contender_answers_as_torch_does(plan, contender) -> None:
    """Its emotions are torch's on four diaries of five or more, in float its scores too; it cuts what is too long."""
    *found, cut = answers(function(plan, contender))
    emotions = [tiny.LABELS[place] for place in expected(plan).argmax(axis=1)]
    assert sum(answer["emotion"] == emotion for answer, emotion in zip(found, emotions, strict=True)) >= LEAST_AGREED
    assert len(set(emotions)) > 1
    assert {*cut["timings"]["init"]} == {"imports_ms", "tokenizer_ms", "session_ms"}
    assert min(answer["tokens"] for answer in found) < cut["tokens"] == MOST_TOKENS
    if contender.name in FLOAT:
        scores = [[answer["scores"][label] for label in tiny.LABELS] for answer in found]
        np.testing.assert_allclose(scores, expected(plan), atol=1e-4)


def test_openvino_starts_from_its_compiled_model_alone(plan, tmp_path) -> None:
    """Where the compiled model is not accepted, the function fails its init instead of compiling at every start."""
    contender = next(one for one in CONTENDERS if one.model == "openvino/weights")
    sound = function(plan, contender)
    shutil.copytree(sound.model_folder, tmp_path / "moved")
    with LocalLambda(dataclasses.replace(sound, model_folder=tmp_path / "moved"), SETTINGS) as local:
        assert local.invoke(cold.request(tiny.TEXTS[0])).outcome == "init_error"


def test_what_is_prepared_is_used_again(plan, capfd) -> None:
    """A second preparation makes nothing, since neither scripts, tools nor inputs have changed."""
    peers.prepare(plan)
    told = capfd.readouterr().out.splitlines()
    assert len(told) == 3
    assert all(line.endswith(": unchanged") for line in told)
