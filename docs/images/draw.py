"""Draw the images of README and the pages, from a run of the quickstart, whose images are drawn themselves.

fod-bench run quickstart --store /tmp/quickstart
python docs/images/draw.py /tmp/quickstart

The report's page is shown by a Chromium that is installed, which the extra `dev` has Playwright for.
"""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.terminal_theme import MONOKAI

matplotlib.use("Agg")
from matplotlib import pyplot

from fod_bench.datasets import open_category
from fod_bench.datasets.base import Category
from fod_bench.job import load_job
from fod_bench.job.shipped import named_job
from fod_bench.records.record import Record
from fod_bench.records.scores import load_scores
from fod_bench.report import job_results
from fod_bench.report.formats.terminal import print_tables
from fod_bench.report.render import build_tables
from fod_bench.report.results import Results
from fod_bench.store import Store, open_store
from fod_bench.trials.scores import as_tensors, scorings

HERE = Path(__file__).parent
_SHOWN = {"weave": "global_direction", "board": "logical_missing", "tray": "logical_swapped"}
"""Category to the kind of defect of which an image is shown."""
_ROWS = ("FOD", "PatchCore")
_COLOURS = 160
_PAGE, _METHOD, _WIDTH = "weave", "PatchCore", 1080
"""Category and method whose page of images is shown, and how many pixels wide."""


def main(place: str) -> None:
    """Draw all of them into the folder of this file."""
    store, job = open_store(place), load_job(named_job(Path("quickstart")), [])
    results = job_results(store, job, "fod-bench run quickstart")
    (HERE / "table.svg").write_text(table(results), encoding="utf-8")
    frame = results.frame()
    found = {
        (row, category): results.load(str(frame[(frame.row == row) & (frame.category == category)].key.iloc[0]))
        for row in _ROWS
        for category in _SHOWN
    }
    spec = job.dataset("synthetic")
    categories = {name: open_category("synthetic", None, name, synthetic=spec.synthetic) for name in _SHOWN}
    (HERE / "overlay.png").write_bytes(overlay(store, found, categories))
    (HERE / "report.png").write_bytes(report_page(place))


def table(results: Results) -> str:
    """The quickstart's table as a terminal shows it."""
    console = Console(record=True, width=62, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    print_tables(build_tables(results, ["plain"]), console)
    text = console.export_svg(title="fod-bench run quickstart", theme=MONOKAI)
    return re.sub(r"@font-face \{.*?\}\s*", "", text, flags=re.DOTALL)  # nothing is fetched from elsewhere


def overlay(store: Store, found: dict[tuple[str, str], Record], categories: dict[str, Category]) -> bytes:
    """A row for each category: image, ground truth, and the maps of two methods laid over it."""
    figure, axes = pyplot.subplots(len(_SHOWN), 2 + len(_ROWS), figsize=(6.4, 5.0), dpi=110)
    for row_number, (name, kind) in enumerate(_SHOWN.items()):
        line = axes[row_number]
        category = categories[name]
        number, sample = next((n, one) for n, one in enumerate(category.test) if one.defect == kind)
        mask = category.read_mask(sample)
        assert mask is not None
        image = np.asarray(category.read_image(sample))  # (h, w, 3)
        shown: list[tuple[str, NDArray[np.float32] | None]] = [("image", None), ("ground truth", None)]
        shown += [(row, score_map(store, found[row, name], number)) for row in _ROWS]
        for place, (title, scores) in zip(line, shown, strict=True):
            place.imshow(image)
            if title == "ground truth":
                place.contour(mask, [0.5], colors=["red"], linewidths=1.5)
            if scores is not None:
                place.imshow(scores, cmap="turbo", alpha=0.55, extent=(0, image.shape[1], image.shape[0], 0))
            place.set_xticks([])
            place.set_yticks([])
            if not row_number:
                place.set_title(title, fontsize=9)
        line[0].set_ylabel(f"{name}\n{kind.replace('_', ', ')}", fontsize=8)
    figure.tight_layout(pad=0.4)
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png")
    return reduced(Image.open(drawn).convert("RGB").quantize(_COLOURS))


def report_page(place: str) -> bytes:
    """The top of the page of one category's images, down to the first of a method."""
    from playwright.sync_api import FloatRect, sync_playwright

    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        page = Path(folder, "page")
        command = ("report", "quickstart", "--store", place, "--format", "html", "--out", str(page))
        subprocess.run([sys.executable, "-m", "fod_bench", *command], check=True)
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        shown = browser.new_context(viewport={"width": _WIDTH, "height": 1400}, color_scheme="light").new_page()
        shown.goto((page / "galleries.html").as_uri())
        shown.get_by_role("link", name=_PAGE).first.click()
        shown.get_by_label("Method").select_option(label=_METHOD)
        shown.wait_for_load_state("networkidle")
        first = shown.locator(".item").locator("visible=true").first.bounding_box()
        assert first is not None
        drawn = shown.screenshot(clip=FloatRect(x=0, y=0, width=_WIDTH, height=first["y"] + first["height"] + 16))
        browser.close()
    colours = Image.open(io.BytesIO(drawn)).convert("RGB")
    # The median cut would spend all colours on greys, and none on the few pixels of maps.
    return reduced(colours.quantize(256, Image.Quantize.MAXCOVERAGE))


def reduced(image: Image.Image) -> bytes:
    """An image of few colours as a PNG."""
    written = io.BytesIO()
    image.save(written, format="png", optimize=True)
    return written.getvalue()


def score_map(store: Store, record: Record, number: int) -> NDArray[np.float32]:
    """Scores (S, S) of one test image at the last epoch, under the method's own scoring."""
    kept = load_scores(store, record, "last")
    assert kept is not None, "the scores were not kept"
    maps = next(each for each in scorings(record, as_tensors(kept)) if each.score == record.primary_score)
    scores: NDArray[np.float32] = maps.pixels[number].numpy()
    return scores


if __name__ == "__main__":
    main(sys.argv[1])
