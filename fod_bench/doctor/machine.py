"""Python, the packages, the machine, torch and its GPUs."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from fod_bench import __version__
from fod_bench.doctor.finding import Finding
from fod_bench.errors import FodBenchError
from fod_bench.machine.system import NVIDIA_DRIVER, cores, require_file_locks
from fod_bench.text import counted, format_bytes

_PACKAGE = "fod-bench"
_INSTALL = "pip install --upgrade fod-bench, or in its repository `make setup`"
_TORCH_SECONDS = 90.0
"""Importing torch takes seconds, and on a busy machine a minute."""
_TORCH = """
import json, torch
there = torch.cuda.is_available()
gpus = [(torch.cuda.get_device_name(n), torch.cuda.get_device_properties(n).total_memory) for n in range(torch.cuda.device_count())]
print(json.dumps({"version": torch.__version__, "cuda": torch.version.cuda, "gpus": gpus if there else []}))
"""
_LITTLE_MEMORY = 4 * 2**30
_LITTLE_DISK = 5 * 2**30


def python() -> Iterator[Finding]:
    """The interpreter."""
    from packaging.specifiers import SpecifierSet

    said = f"{platform.python_version()}, {sys.executable}; fod-bench {__version__}"
    try:
        needed = metadata.metadata(_PACKAGE)["Requires-Python"] or ""
    except metadata.PackageNotFoundError:
        needed = ""  # nothing says so
    fits = SpecifierSet(needed).contains(platform.python_version(), prereleases=True)
    yield Finding("Python", "ok" if fits else "missing", said, "" if fits else f"Python {needed} is needed")
    try:
        require_file_locks("a run")
    except FodBenchError as error:
        yield Finding("Python", "missing", str(error))


def packages() -> Iterator[Finding]:
    """What is installed of what is declared, and of what is optional."""
    from packaging.requirements import Requirement

    try:
        declared = [Requirement(text) for text in metadata.requires(_PACKAGE) or []]
    except metadata.PackageNotFoundError:
        yield Finding("packages", "note", "fod-bench itself is not installed: it runs from its folder", _INSTALL)
        return
    faults, optional = [], dict[str, list[str]]()
    needed = [one for one in declared if one.marker is None or one.marker.evaluate({"extra": ""})]
    for one in needed:
        if fault := _lacking(one.name, str(one.specifier)):
            faults.append(fault)
    for extra in metadata.metadata(_PACKAGE).get_all("Provides-Extra") or []:
        wanted = [one for one in declared if one not in needed and one.marker and one.marker.evaluate({"extra": extra})]
        if extra != "dev" and (lacks := [one.name for one in wanted if _lacking(one.name, str(one.specifier))]):
            optional[extra] = lacks
    if faults:
        yield Finding("packages", "missing", "; ".join(faults), _INSTALL)
    else:
        yield Finding("packages", "ok", f"all {len(needed)} that are needed are there")
    for extra, lacks in optional.items():
        yield Finding(
            "packages", "note", f"optional, not there: {', '.join(lacks)}", f"pip install 'fod-bench[{extra}]'"
        )


def _lacking(name: str, specifier: str) -> str:
    """What is wrong with an installed package; empty where nothing is."""
    from packaging.specifiers import SpecifierSet

    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        return f"{name} is not there"
    fits = SpecifierSet(specifier).contains(version, prereleases=True)
    return "" if fits else f"{name} is {version}, needed is {specifier}"


def machine() -> Iterator[Finding]:
    """Cores, memory, room on the disk."""
    memory = _memory()
    said = f"{platform.system()} {platform.machine()}, {counted(cores(), 'core')} to use"
    if memory is not None:
        said += f", {format_bytes(memory)} of memory free"
    little = memory is not None and memory < _LITTLE_MEMORY
    yield Finding(
        "machine", "note" if little else "ok", said, "a worker takes 1 to 3 GiB: `--workers 1`" if little else ""
    )
    free = shutil.disk_usage(Path()).free
    room = free > _LITTLE_DISK
    said = f"{format_bytes(free)} free on the disk of this folder"
    yield Finding("machine", "ok" if room else "note", said, "" if room else "features of a data set take gigabytes")


def _memory() -> int | None:
    """Bytes of memory that can still be taken; None where the system does not tell."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:  # not Linux
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)


def torch(driver: Path = NVIDIA_DRIVER, seconds: float = _TORCH_SECONDS) -> Iterator[Finding]:
    """PyTorch and the GPUs that it sees, asked in a process of its own: a build that does not fit the machine ends it."""
    try:
        done = subprocess.run([sys.executable, "-c", _TORCH], capture_output=True, text=True, timeout=seconds)
    except subprocess.TimeoutExpired:
        yield Finding(
            "torch", "missing", f"cannot be imported within {seconds:.0f} s", "is the disk or the machine busy?"
        )
        return
    lines = done.stdout.splitlines()
    if done.returncode or not lines:
        said = done.stderr.strip().splitlines() or [f"ended with {done.returncode}"]
        yield Finding(
            "torch", "missing", f"cannot be imported: {said[-1]}", "see https://pytorch.org/get-started/locally/"
        )
        return
    told = json.loads(lines[-1])
    build = f"CUDA {told['cuda']}" if told["cuda"] else "no CUDA"
    yield Finding("torch", "ok", f"{told['version']} ({build})")
    for name, size in told["gpus"]:
        yield Finding("GPU", "ok", f"{name}, {format_bytes(size)}")
    if told["gpus"]:
        return
    if driver.exists() and not told["cuda"]:
        remedy = "PyTorch's build for CUDA: https://pytorch.org/get-started/locally/"
        yield Finding("GPU", "note", "there is an NVIDIA driver, and PyTorch is built without CUDA", remedy)
    elif driver.exists():
        remedy = "is the driver new enough for it? `nvidia-smi`; CUDA_VISIBLE_DEVICES hides GPUs"
        yield Finding(
            "GPU", "note", f"there is an NVIDIA driver, and PyTorch with CUDA {told['cuda']} finds no GPU", remedy
        )
    else:
        yield Finding(
            "GPU",
            "note",
            "none: everything runs on the processor, large jobs for long",
            "`fod-bench plan JOB` says how long",
        )
