"""Text for people: what a terminal would act on is escaped, what is long is cut."""

from __future__ import annotations

import unicodedata


def counted(number: int, noun: str) -> str:
    """`1 seed`, `2 seeds`, `2 categories`."""
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{number} {noun if number == 1 else plural}"


def format_seconds(seconds: float) -> str:
    """`45 s`, `12 min`, `3.4 h`, `5.1 days`, `42 days` or `2.3 years`."""
    for size, unit, limit in ((1.0, "s", 90.0), (60.0, "min", 90 * 60.0), (3600.0, "h", 48 * 3600.0)):
        if seconds < limit:
            return f"{seconds / size:.1f} {unit}" if unit == "h" else f"{seconds / size:.0f} {unit}"
    days = seconds / 86400
    if days >= 2 * 365:
        return f"{days / 365.25:.1f} years"
    return f"{days:.1f} days" if days < 10 else f"{days:.0f} days"


def format_bytes(size: float) -> str:
    """`512 B`, `1.5 KiB`, `20.0 MiB`, `3.4 GiB` or more."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


_JOINERS = "\u200c\u200d"  # invisible too, but scripts and emoji need them
_CONTROL = ("Cc", "Cs", "Zl", "Zp")


def is_control(character: str) -> bool:
    """Whether a terminal would act on it rather than show it: control characters, line ends, bidirectional overrides, other
    invisible signs, and the halves that stand for bytes which are not UTF-8."""
    kind = unicodedata.category(character)
    return kind in _CONTROL or (kind == "Cf" and character not in _JOINERS)


def has_control(text: str, keep: str = "") -> bool:
    """Whether the text holds a control character that is not one of `keep`."""
    return not text.isprintable() and any(is_control(character) for character in text if character not in keep)


def escaped(text: str, keep: str = "") -> str:
    r"""The text with control characters written out, e.g. `\x1b`, `\u202e`, `\n`; those in `keep` stay."""
    if text.isprintable():
        return text
    return "".join(_spelled(sign) if sign not in keep and is_control(sign) else sign for sign in text)


def _spelled(character: str) -> str:
    if character in "\n\t\r":
        return {"\n": r"\n", "\t": r"\t", "\r": r"\r"}[character]
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def shortened(text: str, limit: int = 200) -> str:
    """The text, its middle left out where it is longer than `limit`."""
    return text if len(text) <= limit else f"{text[: limit * 2 // 3]}…{text[-limit // 3 :]}"
