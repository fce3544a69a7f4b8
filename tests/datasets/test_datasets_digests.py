"""Digests of files are remembered, and never for a file that is another one by now."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from fod_bench.datasets import digests as module
from fod_bench.datasets import open_category
from fod_bench.datasets.digests import file_digests, file_digests_anew
from tests.helpers.dataset_builders import folder_category, mask

LONG_AGO = 1_000_000_000  # ns; the time stamp of every file, as after unpacking a reproducible archive


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own, and an hour gone by since the files were written, so that they are remembered."""
    place = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(place))
    clock(monkeypatch, 3600)
    return place / "fod-bench/digests"


def clock(monkeypatch: pytest.MonkeyPatch, ahead: float) -> None:
    monkeypatch.setattr(module.time, "time_ns", lambda: int((time.time() + ahead) * 1e9))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six files of one size and time stamp in folders `a` and `b`, and a link `c` to `b`."""
    for name in ("a/1", "a/2", "a/3", "b/1", "b/2", "b/3"):
        write(tmp_path / "set" / name, name)
    (tmp_path / "set/c").symlink_to("b")
    return tmp_path / "set"


def without_time_of_change(file: int) -> SimpleNamespace:
    status = os.stat(file)
    names = ("st_size", "st_mtime_ns", "st_ino", "st_dev")
    return SimpleNamespace(st_ctime_ns=LONG_AGO, **{name: getattr(status, name) for name in names})


def write(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    os.utime(path, ns=(LONG_AGO, LONG_AGO))


def exchange(one: Path, other: Path) -> None:
    one.rename(one.with_name("aside"))
    other.rename(one)
    one.with_name("aside").rename(other)


def link_over(folder: Path) -> None:
    (folder / "a/1").unlink()
    os.link(folder / "a/2", folder / "a/1")


def point_elsewhere(folder: Path) -> None:
    (folder / "c").unlink()
    (folder / "c").symlink_to("a")


def paths_in(folder: Path) -> list[Path]:
    return [folder / name / number for name in "abc" for number in "123"]


def read_slowly(folder: Path) -> list[str]:
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths_in(folder)]


CHANGES: dict[str, Callable[[Path], object]] = {
    "nothing": lambda folder: None,
    "two files exchanged": lambda folder: exchange(folder / "a/1", folder / "a/2"),
    "two folders exchanged": lambda folder: exchange(folder / "a", folder / "b"),
    "the folder replaced by another": lambda folder: exchange(folder, folder.parent / "other"),
    "another file moved over it": lambda folder: (
        (folder / "a/1").replace(folder / "a/2") and write(folder / "a/1", "new")
    ),
    "a hard link in its place": link_over,
    "new content, the time set back": lambda folder: write(folder / "b/3", "B/3"),
    "a link to another folder": point_elsewhere,
}


@pytest.mark.parametrize("coarse", [False, True], ids=["fine times", "coarse times"])
@pytest.mark.parametrize("change", CHANGES)
def test_what_is_another_file_is_read_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch, change: str, coarse: bool
) -> None:
    """All files have one size and one time of modification, before and after; one time of change where times are coarse."""
    if coarse:
        monkeypatch.setattr(module.os, "fstat", without_time_of_change)
        if change == "new content, the time set back":
            pytest.skip("nothing shows it there but the content")
    for name in ("a/1", "a/2", "a/3", "b/1", "b/2", "b/3"):
        write(folder.parent / "other" / name, name.upper())
    (folder.parent / "other/c").symlink_to("a")
    before = file_digests(folder, paths_in(folder))
    assert before == read_slowly(folder)
    CHANGES[change](folder)
    now = file_digests(folder, paths_in(folder))
    assert now == read_slowly(folder) and (now == before) == (change == "nothing")


def test_a_link_to_another_data_set_is_noticed(folder: Path) -> None:
    write(folder.parent / "other/a/1", "A/1")
    link = folder.parent / "link"
    link.symlink_to("set")
    (before,) = file_digests(link, [link / "a/1"])
    link.unlink()
    link.symlink_to("other")
    (now,) = file_digests(link, [link / "a/1"])
    assert now != before and now == hashlib.sha256(b"A/1").hexdigest()


@pytest.mark.parametrize(
    ("ahead", "modified"),
    [(1.0, LONG_AGO), (-3600.0, LONG_AGO), (3600.0, int(2e18))],
    ids=["written a moment ago", "written before the clock was set back", "modified in the future"],
)
def test_what_may_change_unnoticed_is_not_remembered(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, ahead: float, modified: int
) -> None:
    path = folder / "a/1"
    os.utime(path, ns=(modified, modified))
    clock(monkeypatch, ahead)
    file_digests(folder, [path])
    assert not list(cache.glob("*.json"))


def test_a_file_that_changes_while_it_is_read_is_not_remembered(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder / "a/1"

    def slowly(content: bytes) -> object:
        os.utime(path)
        return hashlib.new("sha256", content)

    resolved = hashlib.sha256
    monkeypatch.setattr(
        module.hashlib, "sha256", lambda content: slowly(content) if content == b"a/1" else resolved(content)
    )
    file_digests(folder, [path, folder / "a/2"])
    (stored,) = cache.glob("*.json")
    assert list(json.loads(stored.read_text())["files"]) == ["a/2"]


def test_an_unchanged_file_is_read_once_and_read_anew_when_that_is_asked_for(folder: Path, cache: Path) -> None:
    paths = paths_in(folder)
    before = file_digests(folder, paths)
    (stored,) = cache.glob("*.json")
    content = json.loads(stored.read_text())
    assert len(content["files"]) == 9
    # A digest changed in the cache shows only if the cache, not the file, is asked.
    content["files"]["a/1"][1] = "0" * 64
    stored.write_text(json.dumps(content))
    assert file_digests(folder, paths) == ["0" * 64, *before[1:]]
    assert file_digests_anew(folder, paths) == (before, [folder / "a/1"])
    assert file_digests_anew(folder, paths) == (before, []) and file_digests(folder, paths) == before


@pytest.mark.parametrize(
    "content",
    ["not json", "[]", "null", '{"format": 2}', '{"format": 2, "files": {"a/1": 3}}', '{"format": 2, "files": [1]}'],
)
def test_a_damaged_cache_is_made_anew(folder: Path, cache: Path, content: str) -> None:
    before = file_digests(folder, paths_in(folder))
    (stored,) = cache.glob("*.json")
    whole = stored.read_text()
    stored.write_text(content)
    assert file_digests(folder, paths_in(folder)) == before and stored.read_text() == whole


def test_an_older_cache_that_knew_size_and_time_only_is_not_believed(folder: Path, cache: Path) -> None:
    before = file_digests(folder, paths_in(folder))
    (stored,) = cache.glob("*.json")
    older = {path.relative_to(folder).as_posix(): [3, LONG_AGO, "0" * 64] for path in paths_in(folder)}
    stored.write_text(json.dumps(older))
    assert file_digests(folder, paths_in(folder)) == before


def test_a_mask_exchanged_with_another_changes_the_fingerprint(tmp_path: Path) -> None:
    crack = folder_category(tmp_path) / "ground_truth/crack"
    mask(crack / "001_mask.png").write_bytes((crack / "000_mask.png").read_bytes()[:-1] + b"?")
    for path in tmp_path.rglob("*.png"):
        os.utime(path, ns=(LONG_AGO, LONG_AGO))
    before = open_category("folder", tmp_path, "nut").fingerprint()
    exchange(crack / "000_mask.png", crack / "001_mask.png")
    opened = open_category("folder", tmp_path, "nut")
    assert opened.fingerprint() == opened.fingerprint_anew()[0] != before
