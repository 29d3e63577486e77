"""The machine's limit is measured, not made up, and its arithmetic is that of the encoder."""

import dataclasses
import re
import shutil
import subprocess

import pytest

from bench import compiled, limit
from tests.unit.conftest import MACHINE, evidence
from workbench.errors import BenchError
from workbench.machine import describe
from workbench.records import Limit, Peak
from workbench.store import write

BASE = {"layers": 12, "hidden_size": 768, "intermediate_size": 3072, "labels": 8}
WIDE = {"avx512_vnni", "avx_vnni", "amx_int8"}
KNOWN = Limit(
    peaks=(
        Peak(numbers="fp32", instructions="avx2", gmac_per_s=(50.0, 100.0)),
        Peak(numbers="int8", instructions="amx", gmac_per_s=(200.0, 390.0)),
    ),
    size_bytes=100_000_000,
    touch_ms=2.0,
    read_ms=50.0,
    disk_touch_ms=None,
    page_cache=None,
    memory_gb_per_s=(10.0, 20.0),
    machine_sha256="m" * 64,
    taken_at="2026-01-01T00:00:00+00:00",
)


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """The compiled kernels."""
    if shutil.which("cc") is None:
        pytest.skip("no C compiler here")
    return compiled.build(limit.SOURCE, tmp_path_factory.mktemp("limit"))


@pytest.fixture(scope="module")
def measured(library):
    """This machine's limit, from fewer tries."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limit, "TRIES", 4)
        patch.setattr(limit, "PAUSE_S", 0.0)
        return limit.measure(library, 32_000_000, "m" * 64)


def products(tokens: int, rows_of_last: int) -> list[tuple[int, int, int]]:
    """Every matrix product of a base encoder as (rows, inner, columns), its 12 heads together."""

    def layer(rows):
        projections = [(tokens, 768, 768)] * 2 + [(rows, 768, 768)] * 2
        return [*projections, (rows, 768, tokens), (rows, tokens, 768), (rows, 768, 3072), (rows, 3072, 768)]

    return 11 * layer(tokens) + layer(rows_of_last) + [(1, 768, 768), (1, 768, 8)]


@pytest.mark.parametrize("tokens", [1, 16, 85, 512])
def test_multiply_adds_are_those_of_the_products(tokens) -> None:
    """The count is the sum over an encoder's matrix products, with the last layer whole or for its first row alone."""
    for cls_only, rows in ((True, 1), (False, tokens)):
        expected = sum(rows * inner * columns for rows, inner, columns in products(tokens, rows))
        assert limit.multiply_adds(tokens, **BASE, cls_only=cls_only) == expected


def test_an_entry_of_85_tokens_costs_6_8_billion() -> None:
    """KcELECTRA base spends 6.8 billion multiply-adds on 85 tokens, 7 % fewer than with a whole last layer."""
    first_row, whole = (limit.multiply_adds(85, **BASE, cls_only=cls_only) for cls_only in (True, False))
    assert first_row == pytest.approx(6.8e9, rel=0.01)
    assert 1 - first_row / whole == pytest.approx(0.07, abs=0.005)


def test_the_cold_limit_adds_start_touch_and_compute() -> None:
    """The empty handler's time, the pages in proportion to the bytes, and the multiply-adds at the best peak."""
    assert limit.cold_limit_ms(KNOWN, interpreter_ms=40.0, size_bytes=50_000_000, macs=2e9) == 40 + 1 + 10
    two = limit.cold_limit_ms(KNOWN, interpreter_ms=40.0, size_bytes=50_000_000, macs=7.8e9, threads=2)
    assert two == pytest.approx(40 + 1 + 20)


def test_the_warm_limit_is_compute_or_memory_whichever_is_longer() -> None:
    """Few bytes are limited by multiply-adds, many by memory; more than two threads count as two."""
    assert limit.warm_limit_ms(KNOWN, size_bytes=1_000_000, macs=2e9) == 10
    assert limit.warm_limit_ms(KNOWN, size_bytes=200_000_000, macs=2e9) == 20
    assert limit.warm_limit_ms(KNOWN, size_bytes=200_000_000, macs=2e9, threads=6) == 10


def test_every_figure_of_this_machine_is_positive(measured) -> None:
    """Both number formats have a peak on one core and on two, and touching pages takes less time than copying them."""
    assert {peak.numbers for peak in measured.peaks} == {"int8", "fp32"}
    assert all(value > 0 for peak in measured.peaks for value in peak.gmac_per_s)
    assert 0 < measured.touch_ms < measured.read_ms
    assert min(measured.memory_gb_per_s) > 0
    assert (measured.page_cache is None) == (measured.disk_touch_ms is None)


@pytest.mark.skipif(not WIDE & set(describe("none").flags), reason="a CPU without VNNI and AMX")
def test_int8_beats_fp32_where_the_cpu_has_instructions_for_it(measured) -> None:
    """With VNNI or AMX the best int8 peak is at least fp32's, and it is the best of all."""
    fp32 = max(peak.gmac_per_s[0] for peak in measured.peaks if peak.numbers == "fp32")
    assert limit.best_peak(measured).numbers == "int8"
    assert limit.best_peak(measured).gmac_per_s[0] >= fp32


def test_the_instruction_sets_are_the_cpus(measured) -> None:
    """What /proc/cpuinfo lists is measured, and nothing else."""
    found = {f"{peak.instructions}_{peak.numbers}" for peak in measured.peaks}
    flags = set(describe("none").flags)
    assert ("avx512_vnni_int8" in found) == ("avx512_vnni" in flags)
    assert ("avx512_fp32" in found) == ("avx512f" in flags)
    assert "amx_int8" not in found - flags


def test_coming_from_the_disk_takes_longer(measured) -> None:
    """The first touch after the page cache was dropped takes longer than one in the page cache."""
    if measured.page_cache is None:
        pytest.skip("nothing here may drop the page cache")
    assert measured.disk_touch_ms > measured.touch_ms


def instructions(source: str, name: str) -> int:
    """How often the compiled `source` has an instruction."""
    command = ["cc", *compiled.FLAGS, "-S", "-x", "c", "-", "-o", "-"]
    assembly = subprocess.run(command, input=source, capture_output=True, text=True, check=True).stdout
    return len(re.findall(rf"^\s+(?:\{{vex\}} )?{name}\b", assembly, re.MULTILINE))


@pytest.mark.skipif(describe("none").architecture != "x86_64", reason="x86 kernels")
@pytest.mark.parametrize(
    ("name", "expected"), [("vpdpbusd", 24), ("vfmadd...ps", 24), ("vpmaddubsw", 12), ("tdpbusd", 6)]
)
def test_every_chain_is_computed(library, name, expected) -> None:
    """The compiler keeps one instruction a chain: what is counted is done."""
    assert instructions(limit.SOURCE.read_text(), name) == expected


@pytest.mark.skipif(describe("none").architecture != "x86_64", reason="x86 kernels")
def test_chains_that_begin_alike_would_be_seen(library) -> None:
    """Were all chains equal, the compiler would compute one for all, and the count of instructions would tell."""
    source = limit.SOURCE.read_text()
    assert "sums[n] = a + n;" in source
    assert instructions(source.replace("sums[n] = a + n;", "sums[n] = a;"), "vpdpbusd") < 24


@pytest.fixture
def folder(tmp_path, plan, monkeypatch):
    """A run's folder without a limit; what is compiled goes elsewhere."""
    monkeypatch.setattr(limit, "BUILD", tmp_path / "build")
    write(tmp_path / "run" / "run.json", evidence(plan, [], {}).run)
    return tmp_path / "run"


def test_a_run_has_one_limit(folder, library, monkeypatch) -> None:
    """The limit is measured once, belongs to the run's machine and reads back as it was."""
    calls = []

    def measure(library, size_bytes, machine_sha256):
        calls.append(size_bytes)
        return dataclasses.replace(KNOWN, size_bytes=size_bytes, machine_sha256=machine_sha256)

    monkeypatch.setattr(limit, "measure", measure)
    limit.record(folder, 1000)
    limit.record(folder, 2000)
    assert calls == [1000]
    assert limit.load(folder) == measure(None, 1000, limit.fingerprint(MACHINE))


def test_without_a_compiler_there_is_no_limit(folder, monkeypatch, capsys) -> None:
    """Where nothing compiles, the run goes on without a limit and says why."""

    def refuse(*_):
        raise BenchError("no C compiler", "install one")

    monkeypatch.setattr(compiled, "build", refuse)
    limit.record(folder, 1000)
    assert limit.load(folder) is None
    assert "the machine's limit is left out: no C compiler" in capsys.readouterr().out
