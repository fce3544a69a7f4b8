"""Pages that are made from the program are what it makes now, and messages that pages quote are ones that it has."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from fod_bench.report.tables_page import tables_markdown

ROOT = Path(__file__).parents[2]
TROUBLES = (ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8")


def texts_of(code: str) -> list[str]:
    """All texts in a module that it may say, without what is put into them when it runs: no docstrings, of whatever they are."""
    nodes = list(ast.walk(ast.parse(code)))
    docstrings = {node.value for node in nodes if isinstance(node, ast.Expr)}
    found = []
    for node in nodes:
        if isinstance(node, ast.JoinedStr):
            parts = (part.value if isinstance(part, ast.Constant) else "\0" for part in node.values)
            found.append("".join(map(str, parts)))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in docstrings:
            found.append(node.value)
    return found


@cache
def texts() -> str:
    """All texts in the program."""
    modules = (ROOT / "fod_bench").rglob("*.py")
    return "\1".join(text for path in modules for text in texts_of(path.read_text(encoding="utf-8")))


def test_a_docstring_is_no_message() -> None:
    code = '''"""Module."""
LIMIT = "a limit"
"""Of something."""
class A:
    """Class."""
    def say(self, name):
        """Function."""
        raise ValueError(f"no {name} here")
'''
    assert sorted(texts_of(code)) == [" here", "a limit", "no ", "no \0 here"]


def test_the_page_of_tables_is_what_the_tables_say() -> None:
    assert (ROOT / "docs/tables.md").read_text(encoding="utf-8") == tables_markdown(), "make docs writes it anew"


def test_every_trouble_of_a_run_has_its_section() -> None:
    page = (ROOT / "docs/running.md").read_text(encoding="utf-8")
    table = page.partition("## What goes wrong, and what then")[2].partition("\n## ")[0]
    troubles = [line.split(" | ")[0].removeprefix("| ") for line in table.splitlines() if line.startswith("| ")][1:]
    assert len(troubles) > 20
    headings = re.findall(r"^### (.*)$", TROUBLES, flags=re.MULTILINE)
    assert [trouble for trouble in troubles if trouble not in headings] == []


@pytest.mark.parametrize("quoted", re.findall(r"^ {4}(.+)$", TROUBLES, flags=re.MULTILINE))
def test_messages_are_ones_that_the_program_has(quoted: str) -> None:
    program = texts()
    pieces = [piece.strip(" :;.()'`") for piece in quoted.split("…")]
    system = (
        "No space left on device",
        "datasets.mvtec.categroies: unknown key; did you mean categories?",
        "3 times",
        "sha256",
    )
    for piece in pieces:
        if len(piece) < 4 or any(word in piece for word in system):
            continue
        assert piece in program, f"{piece!r} of {quoted!r} is in no message"


def test_the_readme_has_images_that_are_small() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = re.findall(r"!\[[^\]]+\]\((docs/images/[^)]+)\)", readme)
    assert len(shown) >= 3 and "docs/images/report.png" in shown
    for name in shown:
        assert (ROOT / name).stat().st_size < 200_000
