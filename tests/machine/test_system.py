"""What differs between operating systems, and how many cores there are for this process."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import fod_bench
from fod_bench.errors import FodBenchError
from fod_bench.machine import system
from fod_bench.machine.system import cores
from fod_bench.store import open_store

DIFFERS = {"fcntl", "posix_fallocate", "memfd_create", "sched_getaffinity", "cpu_count", "process_cpu_count"}
"""What one system has and another lacks, or counts otherwise."""


def names_in(path: Path) -> Iterator[object]:
    """Whatever a module may call something by, as a name or as a text."""
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.alias(name=name) | ast.Name(id=name) | ast.Attribute(attr=name):
                yield name
            case ast.ImportFrom(module=name) | ast.Constant(value=name):
                yield name


def test_what_differs_between_systems_is_asked_of_them_in_one_place() -> None:
    package = Path(fod_bench.__file__).parent
    found = {str(path.relative_to(package)) for path in package.rglob("*.py") if DIFFERS.intersection(names_in(path))}
    assert found == {"machine/system.py"}


def bound_to(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(count)), raising=False)


@pytest.mark.parametrize(
    ("membership", "files", "expected"),
    [
        ("0::/\n", {}, 16),
        ("0::/\n", {"cpu_max": "max 100000"}, 16),
        ("0::/\n", {"cpu_max": "300000 100000"}, 3),
        ("0::/\n", {"cpu_max": "50000 100000"}, 1),
        ("0::/\n", {"cpu_max": "250000 100000"}, 2),
        ("0::/\n", {"cpu_max": "9900000 100000"}, 16),
        ("0::/\n", {"cpu_max": "nonsense"}, 16),
        ("0::/a/b\n", {"a__b__cpu_max": "max 100000", "a__cpu_max": "400000 100000"}, 4),
        ("0::/a/b\n", {"a__b__cpu_max": "200000 100000", "a__cpu_max": "400000 100000"}, 2),
        ("0::/outside/the/container\n", {"cpu_max": "500000 100000"}, 5),
        ("1:cpu:/x\n", {"cpu__x__cpu_cfs_quota_us": "150000", "cpu__x__cpu_cfs_period_us": "50000"}, 3),
        ("1:cpu:/\n", {"cpu__cpu_cfs_quota_us": "-1", "cpu__cpu_cfs_period_us": "100000"}, 16),
        ("2:memory:/m\n1:cpu,cpuacct:/\n", {"cpu,cpuacct__cpu_cfs_quota_us": "600000"}, 16),
        (
            "1:cpu,cpuacct:/\n",
            {"cpu,cpuacct__cpu_cfs_quota_us": "600000", "cpu,cpuacct__cpu_cfs_period_us": "100000"},
            6,
        ),
    ],
)
def test_cores_are_those_that_groups_grant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, membership: str, files: dict[str, str], expected: int
) -> None:
    bound_to(16, monkeypatch)
    for name, content in files.items():
        path = tmp_path / "cgroup" / name.replace("__", "/").replace("cpu_max", "cpu.max").replace("cpu_cfs", "cpu.cfs")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content + "\n")
    (tmp_path / "membership").write_text(membership)
    assert cores(tmp_path / "cgroup", tmp_path / "membership") == expected
    bound_to(2, monkeypatch)
    assert cores(tmp_path / "cgroup", tmp_path / "membership") == min(2, expected)


def test_cores_without_any_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 7)
    assert cores(tmp_path, tmp_path / "none") == 7
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert cores(tmp_path, tmp_path / "none") == 1


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system does not bind processes")
def test_a_process_bound_to_one_core_counts_one() -> None:
    bind = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})"
    script = f"{bind}; from fod_bench.machine.system import cores; print(cores())"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, check=True).stdout.strip() == b"1"


def test_without_a_call_that_takes_room_on_disk_a_file_grows_as_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on macOS."""
    monkeypatch.delattr(os, "posix_fallocate", raising=False)
    with (tmp_path / "file").open("wb") as file:
        system.reserve(file, 5000)
        assert os.fstat(file.fileno()).st_size == 0
        file.write(b"content")
    assert (tmp_path / "file").read_bytes() == b"content"


def test_without_locks_a_store_in_a_folder_says_so_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system, "fcntl", None)
    with pytest.raises(FodBenchError, match="a store in a folder needs the file locks of Linux and macOS") as caught:
        open_store(str(tmp_path / "store"))
    assert "\n" not in str(caught.value) and "WSL" in str(caught.value)


def test_the_package_is_imported_where_there_are_no_unix_calls() -> None:
    """As on Windows: no fcntl, none of these functions."""
    script = """
import importlib, os, signal, sys
for module in ("fcntl", "resource", "pwd", "grp", "termios"):
    sys.modules[module] = None
import tempfile, subprocess
unix = ((os, "sched_getaffinity posix_fallocate memfd_create fork killpg getuid"), (signal, "pthread_sigmask SIGKILL"))
for holder, names in unix:
    for name in names.split():
        if hasattr(holder, name):
            delattr(holder, name)
rooms = "cli.app store store.folder store.cache datasets job plan report records.claims records.upkeep runs.status machine.system"
for name in rooms.split():
    importlib.import_module(f"fod_bench.{name}")
from fod_bench.machine.system import cores, memory_file
with memory_file() as file:
    file.write(b"content"); file.seek(0)
    print(cores() >= 1, file.read())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "True b'content'\n"), done.stderr
