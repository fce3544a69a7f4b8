"""All Python in README, CONTRIBUTING and docs/ is run, on a finished job; a table has what is not run, with the reason."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import matplotlib
import pytest
import torch
from typer.testing import CliRunner

from fod_bench.cli.app import app
from fod_bench.datasets import SyntheticSettings, write_synthetic
from fod_bench.store import open_store
from tests.helpers.commands import TINY
from tests.helpers.dataset_builders import image
from tests.helpers.finished import finish, small_job
from tests.helpers.written_commands import PAGES, ROOT
from tests.helpers.written_python import SNIPPETS, snippets

NOT_RUN = {"docs/adding-a-method.md": "it is a file of the tested package, with which tests/methods compares it"}


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder such as a reader of the pages has: results of a job, photographs, an exported detector."""
    folder = tmp_path_factory.mktemp("reader")
    write_synthetic(folder, SyntheticSettings(train=6, test_good=3, test_defect_per_type=1, size=64), ["weave"])
    (folder / "weave").rename(folder / "bottle")
    data = {"mvtec": {"layout": "folder", "root": str(folder), "categories": ["bottle"]}}
    store = folder / "results/store"
    finish(small_job(folder, {"FOD": TINY}, data, store=str(store)))
    for number in (1, 2):
        image(folder / f"photos/00{number}.jpg", (96, 80), 90 * number)
    shutil.copy(next(store.glob("features/*/*/train.safetensors")), folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        if not missing("onnx", "onnxscript"):
            done = CliRunner().invoke(app, ["export", "onnx", "FOD/mvtec/bottle", "bottle.onnx"])
            assert done.exit_code == 0, done.output
    yield folder


def missing(*modules: str) -> list[str]:
    found = []
    for name in modules:
        try:
            import_module(name)
        except ImportError:
            found.append(name)
    return found


def filled(code: str) -> str:
    """The code with keys that are here, where a page has a word for one."""
    store = open_store("results/store")
    for word, kind in (("<train key>", "trials/"), ("<reference key>", "references/")):
        key = next(store.list(kind)).name.split("/")[1].partition(".")[0]
        code = code.replace(word, key)
    return code


@pytest.mark.parametrize("page", [page for page in dict.fromkeys(one.page for one in SNIPPETS) if page not in NOT_RUN])
def test_the_python_of_a_page_runs(page: str, reader: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the page's order, each with the names of those before."""
    monkeypatch.chdir(reader)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    matplotlib.use("agg")
    names: dict[str, Any] = {}
    for snippet in snippets(page):
        if "onnxruntime" in snippet.code and missing("onnx", "onnxscript", "onnxruntime"):
            continue
        code = "\n" * (snippet.line - 1) + filled(snippet.code)
        exec(compile(code, page, "exec"), names)


def test_what_is_not_run_is_there() -> None:
    assert set(NOT_RUN) <= {one.page for one in SNIPPETS}


@pytest.mark.parametrize("page", PAGES)
def test_python_stands_in_blocks_of_its_own(page: str) -> None:
    """Else it would not be run."""
    text = re.sub(r"^```.*?^```", "", (ROOT / page).read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    assert re.findall(r"^ {4}(?:import|from) \S+.*", text, flags=re.MULTILINE) == []
