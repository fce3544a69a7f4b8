"""`fod-bench data fetch`: a published data set, from its publisher or a mirror."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Annotated

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from fod_bench.cli.common import Quiet, Verbose, guarded
from fod_bench.errors import UsageError
from fod_bench.machine.terminal import SafeConsole, say
from fod_bench.text import format_bytes

_PLAIN_SECONDS = 15.0
"""Time between two lines in a pipe."""


def set_names() -> list[str]:
    """The data sets that can be fetched."""
    from fod_bench.datasets.fetch import SOURCES

    return list(SOURCES)


@guarded
def fetch(
    name: Annotated[str, typer.Argument(metavar="SET", help="mvtec, btad or mvtec3d.", autocompletion=set_names)],
    accept_licence: Annotated[
        bool, typer.Option("--accept-licence", help="You have read the licence that is shown, and accept it.")
    ] = False,
    to: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Folder that gets SET as a folder of its own; default: $FOD_DATA, or data."
        ),
    ] = None,
    url: Annotated[
        str | None, typer.Option(metavar="URL", help="A mirror's address of the same archive; its checksum must agree.")
    ] = None,
    archive: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The archive, where it is on this machine already.")
    ] = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Download a published data set, compare its checksum, and unpack it; shows its licence first, which has to be accepted.

    Broken off, the same command goes on where it stopped. The folder appears whole or not at all. An archive that is there already
    is taken if its checksum agrees.

    Example: `fod-bench data fetch btad --accept-licence --to data`
    """
    from fod_bench.datasets.fetch import SOURCES
    from fod_bench.datasets.fetch import fetch as fetch_set
    from fod_bench.schema.problems import unknown

    if name not in SOURCES:
        raise UsageError(unknown("data set", name, SOURCES))
    if url is not None and archive is not None:
        raise UsageError("give --url or --archive, not both: an archive that is here is not downloaded")
    source = SOURCES[name]
    target = to or Path(os.environ.get("FOD_DATA") or "data")
    if not accept_licence:
        say(source.terms())
        raise UsageError(
            f"read the licence above; `fod-bench data fetch {name} --accept-licence` accepts it and goes on"
        )
    if not quiet:
        say(source.terms() + "\n", err=True)
    with _Display(quiet) as display:
        fetched = fetch_set(source, target.expanduser(), url=url, archive=archive, reporter=display)
    if fetched.archive is None:
        say(f"{fetched.folder}: is there already, made of this archive", err=True)
    else:
        kept = f"; {fetched.archive} ({format_bytes(fetched.archive.stat().st_size)}) is no longer needed"
        say(f"{fetched.folder}: unpacked{kept}", err=True)
    if not quiet:
        say(f"next      fod-bench data check {fetched.folder} --layout {name}   looks at every image", err=True)


class _Display:
    """A bar for what goes on on a terminal; in a pipe a line when it begins and one now and then."""

    def __init__(self, quiet: bool) -> None:
        console = SafeConsole(stderr=True, highlight=False)
        self._quiet, self._live = quiet, console.is_terminal and not quiet
        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(), DownloadColumn(binary_units=True), TransferSpeedColumn(),
            TimeRemainingColumn(), console=console, disable=not self._live,
        )  # fmt: skip

    def __enter__(self) -> _Display:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def note(self, text: str) -> None:
        if self._live:
            self._bar.console.print(text, markup=False)
        elif not self._quiet:
            say(text, err=True)

    def doing(self, what: str) -> Callable[[int, int | None], None]:
        if self._live:
            task = self._bar.add_task(what.replace("[", r"\["), total=None)
            return lambda done, total: self._bar.update(task, completed=done, total=total)
        self.note(what)
        said = time.monotonic()

        def tell(done: int, total: int | None) -> None:
            nonlocal said
            if time.monotonic() - said >= _PLAIN_SECONDS:
                said = time.monotonic()
                of = f" of {format_bytes(total)}" if total else ""
                self.note(f"{what}: {format_bytes(done)}{of}")

        return tell
