"""A page's folder: whole or not there, never over something else."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest

from fod_bench.errors import FodBenchError, UsageError
from fod_bench.report.page.folder import MARK, is_page, write_whole

INDEX = f"<!doctype html>{MARK}new".encode()


def files(stop: int = 9) -> Iterator[tuple[str, bytes]]:
    for number in range(5):
        if number == stop:
            raise KeyboardInterrupt
        yield (f"trial/{number}.html", b"x")
    yield "index.html", INDEX


def old_page(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "index.html").write_text(f"<!doctype html>{MARK}old")
    (folder / "gone.html").write_text("old")
    return folder


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_it_is_written_whole(tmp_path: Path) -> None:
    assert write_whole(tmp_path / "a/b", files(), False) == tmp_path / "a/b"
    assert (
        left(tmp_path / "a") == ["b"]
        and left(tmp_path / "a/b") == ["index.html", "trial"]
        and is_page(tmp_path / "a/b")
    )
    assert (tmp_path / "a/b").stat().st_mode & 0o777 == 0o755


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "page").mkdir()
    write_whole(tmp_path / "page", files(), False)
    assert left(tmp_path) == ["page"] and is_page(tmp_path / "page")


@pytest.mark.parametrize("force", [False, True])
def test_a_page_is_kept_unless_it_is_to_be_replaced(tmp_path: Path, force: bool) -> None:
    folder = old_page(tmp_path / "page")
    if force:
        write_whole(folder, files(), True)
        assert left(folder) == ["index.html", "trial"]
    else:
        with pytest.raises(UsageError, match="holds a page already, which is kept: give --force to replace it"):
            write_whole(folder, files(), False)
        assert left(folder) == ["gone.html", "index.html"]
    assert left(tmp_path) == ["page"]


@pytest.mark.parametrize("what", ["folder", "index", "file", "link"])
def test_what_is_no_page_stays_even_where_it_is_to_be_replaced(tmp_path: Path, what: str) -> None:
    place = tmp_path / "mine"
    if what == "file":
        place.write_text("mine")
    elif what == "link":
        place.symlink_to(tmp_path / "nowhere")
    else:
        place.mkdir()
        (place / ("index.html" if what == "index" else "thesis.tex")).write_text("mine")
    with pytest.raises(UsageError, match="give --out a folder that is not there yet"):
        write_whole(place, files(), True)
    assert left(tmp_path) == ["mine"]


@pytest.mark.parametrize("old", [False, True])
def test_a_full_disk_leaves_what_was_there_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: bool
) -> None:
    folder = old_page(tmp_path / "page") if old else tmp_path / "page"
    write = Path.write_bytes

    def until_full(path: Path, content: bytes) -> int:
        if path.name == "3.html":
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, content)

    monkeypatch.setattr(Path, "write_bytes", until_full)
    with pytest.raises(FodBenchError, match=r"the page cannot be written to .*page: No space left on device"):
        write_whole(folder, files(), True)
    assert left(tmp_path) == (["page"] if old else [])
    assert not old or left(folder) == ["gone.html", "index.html"]


def test_one_that_is_interrupted_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        write_whole(tmp_path / "page", files(stop=3), False)
    assert left(tmp_path) == []


def test_where_the_exchange_fails_the_old_page_is_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = old_page(tmp_path / "page")
    rename = Path.rename

    def not_the_new_one(path: Path, target: Path) -> Path:
        if target == folder and path.name != "old":
            raise OSError(errno.EIO, "Input/output error")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", not_the_new_one)
    with pytest.raises(FodBenchError, match="Input/output error"):
        write_whole(folder, files(), True)
    assert left(tmp_path) == ["page"] and left(folder) == ["gone.html", "index.html"]
