"""The web page of a job of Table 2's size: how much it weighs, and how long a browser takes to show it, opened from disk.

Fifteen categories, seven rows, as many test images as MVTec AD has, 256 pixels wide. Images are drawn, scores are made up.
Without Chromium only the weight is told.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path

import pytest

from benchmarks import Result
from fod_bench.datasets import SyntheticSettings, write_synthetic
from fod_bench.job import Job, load_job
from fod_bench.report import render_report
from tests.helpers.browser import Visit, chromium
from tests.helpers.page_builders import page_results, page_store

DRAWN = ("weave", "board", "tray", "tiling", "gauge")
CATEGORIES = [f"{name}{number}" for number in range(3) for name in DRAWN]
ROWS = {f"row {number}": 0.3 + 0.2 * number for number in range(7)}
"""Row to the noise of its maps."""
_JOB = """
name: table2
store: {folder}/store
datasets: {{drawn: {{layout: folder, root: {folder}/drawn, categories: {categories}}}}}
settings: {{method: draem, image_size: 64, epochs: 3}}
variants: {{{variants}}}
"""


def run() -> list[Result]:
    """Weight of the whole folder, and the least of three first views of its first page."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        job = _job(folder)
        results = page_results(job, page_store(job, noise=ROWS))
        start = time.perf_counter()
        render_report(results, None, "html", folder / "page")
        print(
            f"page of {len(CATEGORIES)} categories and {len(ROWS)} rows: written in {time.perf_counter() - start:.0f} s"
        )
        weight = sum(path.stat().st_size for path in (folder / "page").rglob("*") if path.is_file()) / 1e6
        found = [Result("page of Table 2's size, weight", weight, 30.0, "MB", higher_is_better=False)]
        try:
            seconds = min(_first_view(folder / "page") for _ in range(3))
        except pytest.skip.Exception as reason:
            print(reason)
            return found
    return [*found, Result("the same, to its first view", seconds, 2.0, "s", higher_is_better=False)]


def _job(folder: Path) -> Job:
    """The job, with its images drawn below the folder."""
    settings = SyntheticSettings(train=4, test_good=35, test_defect_per_type=20, size=256)
    write_synthetic(folder / "drawn", settings, list(DRAWN))
    for name in DRAWN:
        for number in range(1, 3):
            shutil.copytree(folder / "drawn" / name, folder / "drawn" / f"{name}{number}")
        (folder / "drawn" / name).rename(folder / "drawn" / f"{name}0")
    variants = ", ".join(f"{name}: {{width: {8 + 4 * number}}}" for number, name in enumerate(ROWS))
    path = folder / "table2.yaml"
    path.write_text(_JOB.format(folder=folder, categories=CATEGORIES, variants=variants))
    return load_job(path)


_PAINTED = """() => new Promise((found, fail) => {
  setTimeout(() => fail(new Error("nothing was painted in a minute")), 60000);
  new PerformanceObserver(list => {
    for (const entry of list.getEntriesByName("first-contentful-paint")) found(entry.startTime);
  }).observe({ type: "paint", buffered: true });
})"""
"""Waits for the first contents to be painted, if they are not yet; the page's own policy forbids a condition that is polled."""


def _first_view(folder: Path) -> float:
    """Seconds from the request to the first contents on the screen, by the browser's own clock."""
    with chromium() as browser:
        visit = Visit(browser, folder)
        page = visit.open("index.html")
        milliseconds: float = page.evaluate(_PAINTED)
        visit.close()
    return milliseconds / 1000
