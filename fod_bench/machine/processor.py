"""What the operating system tells of the processor, without asking any library of numbers."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import NamedTuple


class Processor(NamedTuple):
    """The first core; empty where the system does not tell."""

    vendor: str = ""
    """`GenuineIntel`, `AuthenticAMD`."""
    family: str = ""
    flags: frozenset[str] = frozenset()
    """Abilities, as Linux names them, such as `avx512f` or `amx_bf16`."""


@cache
def processor(cpu_info: Path = Path("/proc/cpuinfo")) -> Processor:
    """The processor that Linux describes in this file."""
    try:
        first = cpu_info.read_text().split("\n\n", 1)[0]
    except OSError:  # not Linux
        return Processor()
    about = dict(line.partition(":")[::2] for line in first.replace("\t", "").replace(": ", ":").splitlines())
    return Processor(about.get("vendor_id", ""), about.get("cpu family", ""), frozenset(about.get("flags", "").split()))


def has_gpu_driver() -> bool:
    """Whether the system has a driver of NVIDIA's, or passes one on (WSL): torch may then find a GPU."""
    return Path("/proc/driver/nvidia/version").exists() or Path("/dev/dxg").exists()
