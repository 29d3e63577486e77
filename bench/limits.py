"""Memory and CPU limits of one function process: cgroup v1, cgroup v2, or none where neither may be written.

Refuses to pretend: a machine without permission measures unlimited, and every record says `limits: none`.
"""

import os
import subprocess
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
MB_PER_VCPU = 1769  # AWS Lambda, "Configure function memory": 1,769 MB is one vCPU of time
CPU_PERIOD_US = 20_000  # Linux's default of 100 ms would let a short request run unthrottled
VISIBLE_CORES = ((3008, 2), (5307, 3), (7076, 4), (8845, 5))  # (up to MB, cores); observed publicly, not documented
MOST_VISIBLE_CORES = 6
REMOVE_TRIES = 100


def _control(path: Path, text: str) -> None:
    """Write to a control file that the kernel made; where it is no cgroup, `FileNotFoundError` and not a new file."""
    with path.open("r+") as file:
        file.write(text)


def _set_cpus_v1(folder: Path, cpus: float) -> None:
    _control(folder / "cpu.cfs_period_us", str(CPU_PERIOD_US))
    _control(folder / "cpu.cfs_quota_us", str(round(cpus * CPU_PERIOD_US)))


def _set_cpus_v2(folder: Path, cpus: float) -> None:
    _control(folder / "cpu.max", f"{round(cpus * CPU_PERIOD_US)} {CPU_PERIOD_US}")


def _limit_memory_v1(folder: Path, size_bytes: int) -> None:
    _control(folder / "memory.limit_in_bytes", str(size_bytes))
    _control(folder / "memory.swappiness", "0")


def _limit_memory_v2(folder: Path, size_bytes: int) -> None:
    _control(folder / "memory.max", str(size_bytes))
    if (folder / "memory.swap.max").exists():
        _control(folder / "memory.swap.max", "0")


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """One cgroup version: the folders its groups are made in, how limits are set, and the file that counts kills."""

    cpu: Path
    memory: Path
    set_cpus: Callable[[Path, float], None]
    limit_memory: Callable[[Path, int], None]
    kill_counter: str


LAYOUTS: Mapping[str, Layout | None] = {
    "cgroup-v2": Layout(
        cpu=ROOT, memory=ROOT, set_cpus=_set_cpus_v2, limit_memory=_limit_memory_v2, kill_counter="memory.events"
    ),
    "cgroup-v1": Layout(
        cpu=ROOT / "cpu",
        memory=ROOT / "memory",
        set_cpus=_set_cpus_v1,
        limit_memory=_limit_memory_v1,
        kill_counter="memory.oom_control",
    ),
    "none": None,
}


class Limits:
    """The limits of one process: create, start the process through `command`, end it, then `remove`."""

    def __init__(self, kind: str, memory_mb: int) -> None:
        """Make the groups of `kind` (a key of `LAYOUTS`) and limit memory, swap excluded; `OSError` if not permitted."""
        self._layout = LAYOUTS[kind]
        self._groups: list[Path] = []
        if self._layout:
            name = f"workbench-{os.getpid()}-{uuid.uuid4().hex[:8]}"
            self._cpu, self._memory = self._layout.cpu / name, self._layout.memory / name
            self._groups = sorted({self._cpu, self._memory})
            try:
                for group in self._groups:
                    group.mkdir()
                self._layout.limit_memory(self._memory, memory_mb * 2**20)
            except OSError:
                self.remove()
                raise

    def set_cpus(self, cpus: float) -> None:
        """Allow `cpus` cores' worth of time from now on."""
        if self._layout:
            self._layout.set_cpus(self._cpu, cpus)

    def command(self, command: list[str]) -> list[str]:
        """Wrap `command` so that it is inside the groups from its first instruction."""
        joins = "".join(f"echo $$ > {group}/cgroup.procs && " for group in self._groups)
        return ["/bin/sh", "-c", f'{joins}exec "$@"', "sh", *command] if joins else command

    def killed_for_memory(self) -> bool:
        """Whether the kernel has killed a process of these groups for its memory."""
        if not self._layout:
            return False
        counts = (self._memory / self._layout.kill_counter).read_text().splitlines()
        return dict(line.split() for line in counts).get("oom_kill", "0") != "0"

    def remove(self) -> None:
        """Remove the groups; the kernel needs a moment after the last process has gone."""
        for group in self._groups:
            for _ in range(REMOVE_TRIES):
                try:
                    group.rmdir()
                    break
                except FileNotFoundError:
                    break
                except OSError:
                    time.sleep(0.01)


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
        limits = Limits(kind, memory_mb=512)
    except OSError:
        return False
    try:
        limits.set_cpus(1.0)
        joined = subprocess.run(limits.command(["true"]), stderr=subprocess.DEVNULL)
        return joined.returncode == 0
    except OSError:
        return False
    finally:
        limits.remove()
