"""A start from disk reads from the disk, and where nothing can be dropped none is claimed."""

import dataclasses
import os
from pathlib import Path

import pytest

from bench import cold, page_cache, runs
from bench.local_lambda import LocalLambda, Settings
from tests.unit.conftest import MACHINE, evidence
from workbench.store import write

SIZE_BYTES = 16 * 2**20
TOUCH = """
import mmap
with open("weights.bin", "rb") as file:
    mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
touched = mapping[::mmap.PAGESIZE]
def handler(event, context):
    return {"timings": {"init": {}, "inference_ms": 0.0}, "tokens": 3}
"""
SETTINGS = Settings(memory_mb=512, threads=1, regime="burst", limits="none", timeout_s=20.0)


@pytest.fixture
def way(tmp_path) -> str:
    """How the page cache is dropped here."""
    found = page_cache.detect(tmp_path)
    return found or pytest.skip("nothing here may drop the page cache")


@pytest.fixture
def weights(tmp_path) -> Path:
    """A file of 16 MB on disk and in the page cache."""
    path = tmp_path / "weights.bin"
    with path.open("wb") as file:
        file.write(os.urandom(SIZE_BYTES))
        file.flush()
        os.fsync(file.fileno())
    return path


def read_from_disk(path: Path) -> int:
    """The bytes that reading `path` brings from the disk."""
    before = page_cache.disk_bytes()
    path.read_bytes()
    return page_cache.disk_bytes() - before


@pytest.mark.parametrize("name", page_cache.WAYS)
def test_a_dropped_file_is_read_from_disk_once(way, weights, name) -> None:
    """After a drop every byte comes from the disk again, and after that none does."""
    assert read_from_disk(weights) < SIZE_BYTES / 10
    try:
        page_cache.drop(name, [weights.parent])
    except OSError:
        pytest.skip(f"{name} is not permitted here")
    assert read_from_disk(weights) >= SIZE_BYTES
    assert read_from_disk(weights) < SIZE_BYTES / 10


def test_a_file_deep_in_a_folder_is_dropped(way, tmp_path, weights) -> None:
    """File by file, what is in a folder of the folder is dropped too, and what is beside it is not."""
    (tmp_path / "beside").mkdir()
    deep = tmp_path / "beside" / "model" / "deep.bin"
    deep.parent.mkdir()
    deep.write_bytes(weights.read_bytes())
    page_cache.drop("fadvise", [tmp_path / "beside"])
    assert read_from_disk(deep) >= SIZE_BYTES
    assert read_from_disk(weights) < SIZE_BYTES / 10


def refuse(_) -> None:
    raise PermissionError


@pytest.mark.parametrize("fault", [lambda _: None, refuse], ids=["drops nothing", "is refused"])
def test_a_way_that_does_not_work_is_not_claimed(tmp_path, monkeypatch, fault) -> None:
    """A drop that leaves the file in memory, or that is not permitted, is found out."""
    monkeypatch.setattr(page_cache, "WAYS", {"fault": fault})
    assert page_cache.detect(tmp_path) is None


def test_a_function_from_disk_reads_what_it_maps(way, make_function, weights) -> None:
    """A process that maps its weights reads them from the disk after a drop and from memory without; both map them."""
    function = make_function(TOUCH)
    found = {}
    for name in ("warm up", "cached", "from disk"):
        if name == "from disk":
            page_cache.drop(way, [weights])
        with LocalLambda(function, SETTINGS) as local:
            assert local.invoke(b"{}").outcome == "ok"
            found[name] = local.footprint()
    assert found["from disk"]["read_mb"] >= 16
    assert found["cached"]["read_mb"] < 1.6
    assert min(one["mapped_mb"] for one in found.values()) >= 16


@pytest.fixture
def run_of_one(tmp_path, plan, make_function, weights, monkeypatch):
    """A run's folder and the cells of one function that maps its weights."""
    monkeypatch.setattr("workbench.paths.BUILD", tmp_path)
    sweep = dataclasses.replace(plan.bench, disk_samples=2, memory_mb=(1024, 2048))
    machine = dataclasses.replace(MACHINE, limits="none")
    run = dataclasses.replace(evidence(plan, [], {}).run, machine=machine, plan=dataclasses.replace(plan, bench=sweep))
    write(tmp_path / "run" / "run.json", run)
    return tmp_path / "run", runs.cells(run.plan, [make_function(TOUCH)], machine)


def test_a_pass_from_disk_goes_on_where_it_stopped(way, run_of_one) -> None:
    """Every round has one sample at the objective's memory size, with what it read; a second pass adds nothing."""
    folder, cells = run_of_one
    for _ in range(2):
        cold.measure_from_disk(folder, cells, ("한", "둘"))
    samples = runs.measurements(folder)
    assert [sample.key[0] for sample in samples] == ["disk", "disk"]
    assert sorted(sample.round for sample in samples) == [0, 1]
    assert {sample.cell.memory_mb for sample in samples} == {2048}
    assert min(sample.values["read_mb"][0] for sample in samples) >= 16
    assert samples[0].values["tokens"] == (3.0,)


def test_where_nothing_drops_there_is_no_pass_from_disk(run_of_one, monkeypatch, capsys) -> None:
    """Without permission no sample is taken, and the run says so."""
    monkeypatch.setattr(page_cache, "detect", lambda _: None)
    cold.measure_from_disk(*run_of_one, ("한",))
    assert runs.measurements(run_of_one[0]) == []
    assert "left out" in capsys.readouterr().out
