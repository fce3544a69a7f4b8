"""Writing a page's folder: whole or not at all, and never over something that is not a page."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

from fod_bench.errors import FodBenchError, UsageError

MARK = '<meta name="generator" content="fod-bench page">'
"""What the first lines of a page's `index.html` hold: a folder that has it may be replaced."""
_READ = 2000


def check_place(folder: Path, force: bool) -> None:
    """Raises `UsageError` unless a page may be written to `folder`: there is nothing, or an older page and `force`."""
    if not folder.exists() and not folder.is_symlink():
        return
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder: give --out a folder that is not there yet")
    if not any(folder.iterdir()):
        return
    if not is_page(folder):
        raise UsageError(
            f"{folder} holds something that is no page of fod-bench, and stays as it is: give --out a folder that is not there yet"
        )
    if not force:
        raise UsageError(
            f"{folder} holds a page already, which is kept: give --force to replace it, or --out another folder"
        )


def is_page(folder: Path) -> bool:
    """Whether a folder is a page that this program wrote."""
    try:
        with (folder / "index.html").open("rb") as file:
            return MARK.encode() in file.read(_READ)
    except OSError:
        return False


def write_whole(folder: Path, files: Iterable[tuple[str, bytes]], force: bool) -> Path:
    """Write all files into a folder beside `folder`, then give it that name; the path is returned.

    Whoever looks at `folder` sees nothing, or what was there, or the whole page. What fails, a full disk included, leaves nothing
    behind. Raises `FodBenchError` for a place that cannot be written, and as `check_place`.
    """
    check_place(folder, force)
    place = folder.resolve()
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(dir=place.parent, prefix=f".{place.name}."))
    except OSError as error:
        raise _not_written(folder, error) from error
    try:
        for name, content in files:
            _put(folder, made / name, content)
        check_place(folder, force)
        try:
            made.chmod(0o755)
            _exchange(made, place)
        except OSError as error:
            raise _not_written(folder, error) from error
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return folder


def _put(folder: Path, path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    except OSError as error:
        raise _not_written(folder, error) from error


def _exchange(made: Path, place: Path) -> None:
    """Give what was made its name; what had it is moved away first, and back where that fails."""
    if not place.exists():
        made.rename(place)
        return
    beside = Path(tempfile.mkdtemp(dir=place.parent, prefix=f".{place.name}."))
    old = beside / "old"
    place.rename(old)
    try:
        made.rename(place)
    except BaseException:
        old.rename(place)
        beside.rmdir()
        raise
    shutil.rmtree(beside, ignore_errors=True)


def _not_written(folder: Path, error: OSError) -> FodBenchError:
    return FodBenchError(
        f"the page cannot be written to {folder}: {error.strerror or error}; nothing of it is left, and what was there is as it was"
    )
