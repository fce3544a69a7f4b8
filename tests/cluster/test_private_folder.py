"""The folder of a Ray of one's own: where it lies, who may enter it, and that it goes."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from fod_bench.cluster.private_folder import longest_place, private_folder, remove_orphans
from fod_bench.errors import ClusterError
from tests.helpers.commands import alive, children, wait_for

SOCKETS = "r/session_2026-01-31_23-59-59_123456_4194304/sockets/plasma_store"
HOLD = """
import os, subprocess, sys, time
from fod_bench.cluster.private_folder import private_folder
with private_folder(print) as folder:
    (folder / "r").mkdir()
    (folder / "r" / "log").write_text("a line")
    token = {"RAY_AUTH_TOKEN_PATH": f"{folder}/token"}
    child = subprocess.Popen(["sleep", "600"], env=os.environ | token, start_new_session=True, stdout=subprocess.DEVNULL)
    print(folder, child.pid, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty place with a short path, where temporary folders are made."""
    with tempfile.TemporaryDirectory(prefix="p", dir="/tmp") as made:
        monkeypatch.setenv("TMPDIR", made)
        monkeypatch.setattr(tempfile, "tempdir", None)
        monkeypatch.delenv("RAY_TMPDIR", raising=False)
        yield Path(made)


def _told() -> tuple[list[str], Callable[[str], None]]:
    told: list[str] = []
    return told, told.append


def test_it_is_for_this_user_alone_and_goes_with_the_block(place: Path) -> None:
    told, note = _told()
    before = os.umask(0)
    try:
        with private_folder(note) as folder:
            assert folder.parent == place and stat.S_IMODE(folder.stat().st_mode) == 0o700
            assert len(os.fsencode(folder / SOCKETS)) <= 107
            (folder / "r" / "logs").mkdir(parents=True)
            (folder / "r" / "logs" / "raylet.out").write_text("a line")
            (folder / "r" / "latest").symlink_to(folder / "r" / "logs")
    finally:
        os.umask(before)
    assert not list(place.iterdir()) and not told


def test_ray_tmpdir_comes_before_tmpdir_and_is_made(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(place / "r"))
    with private_folder(print) as folder:
        assert folder.parent == place / "r"


@pytest.mark.parametrize("variable", ["TMPDIR", "RAY_TMPDIR"])
def test_a_path_too_long_for_sockets_is_told_and_another_place_used(
    variable: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    just = place / ("x" * (longest_place() - len(str(place)) - 1))
    longer = just.with_name(just.name + "x")
    for path in (just, longer):
        path.mkdir()
    told, note = _told()
    monkeypatch.setenv(variable, str(just))
    with private_folder(note) as folder:
        assert folder.parent == just and len(os.fsencode(folder / SOCKETS)) == 107
    assert not told
    monkeypatch.setenv(variable, str(longer))
    monkeypatch.setattr(tempfile, "tempdir", None)
    with private_folder(note) as folder:
        assert folder.parent == Path("/tmp")
    (line,) = told
    assert f"{longer} is too long" in line and "RAY_TMPDIR" in line and f"at most {longest_place()}" in line


def test_a_place_that_cannot_be_used_is_refused_with_what_to_set(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "file").write_text("no folder")
    monkeypatch.setenv("RAY_TMPDIR", str(place / "file" / "below"))
    with pytest.raises(ClusterError, match="file/below cannot be written; set RAY_TMPDIR"), private_folder(print):
        pass


def test_what_a_killed_run_leaves_is_removed_by_its_guard(place: Path) -> None:
    killed = _holder()
    os.kill(killed.process.pid, signal.SIGKILL)
    killed.process.wait()
    wait_for(lambda: not killed.folder.exists(), "the folder to be removed")
    wait_for(lambda: not alive([killed.child, killed.guard]), "what was started in it to end")


def test_what_is_left_by_a_run_killed_with_its_guard_is_removed_by_the_next_and_nothing_else_is(place: Path) -> None:
    killed, living = _holder(), _holder()
    foreign = [place / "fod-abcdefgh", place / "fod-bench-cache"]
    for folder in foreign:
        folder.mkdir()
        (folder / "lock").write_text("of another program")
    (place / "fod-linkedto").symlink_to(foreign[0])
    for process in (killed.guard, killed.process.pid):
        os.kill(process, signal.SIGKILL)
    killed.process.wait()
    wait_for(lambda: not alive([killed.guard]), "the guard to end")
    assert (killed.folder / "r" / "log").exists() and alive([killed.child])
    with private_folder(print):
        assert not killed.folder.exists() and not alive([killed.child])
        assert (living.folder / "r" / "log").read_text() == "a line", "its run is alive"
        assert all((folder / "lock").exists() for folder in foreign)
    os.kill(living.guard, signal.SIGKILL)
    os.kill(living.process.pid, signal.SIGSTOP)
    remove_orphans(place)
    assert living.folder.exists() and alive([living.child]), "a stopped process is not dead"
    os.kill(living.process.pid, signal.SIGKILL)
    living.process.wait()
    remove_orphans(place)
    assert not living.folder.exists() and not alive([living.child])


class _Holder(NamedTuple):
    """A process that holds such a folder, one that it has started there, and the guard."""

    process: subprocess.Popen[str]
    folder: Path
    child: int
    guard: int


def _holder() -> _Holder:
    process = subprocess.Popen([sys.executable, "-c", HOLD], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    folder, child = process.stdout.readline().split()
    (guard,) = (number for number, command in children(process.pid).items() if "guard.py" in command)
    return _Holder(process, Path(folder), int(child), guard)
