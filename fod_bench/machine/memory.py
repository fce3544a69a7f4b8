"""How much memory there is, so that what cannot fit is refused before it starts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_CGROUP = Path("/sys/fs/cgroup")


def available_memory(device: torch.device) -> int | None:
    """Bytes that can still be taken on `device`: the machine's or, where it is less, the container's; None if not known."""
    if device.type == "cuda":
        import torch

        return int(torch.cuda.mem_get_info(device)[0])
    return host_memory()


def host_memory() -> int | None:
    """The same of this machine's own memory. Needs no torch."""
    found = [free for free in (_machine(), _container()) if free is not None]
    return min(found, default=None)


def _machine(info: Path = Path("/proc/meminfo")) -> int | None:
    try:
        lines = info.read_text().splitlines()
    except OSError:  # not Linux
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)


def _container(group: Path = _CGROUP) -> int | None:
    """What the control group (version 2) leaves: pages of files that it could drop count as free."""
    try:
        limit, used = (group / "memory.max").read_text().strip(), int((group / "memory.current").read_text())
        kinds = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return None
    return None if limit == "max" else max(0, int(limit) - used + int(kinds.get("inactive_file", 0)))
