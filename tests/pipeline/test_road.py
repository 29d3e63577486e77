"""The whole road on a tiny model, by the commands a user runs: export, quantize, bench, choose, report."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest

from bench import page_cache
from bench.functions import Function
from bench.local_lambda import LocalLambda, Settings
from tests.pipeline import tiny
from workbench import paths
from workbench.records import Measurement
from workbench.store import read_lines

BENCH = paths.ENVIRONMENTS / "bench" / "bin" / "python"
KILLS = 12
FORMS, SIZES, COLD, DISK, WARM = 8, 2, 3, 1, 1  # six recipes of the full sweep, the empty handler and the plan's stack


@pytest.fixture(scope="module")
def road(tmp_path_factory):
    """A folder with a plan for a tiny model, its variants built, and the environment that points there."""
    folder = tmp_path_factory.mktemp("road")
    tiny.make("electra", folder / "model", multi_label=True)
    text = (paths.ROOT / "workbench.toml").read_text()
    changes = {
        'where = "builtin"': f'where = "{folder / "model"}"',
        "speed_only = true": "speed_only = false",
        "[1024, 1769, 2048, 3008]": "[1024, 2048]",
        "cold_samples = 10": f"cold_samples = {COLD}",
        "disk_samples = 3": f"disk_samples = {DISK}",
        "warm_rounds = 2": f"warm_rounds = {WARM}",
        "warm_samples = 15": "warm_samples = 5",
        "label_agreement = 0.97": "label_agreement = 0.5",
    }
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new, 1)
    (folder / "workbench.toml").write_text(shorten(text))
    environment = os.environ | {
        "WORKBENCH_BUILD": str(folder / "build"),
        "WORKBENCH_RESULTS": str(folder / "results"),
        "WORKBENCH_ENVIRONMENTS": str(paths.ENVIRONMENTS),
    }
    for stage in ("export", "quantize"):
        run(folder, environment, sys.executable, "optimize", stage)
    return folder, environment


def shorten(plan: str) -> str:
    """The plan's text without the recipes of one size, the axes that need them, and all contenders but the plan's."""
    tables = re.split(r"(?=^\[)", plan, flags=re.MULTILINE)
    names = {table: re.findall(r'^(?:name|before|after) = "(.+?)"', table, re.MULTILINE) for table in tables}
    gone = {names[table][0] for table in tables if table.startswith("[[recipes]]") and "memory_mb" in table}
    gone |= {names[table][0] for table in tables if table.startswith("[[contenders]]")} - {"plan"}
    return "".join(table for table in tables if not gone & set(names[table]))


def command(folder, python, package: str, stage: str) -> list[str]:
    return [str(python), "-m", package, stage, "--plan", str(folder / "workbench.toml")]


def run(folder, environment, python, package: str, stage: str) -> str:
    done = subprocess.run(
        command(folder, python, package, stage), cwd=paths.ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_bench_killed_anywhere_resumes(road) -> None:
    """Killed at random moments, the same command goes on: every sample is there once, none is lost or repeated."""
    folder, environment = road
    moments = random.Random(5)
    seen: list[Measurement] = []
    for _ in range(KILLS):
        process = subprocess.Popen(
            command(folder, BENCH, "bench", "run"),
            cwd=paths.ROOT,
            env=environment,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        time.sleep(moments.uniform(1.0, 4.0))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        now = records(folder)
        assert now[: len(seen)] == seen
        seen = now
    run(folder, environment, BENCH, "bench", "run")
    keys = [record.key for record in records(folder)]
    from_disk = DISK if page_cache.detect(folder) else 0
    assert len(keys) == len(set(keys)) == FORMS * (SIZES * (COLD + WARM) + from_disk)
    assert len(list((folder / "results" / "runs").iterdir())) == 1


def records(folder) -> list[Measurement]:
    return [one for path in folder.glob("results/runs/*/measurements.jsonl") for one in read_lines(path, Measurement)]


def test_the_road_ends_in_a_verdict_and_a_report(road) -> None:
    """From the records come a verdict, a report with its figure, and a summary whose ratio the records give again."""
    folder, environment = road
    run(folder, environment, BENCH, "bench", "run")
    assert "expected wait" in run(folder, environment, BENCH, "bench", "choose")
    assert "should answer" in run(folder, environment, BENCH, "bench", "report")
    results = folder / "results"
    verdict = json.loads(next(results.glob("runs/*/verdict.json")).read_text())
    summary = json.loads((results / "summary.json").read_text())
    newest = max(results.glob("runs/*/measurements.jsonl"))
    cold = {
        name: [
            one.values["cold_ms"][0]
            for one in sorted(read_lines(newest, Measurement), key=lambda one: one.round)
            if (one.kind, one.cell.function, one.cell.memory_mb) == ("cold", name, 2048)
        ]
        for name in (verdict["winner"], "plan")
    }
    ratios = sorted(slow / fast for slow, fast in zip(cold["plan"], cold[verdict["winner"]], strict=True))
    assert summary["cold_ratio_vs_plan"]["value"] == pytest.approx(ratios[1])
    assert summary["cold_samples_per_cell"]["value"] == 3
    assert (results / "cold_start.svg").read_text().startswith("<?xml")


def test_phases_add_up_to_the_cold_start(road) -> None:
    """Every phase of every cold sample is positive, and together they are the cold start."""
    for record in records(road[0]):
        if record.kind == "cold":
            values = {name: value for name, (value,) in record.values.items()}
            phases = [
                value for name, value in values.items() if name.endswith("_ms") and name not in ("cold_ms", "init_ms")
            ]
            assert record.outcome == "ok"
            assert min(phases) >= 0
            assert sum(phases) == pytest.approx(values["cold_ms"], abs=0.1)


def test_no_diary_is_in_the_results(road) -> None:
    """Nothing written by the bench holds a text of the workload."""
    for path in (road[0] / "results").rglob("*"):
        if path.is_file():
            content = path.read_text(encoding="utf-8")
            assert not any(text in content or json.dumps(text)[1:-1] in content for text in tiny.TEXTS)


@pytest.fixture
def shipped(road, tmp_path):
    """The shipped handler over a copy of the mapped variant, to be asked or damaged."""
    variant = next((road[0] / "build").glob("models/*/variants/int8-mapped"))
    shutil.copytree(variant, tmp_path / "model")
    return Function(
        name="shipped",
        sha256="",
        python=paths.environment_python("runtime"),
        task_root=paths.ROOT / "lambda_image",
        handler="app.analyze.handler",
        model_folder=tmp_path / "model",
        size_bytes=0,
        threads=(1,),
    )


SETTINGS = Settings(memory_mb=2048, threads=1, regime="burst", limits="none", timeout_s=60)


def test_every_caller_gets_an_answer_or_a_documented_code(shipped) -> None:
    """Through the real awslambdaric a diary gets an emotion, and every bad event its code, on one process."""
    events = {
        '{"text": "오늘 친구와 다퉈서 속상했다"}': None,
        '{"text": ""}': "text_empty",
        '{"text": 7}': "text_not_a_string",
        "{}": "text_missing",
        "[]": "event_not_an_object",
        '{"text": "\\ud83d"}': "text_undecodable",
        json.dumps({"text": "가" * 10_001}): "text_too_long",
        json.dumps({"text": "가나다 " * 2_000}): None,
    }
    with LocalLambda(shipped, SETTINGS) as local:
        for event, code in events.items():
            invocation = local.invoke(event.encode())
            answer = json.loads(invocation.body)
            assert invocation.outcome == "ok"
            assert answer.get("code") == code
            assert code or answer["emotion"] in answer["scores"]


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("model.onnx", lambda path: path.write_bytes(path.read_bytes()[:-20])),
        ("model.onnx.data", lambda path: path.write_bytes(path.read_bytes()[:-20])),
        ("model.onnx.data", lambda path: path.write_bytes(b"\1" + path.read_bytes()[1:])),
        ("tokenizer.json", lambda path: path.unlink()),
        ("variant.json", lambda path: path.write_text(path.read_text().replace('"files"', '"file"'))),
    ],
)
def test_a_damaged_variant_is_refused_at_init(shipped, name, damage) -> None:
    """Through the real awslambdaric a damaged variant ends in an init error of one sentence that names the file."""
    damage(shipped.model_folder / name)
    with LocalLambda(shipped, SETTINGS) as local:
        invocation = local.invoke(b'{"text": "x"}')
    assert invocation.outcome == "init_error"
    assert name in invocation.detail
    assert "\n" not in invocation.detail
