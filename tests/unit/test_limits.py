"""Limits are real where they are claimed."""

import subprocess
import sys
import time
from dataclasses import replace

import pytest

from bench import limits
from bench.limits import LAYOUTS, Limits, detect, lambda_cpus, pin

HOG = [sys.executable, "-c", "hog = b'x' * 2**28"]
SPIN = "import time; start = time.process_time(); end = time.time() + 0.5\nwhile time.time() < end: pass\nprint(time.process_time() - start)"


def run(kind: str, command: list[str], memory_mb: int = 512, cpus: float | None = None) -> tuple[int, bool, str]:
    """Exit code, whether the kernel killed for memory, and output of `command` under limits."""
    group = Limits(kind, memory_mb)
    try:
        if cpus:
            group.set_cpus(cpus)
        done = subprocess.run(group.command(command), capture_output=True, text=True)
        return done.returncode, group.killed_for_memory(), done.stdout
    finally:
        group.remove()


def test_what_is_detected_limits_memory_and_cpu_for_real() -> None:
    """Where a cgroup is claimed, 256 MB in a 64 MB group is killed and a fifth of a core runs a fifth of the time."""
    kind = detect()
    code, killed, _ = run(kind, HOG, memory_mb=64)
    _, _, used_s = run(kind, [sys.executable, "-c", SPIN], cpus=0.2)
    if kind == "none":
        assert (code, killed) == (0, False)
        assert float(used_s) > 0.2
    else:
        assert (code, killed) == (-9, True)
        assert 0.02 < float(used_s) < 0.25


def test_a_plain_folder_is_no_cgroup(tmp_path, monkeypatch) -> None:
    """Where control files do not exist, none are made up and the kind is not claimed."""
    plain = replace(LAYOUTS["cgroup-v2"], cpu=tmp_path, memory=tmp_path)
    monkeypatch.setattr(limits, "LAYOUTS", {"cgroup-v2": plain, "none": None})
    assert detect() == "none"
    assert list(tmp_path.iterdir()) == []


def test_one_vcpu_is_1769_mb() -> None:
    """Lambda's CPU share is proportional to memory, one core at 1,769 MB."""
    assert lambda_cpus(1769) == 1.0
    assert lambda_cpus(3538) == 2.0


@pytest.mark.parametrize(("memory_mb", "cores"), [(1024, 2), (3008, 2), (3009, 3), (7076, 4), (8845, 5), (10240, 6)])
def test_a_function_sees_as_many_cores_as_lambda_shows(monkeypatch, memory_mb, cores) -> None:
    """On a machine with more cores the process is pinned to Lambda's number of them."""
    monkeypatch.setattr("bench.limits.os.sched_getaffinity", lambda _: set(range(64)))
    assert pin(["x"], memory_mb)[2].count(",") == cores - 1


def test_removing_waits_for_the_last_process() -> None:
    """Groups are gone after `remove`, also right after their process was killed."""
    group = Limits(detect(), 512)
    process = subprocess.Popen(group.command(["sleep", "60"]))
    time.sleep(0.1)
    process.kill()
    process.wait()
    group.remove()
    assert not any(folder.exists() for folder in group._groups)
