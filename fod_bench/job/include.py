"""A job file and the files it includes, read as one document."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fod_bench.errors import JobError
from fod_bench.job.document import Document, Place, Template
from fod_bench.job.schema import Job
from fod_bench.job.yaml_file import Budget, read_document
from fod_bench.schema.problems import KeyPath, Problem, suggest

MAX_BYTES = 1 << 20
MAX_FILES = 200
MAX_INCLUDED_DEPTH = 10


def read_job_file(path: Path) -> tuple[Document, list[Problem]]:
    """The job file at `path`, each path under its `include` replaced by what that file holds.

    Included files that cannot be had leave a problem at the entry that names them, which stays as it is.

    Raises:
        JobError: `path` itself cannot be read or is no mapping.
    """
    reader = _Reader()
    data = reader.read(path, (), ())
    return Document(data, reader.places), reader.problems


def included_jobs(data: Any, at: KeyPath = ()) -> Iterator[tuple[KeyPath, dict[Any, Any]]]:
    """The job `data` and, level by level, those it includes, as far as they are mappings, each with its path."""
    if not isinstance(data, dict):
        return
    yield at, data
    entries = data.get("include")
    for index, entry in enumerate(entries if isinstance(entries, list) else ()):
        yield from included_jobs(entry, (*at, "include", index))


class _Reader:
    """Gathers the places of all files, keys of an included one below the entry that names it."""

    def __init__(self) -> None:
        self.places: dict[KeyPath, Place] = {}
        self.problems: list[Problem] = []
        self._first: dict[str, Place] = {}  # where each file was named first
        self._files = 0
        self._budget = Budget()

    def read(self, path: Path, at: KeyPath, above: tuple[Path, ...]) -> dict[Any, Any]:
        """The mapping in the file, which stands at `at`; `above` are the files that led to it."""
        if self._files >= MAX_FILES:
            raise JobError(f"more than {MAX_FILES} files are included in all, which is taken for a slip")
        document = read_document(_read_text(path), str(path), self._files, self._budget)
        self._files += 1
        if document.data is None:
            raise JobError(f"{path}: is empty; a job needs at least `name` and `datasets`")
        if not isinstance(document.data, dict):
            kind = "a list" if isinstance(document.data, list) else "a single value"
            raise JobError(f"{path}: holds {kind}; a job is a mapping with the keys {', '.join(Job.model_fields)}")
        self.places |= {(*at, *key): place for key, place in document.places.items()}
        self._include(document.data, at, path.parent, (*above, path))
        return document.data

    def _include(self, job: dict[Any, Any], at: KeyPath, folder: Path, above: tuple[Path, ...]) -> None:
        entries = job.get("include")
        if not isinstance(entries, list):
            return  # refused when the whole is validated, where it is not left out
        for index, entry in enumerate(entries):
            place = (*at, "include", index)
            if isinstance(entry, dict):
                self._include(entry, place, folder, above)
            elif isinstance(entry, Template):
                self.problems.append(Problem(place, "the path of an included file takes no variables; write it out"))
            elif isinstance(entry, str):
                try:
                    entries[index] = self._included(folder / entry, place, above)
                except JobError as error:
                    self.problems.append(Problem(place, str(error)))

    def _included(self, path: Path, at: KeyPath, above: tuple[Path, ...]) -> dict[Any, Any]:
        if len(above) > MAX_INCLUDED_DEPTH:
            raise JobError(f"{path} is included more than {MAX_INCLUDED_DEPTH} files deep")
        real = os.path.realpath(path)
        circle = [os.path.realpath(other) for other in above]
        if real in circle:
            chain = [*above[circle.index(real) :], path]
            raise JobError(f"includes itself: {' → '.join(map(str, chain))}")
        if real in self._first:
            raise JobError(f"{path} is included twice, first in {self._first[real].text}")
        self._first[real] = self.places[at]
        return self.read(path, at, above)


def _read_text(path: Path) -> str:
    content = _read_bytes(path)
    if len(content) > MAX_BYTES:
        raise JobError(f"{path}: is larger than {MAX_BYTES >> 20} MiB, so it is no job file")
    if b"\0" in content:
        raise JobError(f"{path}: is not a text file; a job is YAML in UTF-8")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise JobError(f"{path}:{line}: is not UTF-8 text (byte {error.start}); save it as UTF-8") from None


def _read_bytes(path: Path) -> bytes:
    """The file's content, or its beginning where it is too large. Only a regular file is read: a pipe or a device may never end."""
    try:
        # Without O_NONBLOCK, opening a pipe waits for a writer.
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | getattr(os, "O_NONBLOCK", 0))) as file:
            mode = os.fstat(file.fileno()).st_mode
            if stat.S_ISREG(mode):
                return file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise JobError(_missing(path)) from None
    except IsADirectoryError:
        mode = stat.S_IFDIR
    except OSError as error:
        kinds = (
            (os.path.isdir, stat.S_IFDIR),
            (_is_socket, stat.S_IFSOCK),
        )  # neither opens, each system has its own reason
        mode = next((kind for is_kind, kind in kinds if is_kind(path)), 0)
        if not mode:
            raise JobError(f"{path}: cannot be read: {error.strerror or error}") from None
    raise JobError(f"{path}: is {_KINDS.get(stat.S_IFMT(mode), 'no regular file')}, not a job file")


def _is_socket(path: Path) -> bool:
    try:
        return path.is_socket()
    except OSError:
        return False


_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


def _missing(path: Path) -> str:
    text = f"{path}: no such job file"
    if not path.parent.is_dir():
        return f"{text}; there is no folder {path.parent}"
    beside = sorted(file.name for file in path.parent.glob("*.yaml"))
    return f"{text}; {suggest(path.name, beside)}" if beside else text
