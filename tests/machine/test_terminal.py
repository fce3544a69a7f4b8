"""What reaches a terminal, a log or a file: no control character raw, and something for every encoding."""

from __future__ import annotations

import io
import sys
import unicodedata

import pytest
from rich.table import Table
from rich.text import Text

from fod_bench.machine.terminal import SafeConsole, accept_any_encoding, say
from fod_bench.text import escaped, has_control, shortened

BAD = "a\x1b[31mb\u202ec\rd\x00e\udcfff\u2028g\u200bh\x9bi"


def test_control_characters_are_spelled() -> None:
    assert escaped(BAD) == r"a\x1b[31mb\u202ec\rd\x00e\udcfff\u2028g\u200bh\x9bi"
    assert escaped("one\ntwo\t\x07", "\n\t") == "one\ntwo\t\\x07" and escaped("one\ntwo") == r"one\ntwo"
    for plain in ("Gehäuse", "漢字 λ", "no\xa0break", "👩\u200d🔬", "\\x1b"):
        assert escaped(plain) == plain and not has_control(plain)


def test_every_character_that_a_terminal_acts_on_is_one() -> None:
    raw = [chr(code) for code in range(sys.maxunicode + 1)]
    acted_on = [sign for sign in raw if unicodedata.category(sign) in ("Cc", "Cs", "Zl", "Zp")]
    bidirectional = [sign for sign in raw if unicodedata.bidirectional(sign) in ("LRE", "RLE", "LRO", "RLO", "PDF")]
    isolates = [sign for sign in raw if unicodedata.bidirectional(sign) in ("LRI", "RLI", "FSI", "PDI")]
    for sign in acted_on + bidirectional + isolates:
        assert has_control(sign) and not has_control(sign, keep=sign) and escaped(sign).isascii()


def test_long_texts_keep_both_ends() -> None:
    assert shortened("x" * 200) == "x" * 200
    short = shortened("begin" + "x" * 1000 + "end")
    assert len(short) < 210 and short.startswith("begin") and short.endswith("end") and "…" in short


def test_a_console_escapes_what_it_shows_and_keeps_its_own_codes() -> None:
    stream = io.StringIO()
    console = SafeConsole(file=stream, force_terminal=True, color_system="standard", width=80)
    console.print(Text("x\x1b[2J", style="red"), "[bold]\u202ey[/bold]")
    table = Table("head\x07")
    table.add_row(Text("cell\x1b]0;title"))
    console.print(table)
    shown = stream.getvalue()
    assert "\x1b[31m" in shown and r"x\x1b[2J" in shown and r"\u202ey" in shown
    assert not any(sign in shown for sign in ("\x1b[2J", "\u202e", "\x07", "\x1b]"))


TABLE = "a漢b λ 0.5 ±°━ é€ ⅷ Δ"


@pytest.mark.parametrize(
    ("encoding", "written"), [("ascii", "a?b l 0.5 ~*- e? v d"), ("cp1252", "a?b l 0.5 ±°- é€ v d"), ("utf-8", TABLE)]
)
def test_every_encoding_gets_something_of_the_same_width(
    monkeypatch: pytest.MonkeyPatch, encoding: str, written: str
) -> None:
    content = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(content, encoding))
    accept_any_encoding()
    say(TABLE)
    sys.stdout.flush()
    assert content.getvalue().decode(encoding).splitlines() == [written]


def test_closed_streams_are_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    accept_any_encoding()
    say("nobody reads this")
