"""What can be relied on from Python: docs/api.md has all that the package offers and that other pages import."""

from __future__ import annotations

import ast
import re
from importlib import import_module
from typing import Any

import pytest

import fod_bench
from tests.helpers.written_commands import ROOT
from tests.helpers.written_python import SNIPPETS, Snippet


def documented() -> list[Any]:
    """What stands in docs/api.md."""
    return [
        resolved(name) for name in re.findall(r"^::: (\S+)", (ROOT / "docs/api.md").read_text(), flags=re.MULTILINE)
    ]


def resolved(name: str) -> Any:
    """A module, or something in one. Raises ImportError or AttributeError."""
    module, _, rest = name.rpartition(".")
    try:
        return import_module(name)
    except ModuleNotFoundError:
        return getattr(import_module(module), rest)


def test_what_the_package_offers_is_what_both_pages_say() -> None:
    known = documented()
    offered = [getattr(fod_bench, name) for name in fod_bench._OFFERED]
    for room in ("fod_bench.predict", "fod_bench.notebook"):
        offered += [getattr(import_module(room), name) for name in import_module(room).__all__]
    assert [one for one in offered if not any(one is other for other in known)] == []
    introduced = (ROOT / "docs/python.md").read_text(encoding="utf-8")
    assert [name for name in fod_bench._OFFERED if f"`{name}(" not in introduced] == []


@pytest.mark.parametrize("snippet", SNIPPETS, ids=lambda snippet: f"{snippet.page}:{snippet.line}")
def test_what_the_pages_import_can_be_relied_on(snippet: Snippet) -> None:
    known = documented()
    for node in ast.walk(ast.parse(snippet.code)):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("fod_bench"):
            for name in node.names:
                one = getattr(import_module(str(node.module)), name.name)
                assert any(one is other for other in known), f"{name.name} is not in docs/api.md"
