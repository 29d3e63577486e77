"""Memory and CPU limits of one function process: cgroup v1, cgroup v2, or none where neither may be written.

Refuses to pretend: a machine without permission measures unlimited, and every record says `limits: none`.
"""

import os
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
MB_PER_VCPU = 1769  # AWS Lambda, "Configure function memory": 1,769 MB is one vCPU of time
CPU_PERIOD_US = 20_000
VISIBLE_CORES = ((3008, 2), (5307, 3), (7076, 4), (8845, 5))  # (up to MB, cores); observed publicly, not documented
MOST_VISIBLE_CORES = 6


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """One cgroup version: its controllers' folders, and the files that take limits and tell of kills."""

    folders: tuple[Path, ...]
    memory_files: tuple[str, ...]
    set_cpus: Callable[[Path, float | None], None]
    kill_counter: str


def _set_cpus_v1(folder: Path, cpus: float | None) -> None:
    (folder / "cpu.cfs_period_us").write_text(str(CPU_PERIOD_US))
    (folder / "cpu.cfs_quota_us").write_text("-1" if cpus is None else str(round(cpus * CPU_PERIOD_US)))


def _set_cpus_v2(folder: Path, cpus: float | None) -> None:
    quota = "max" if cpus is None else str(round(cpus * CPU_PERIOD_US))
    (folder / "cpu.max").write_text(f"{quota} {CPU_PERIOD_US}")


LAYOUTS: Mapping[str, Layout] = {
    "cgroup-v2": Layout(
        folders=(ROOT,),
        memory_files=("memory.max",),
        set_cpus=_set_cpus_v2,
        kill_counter="memory.events",
    ),
    "cgroup-v1": Layout(
        folders=(ROOT / "cpu", ROOT / "memory"),
        memory_files=("memory.limit_in_bytes", "memory.memsw.limit_in_bytes"),
        set_cpus=_set_cpus_v1,
        kill_counter="memory.oom_control",
    ),
    "none": Layout(folders=(), memory_files=(), set_cpus=lambda folder, cpus: None, kill_counter=""),
}


class Limits:
    """The limits of one process; create, start the process through `command`, then `remove`."""

    def __init__(self, kind: str) -> None:
        """Make the groups of `kind` (a key of `LAYOUTS`); raises `OSError` where that is not permitted."""
        self._layout = LAYOUTS[kind]
        name = f"workbench-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._groups = [folder / name for folder in self._layout.folders]
        for group in self._groups:
            group.mkdir()

    def set_memory(self, memory_mb: int) -> None:
        """Kill the process when it holds more than `memory_mb`; swap does not help it."""
        for name in self._layout.memory_files:
            self._write(name, str(memory_mb * 2**20))
        self._write("memory.swap.max", "0")

    def set_cpus(self, cpus: float | None) -> None:
        """Allow `cpus` cores' worth of time, or all of it."""
        if self._groups:
            self._layout.set_cpus(self._groups[0], cpus)

    def command(self, command: list[str]) -> list[str]:
        """Wrap `command` so that it is inside the groups from its first instruction."""
        joins = "".join(f"echo $$ > {group}/cgroup.procs; " for group in self._groups)
        return ["/bin/sh", "-c", f'{joins}exec "$@"', "sh", *command] if joins else command

    def killed_for_memory(self) -> bool:
        """Whether the kernel has killed a process of these groups for its memory."""
        for group in self._groups:
            counter = group / self._layout.kill_counter
            if counter.exists():
                facts = dict(line.split() for line in counter.read_text().splitlines())
                return facts.get("oom_kill", "0") != "0"
        return False

    def remove(self) -> None:
        """Remove the groups; the kernel needs a moment after the last process has gone."""
        for group in self._groups:
            for _ in range(100):
                try:
                    group.rmdir()
                    break
                except OSError:
                    time.sleep(0.01)

    def _write(self, name: str, text: str) -> None:
        for group in self._groups:
            if (group / name).exists():
                (group / name).write_text(text)


def detect() -> str:
    """The first kind of limits that works here, tried for real."""
    return next(kind for kind in LAYOUTS if _works(kind))


def lambda_cpus(memory_mb: int) -> float:
    """The cores' worth of time that Lambda gives a memory size."""
    return memory_mb / MB_PER_VCPU


def pin(command: list[str], memory_mb: int) -> list[str]:
    """Keep `command` on as many cores as Lambda shows a function of `memory_mb`, where this machine has more."""
    cores = next((cores for limit, cores in VISIBLE_CORES if memory_mb <= limit), MOST_VISIBLE_CORES)
    available = sorted(os.sched_getaffinity(0))
    if len(available) <= cores:
        return command
    return ["taskset", "-c", ",".join(map(str, available[:cores])), *command]


def _works(kind: str) -> bool:
    try:
        limits = Limits(kind)
    except OSError:
        return False
    try:
        limits.set_memory(512)
        limits.set_cpus(1.0)
        return True
    except OSError:
        return False
    finally:
        limits.remove()
