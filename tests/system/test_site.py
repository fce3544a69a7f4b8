"""The pages as a site: built strictly, so that a link, an anchor or a docstring that is not there ends it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

pytest.importorskip("mkdocs", reason="the extra docs is not installed")
ROOT = Path(__file__).parents[2]


def built(root: Path, to: Path) -> subprocess.CompletedProcess[str]:
    """Build the site of a repository."""
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(to)]
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=900)


class Found(HTMLParser):
    """What a page has a browser fetch, and its images' texts."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.without_text: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        if tag in ("script", "img", "iframe", "source"):
            self.fetched.append(given.get("src") or "")
        if tag == "link" and given.get("rel") in ("stylesheet", "icon", "preconnect", "preload"):
            self.fetched.append(given.get("href") or "")
        if tag == "img" and not given.get("alt"):
            self.without_text.append(given.get("src") or "")


def test_the_site_is_built_and_fetches_nothing_from_elsewhere(tmp_path: Path) -> None:
    done = built(ROOT, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    pages = {
        path.relative_to(tmp_path).as_posix(): path.read_text(encoding="utf-8") for path in tmp_path.rglob("*.html")
    }
    for name in ("index", "quickstart", "own-images", "job", "tables", "methods/patchcore", "clusters", "adding-a-method",
                 "fidelity", "troubleshooting", "faq", "api", "repository/CONTRIBUTING", "repository/CHANGELOG"):  # fmt: skip
        assert f"{name}.html" in pages
    assert "Initialises" not in pages["api.html"] and "fod_bench.store.open_store" in pages["api.html"]
    for name, page in pages.items():
        found = Found()
        found.feed(page)
        assert [url for url in found.fetched if "//" in url and not url.startswith("data:")] == [], name
        assert found.without_text == [], name
    assert not re.search(r"url\(\s*['\"]?https?:", "".join(path.read_text() for path in tmp_path.rglob("*.css")))
    assert (tmp_path / "repository/clusters/aws.yaml").is_file()


def test_what_leads_nowhere_ends_it(tmp_path: Path) -> None:
    names = "README.md CONTRIBUTING.md CHANGELOG.md LICENSE mkdocs.yml constraints.txt Dockerfile .dockerignore CITATION.cff"
    for name in names.split():
        shutil.copy(ROOT / name, tmp_path / name)
    for name in ("docs", "clusters", "examples", "tests", "results", "benchmarks"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "store"))
    for name in ("fod_bench", "jobs"):
        (tmp_path / name).symlink_to(ROOT / name)
    wrong = {"docs/faq.md": "nowhere.md", "docs/data.md": "metrics.md#nowhere", "README.md": "clusters/none.yaml"}
    for page, target in wrong.items():
        with (tmp_path / page).open("a", encoding="utf-8") as file:
            file.write(f"\n\n[x]({target})\n")
    done = built(tmp_path, tmp_path / "site")
    said = done.stdout + done.stderr
    assert done.returncode != 0 and [target for target in wrong.values() if target not in said] == [], said
    assert "Aborted with 3 warnings" in said
