"""A masked process is told of a smaller CPU, and nothing else about it changes."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from bench import cpu_mask
from workbench.errors import BenchError
from workbench.machine import describe
from workbench.paths import environment_python

FLAGS = describe("none").flags
HIDDEN = {"avx512f", "avx512_vnni", "avx_vnni", "amx_int8"}
FEATURES = """
from numpy._core._multiarray_umath import __cpu_features__ as features
print(*(name for name, present in features.items() if present))
"""
# MatMulInteger of two unsigned inputs with the signed weights 127 and 127; `onnx`, which could make it, is not installed.
MODEL = (
    "CAg6VgoYCgFBCgFXEgFZIg1NYXRNdWxJbnRlZ2VyEgFnKg0IAggBEANCAVdKAn9/WhMKAUES"
    "DgoMCAISCAoCCAEKAggCYhMKAVkSDgoMCAYSCAoCCAEKAggBQgQKABAN"
)
SATURATION = f"""
import base64, numpy, onnxruntime
session = onnxruntime.InferenceSession(base64.b64decode({MODEL!r}), providers=["CPUExecutionProvider"])
print(session.run(None, {{"A": numpy.full((1, 2), 255, numpy.uint8)}})[0][0, 0])  # exactly: 2 * 255 * 127 = 64770
"""
DESCENDANTS = """
import concurrent.futures, ctypes, os, subprocess, sys
def works():
    return ctypes.CDLL(None).cpu_mask_works()
print(concurrent.futures.ThreadPoolExecutor().submit(works).result(), flush=True)
if (child := os.fork()) == 0:
    print(works(), flush=True)
    os._exit(0)
os.waitpid(child, 0)
subprocess.run([sys.executable, "-c", "import ctypes; print(ctypes.CDLL(None).cpu_mask_works())"])
"""
FAULTS = {
    "a read of address 0": "import ctypes; ctypes.string_at(0)",
    "a read of no possible address": "import ctypes; ctypes.string_at(1 << 62)",
    "a call of address 16": "import ctypes; ctypes.CFUNCTYPE(None)(16)()",
    "a signal sent": "import os, signal; os.kill(os.getpid(), signal.SIGSEGV); signal.pause()",
}
REFUSING_KERNEL = """
#include <errno.h>
long syscall(long number, ...) { (void)number; errno = ENODEV; return -1; }
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled library."""
    if shutil.which("cc") is None:
        pytest.skip("no C compiler here")
    return cpu_mask.build(tmp_path_factory.mktemp("cpu_mask"))


@pytest.fixture(scope="module")
def python() -> Path:
    """The interpreter of what ships."""
    return environment_python("runtime")


@pytest.fixture
def masked(library: Path, python: Path):
    """Run a program in a masked process, where there can be one."""
    if not cpu_mask.supported(library, python):
        pytest.skip("this CPU or kernel cannot make CPUID fault")

    def run(program: str) -> subprocess.CompletedProcess[str]:
        environment = os.environ | cpu_mask.environment(library)
        return subprocess.run([python, "-c", program], env=environment, capture_output=True, text=True, timeout=60)

    return run


def test_a_masked_process_sees_avx2_and_nothing_wider(masked) -> None:
    """numpy, which asks the CPU while it is loaded, is told of AVX2 and FMA and of no AVX512."""
    seen = masked(FEATURES).stdout.split()
    assert {"AVX2", "FMA3"} <= set(seen)
    assert not [name for name in seen if name.startswith("AVX512")]


def test_onnxruntime_takes_its_avx2_path(masked) -> None:
    """In a masked process onnxruntime's int8 product saturates at 16 bits, as on a CPU without VNNI."""
    done = masked(SATURATION)
    assert done.stdout.split() == [str(2**15 - 1)], done.stderr


def test_threads_forks_and_children_are_masked_too(masked) -> None:
    """A thread, a fork and a program that a masked process starts are told what it is told."""
    assert masked(DESCENDANTS).stdout.split() == ["1", "1", "1"]


@pytest.mark.parametrize("program", FAULTS.values(), ids=FAULTS)
def test_any_other_segmentation_fault_still_kills(masked, program) -> None:
    """A fault that is not CPUID's, and a SIGSEGV that was sent, end the process with -11 as ever."""
    assert masked(program).returncode == -11


@pytest.mark.skipif("cpuid_fault" not in Path("/proc/cpuinfo").read_text(), reason="no CPUID faulting in /proc/cpuinfo")
@pytest.mark.skipif("avx2" not in FLAGS, reason="a CPU without AVX2")
def test_a_cpu_that_can_fault_is_supported(library, python) -> None:
    """Where /proc/cpuinfo lists cpuid_fault and avx2, masking works."""
    assert cpu_mask.supported(library, python)


def test_a_refusal_of_the_kernel_is_told(library, python, tmp_path) -> None:
    """Where CPUID cannot fault, `supported` is True only for an AVX2 CPU that has nothing to hide."""
    (tmp_path / "refuse.c").write_text(REFUSING_KERNEL)
    subprocess.run(["cc", "-shared", "-fPIC", "refuse.c", "-o", "refuse.so"], cwd=tmp_path, check=True)
    refused = tmp_path / "python"
    refused.write_text(f'#!/bin/sh\nLD_PRELOAD="{tmp_path}/refuse.so:$LD_PRELOAD" exec {python} "$@"\n')
    refused.chmod(0o755)
    assert cpu_mask.supported(library, refused) == ("avx2" in FLAGS and not HIDDEN & set(FLAGS))


def test_a_library_that_was_not_loaded_is_not_supported(library, python, tmp_path) -> None:
    """A file that is missing, or whose path the loader splits at a space, masks nothing and is called so."""
    (tmp_path / "two words").mkdir()
    assert not cpu_mask.supported(tmp_path / "missing.so", python)
    assert not cpu_mask.supported(Path(shutil.copy(library, tmp_path / "two words")), python)


def test_the_library_is_compiled_once(library, monkeypatch) -> None:
    """What is built already is used, with or without a compiler."""
    monkeypatch.setenv("PATH", "")
    assert cpu_mask.build(library.parent) == library


def test_a_machine_without_a_compiler_is_refused(tmp_path, monkeypatch) -> None:
    """Without `cc` the refusal says so and leaves nothing behind."""
    monkeypatch.setenv("PATH", "")
    with pytest.raises(BenchError, match="no C compiler"):
        cpu_mask.build(tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_source_that_does_not_compile_is_refused(tmp_path, monkeypatch) -> None:
    """The compiler's own words are in the refusal, and no library is left."""
    monkeypatch.setattr(cpu_mask, "SOURCE", tmp_path / "cpu_mask.c")
    cpu_mask.SOURCE.write_text("#error no headers\n")
    with pytest.raises(BenchError, match="no headers"):
        cpu_mask.build(tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []
