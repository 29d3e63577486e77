"""Facts of the machine a measurement was taken on; figures of two different machines are never mixed."""

import os
import platform
from dataclasses import dataclass
from pathlib import Path

TELLING_FLAGS = ("avx2", "avx512f", "avx_vnni", "avx512_vnni", "amx_int8", "asimddp", "i8mm")


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """What decides how fast a cell runs; `flags` are the CPU features int8 kernels choose by."""

    cpu: str
    cores: int
    memory_mb: int
    flags: tuple[str, ...]
    kernel: str
    architecture: str
    limits: str


def describe(limits: str) -> Machine:
    """Read this machine's facts; `limits` names what enforces memory and CPU (`cgroup-v1`, `cgroup-v2`, `none`)."""
    info = Path("/proc/cpuinfo").read_text()
    present = set(_field(info, "flags").split()) | set(_field(info, "Features").split())
    return Machine(
        cpu=_field(info, "model name") or platform.processor() or "unknown",
        cores=os.cpu_count() or 1,
        memory_mb=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20,
        flags=tuple(flag for flag in TELLING_FLAGS if flag in present),
        kernel=platform.release(),
        architecture=platform.machine(),
        limits=limits,
    )


def _field(info: str, name: str) -> str:
    lines = (line.partition(":") for line in info.splitlines())
    return next((value.strip() for key, _, value in lines if key.strip() == name), "")
