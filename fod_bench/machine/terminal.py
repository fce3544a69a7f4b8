"""Writing to standard output and standard error: whatever a text holds, no terminal acts on it and no encoding stops it."""

from __future__ import annotations

import codecs
import contextlib
import io
import sys
import unicodedata
from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from fod_bench.text import escaped

_LINES = "\n\t"
_HANDLER = "fod-bench"
UNBROKEN = 10**6
"""Width of what is not cut."""
_SIMPLE = dict(zip("━─═│·•…−–—×±°Δλ→↓↑≤≥", "---|...---x~*dl>v^<>", strict=True))
"""One character for one, so that columns stay in line. For others an accent is dropped, or `?` stands."""


def accept_any_encoding() -> None:
    """Have standard output and standard error write a simpler character for one that their encoding lacks, not fail."""
    codecs.register_error(_HANDLER, _simpler)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            with contextlib.suppress(ValueError, OSError):  # closed, or somebody else's
                stream.reconfigure(errors=_HANDLER)


def say(text: object = "", *, err: bool = False, nl: bool = True) -> None:
    """Print text on standard output, or standard error; control characters in it are escaped, lines stay."""
    # click's echo writes UTF-8 to a stream that is said to take ASCII only.
    print(escaped(str(text), _LINES), file=sys.stderr if err else sys.stdout, end="\n" if nl else "")


class SafeConsole(Console):
    """A rich console that escapes control characters of what it shows; rich's own control codes are no text."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            if segment.control or segment.text.isprintable():
                yield segment
            else:
                yield Segment(escaped(segment.text, _LINES), segment.style)


def show(*renderables: RenderableType) -> None:
    """Print what rich can render on standard output: as wide as a terminal is, elsewhere unbroken, so that no path is cut."""
    console = SafeConsole(highlight=False)
    if console.is_terminal:
        console.print(*renderables, sep="\n")
    else:
        say(unbroken(*renderables))


def unbroken(*renderables: RenderableType) -> str:
    """The text of what rich can render, each line as long as it has to be and without spaces at its end."""
    console = SafeConsole(highlight=False, width=UNBROKEN, force_terminal=False, no_color=True)
    with console.capture() as capture:
        for renderable in renderables:
            console.print(renderable)
    return "\n".join(line.rstrip() for line in capture.get().rstrip("\n").split("\n"))


def prose_width(width: int) -> int:
    """Width at which text is wrapped on standard output: `width` on a terminal, elsewhere none, so that no path is cut."""
    return width if SafeConsole().is_terminal else UNBROKEN


def _simpler(error: UnicodeError) -> tuple[str | bytes, int]:
    """A codec's handler of errors: simpler characters, as many."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lost = error.object[error.start : error.end]
    return "".join(map(_simple, lost)).encode(error.encoding, "replace"), error.end


def _simple(character: str) -> str:
    first = unicodedata.normalize("NFKD", character)[:1]
    return _SIMPLE.get(character) or (first if first.isascii() else "?")
