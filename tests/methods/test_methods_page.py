"""Every method has its place in docs/methods.md, and the method that docs/adding-a-method.md shows is one that runs."""

from __future__ import annotations

import configparser
import re
from pathlib import Path

import pytest

from fod_bench.methods.registry import BUILT_IN, GROUP
from fod_bench.paper.backbones import SAME_BACKBONE

ROOT = Path(__file__).parents[2]
PLUGIN = ROOT / "tests/helpers/plugin"
PAGE = (ROOT / "docs/methods.md").read_text(encoding="utf-8")
ADDING = (ROOT / "docs/adding-a-method.md").read_text(encoding="utf-8")


def test_the_page_shows_the_method_from_outside_as_it_is_tested() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", ADDING, flags=re.DOTALL)
    assert code == (PLUGIN / "nearest_patch.py").read_text(encoding="utf-8")


def test_the_page_registers_it_as_the_tested_package_is_registered() -> None:
    tomllib = pytest.importorskip("tomllib")  # from Python 3.11 on
    (project,) = (tomllib.loads(text) for text in re.findall(r"```toml\n(.*?)```", ADDING, flags=re.DOTALL))
    installed = configparser.ConfigParser()
    installed.read(PLUGIN / "nearest_patch-1.0.dist-info/entry_points.txt")
    (told,) = project["project"]["entry-points"][GROUP].items()
    assert told in installed[GROUP].items()


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_method_is_introduced_and_in_the_table(name: str) -> None:
    assert f"(`{name}`; " in PAGE and f"\n| `{name}` |" in PAGE
    page = f"methods/{name}.md" if name != "fod" else "method.md"
    assert f"]({page})" in PAGE and (ROOT / "docs" / page).exists()


def test_what_the_same_backbone_is_said_to_be_is_said_of_every_method() -> None:
    assert {row.lower() for row in SAME_BACKBONE} == set(BUILT_IN)
