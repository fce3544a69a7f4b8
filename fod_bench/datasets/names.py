"""Names of files and folders: compared, shown, and matched with what a person wrote."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from fod_bench.text import escaped


def composed(name: str) -> str:
    """The name in composed Unicode (NFC): a letter with an accent is one character, as a keyboard types it."""
    return unicodedata.normalize("NFC", name)


def printable(text: object) -> str:
    """Text that can be printed and stored: bytes of a file's name that are no UTF-8 become `\\udcXX`."""
    return str(text).encode("utf-8", "backslashreplace").decode()


def not_shown(name: str) -> str:
    """What is wrong with a name that no terminal, log or table could show, and what to do about it."""
    return f"'{escaped(name)}' has control characters, or invisible ones, in its name: rename it"


def meant(word: str, names: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the name nearest to `word`, upper and lower case being the same; empty where none is near."""
    folded = {name.casefold(): name for name in names}
    close = difflib.get_close_matches(word.casefold(), list(folded), n=1)
    return f"; did you mean {folded[close[0]]!r}?" if close else ""


def listed(names: Sequence[str], most: int = 5) -> str:
    """The first of the names in a list, the rest counted."""
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")


def counted(number: int, what: str) -> str:
    """`1 image`, `2 images`."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def is_pattern(entry: str) -> bool:
    """Whether `*`, `?` or `[` make it stand for several names."""
    return any(sign in entry for sign in "*?[")


def matches(name: str, entry: str) -> bool:
    """Whether the path `name` is the entry or fits its pattern, part by part: `*` stands for no `/`."""
    parts, patterns = composed(name).split("/"), composed(entry).strip("/").split("/")
    return len(parts) == len(patterns) and all(map(fnmatchcase, parts, patterns))
