"""`fod-bench figure` on a finished job."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from fod_bench.cli.app import app
from fod_bench.paper.figures import IMAGE_FIGURES
from tests.helpers.finished import Finished


def figure(finished: Finished, number: object, out: Path, *arguments: object) -> Result:
    return CliRunner().invoke(app, ["figure", str(number), str(finished.job), "--out", str(out), *map(str, arguments)])


@pytest.mark.parametrize("number", [1, 3, 6])
def test_maps_are_drawn_beside_image_and_truth(number: int, finished: Finished, tmp_path: Path) -> None:
    done = figure(finished, number, tmp_path)
    assert done.exit_code == 0, done.output
    png, pdf = tmp_path / f"figure-{number}.png", tmp_path / f"figure-{number}.pdf"
    assert done.stderr.split() == [str(png), str(pdf)] and pdf.read_bytes().startswith(b"%PDF")
    width, height = Image.open(png).size
    assert (width > 1.1 * height) == (number != 1), "images are rows in Figure 1, columns in the others"
    before = png.read_bytes()
    assert "is there already; --force replaces it" in figure(finished, number, tmp_path).stderr
    assert figure(finished, number, tmp_path, "--force").exit_code == 0 and png.read_bytes() == before


def test_other_rows_and_images_are_shown_when_named(finished: Finished, tmp_path: Path) -> None:
    named = ["--row", "patchcore", "--image", "good/000.png", "--format", "svg"]
    done = figure(finished, 1, tmp_path, *named)
    assert done.exit_code == 0, done.output
    text = (tmp_path / "figure-1.svg").read_text()
    assert text.count("<image") == 3  # image, truth and one map


def test_correlations_are_drawn_for_each_layer_and_head(finished: Finished, tmp_path: Path) -> None:
    done = figure(finished, 4, tmp_path, "--format", "svg", "--patch", "8,8", "--level", 8)
    assert done.exit_code == 0, done.output
    text = (tmp_path / "figure-4.svg").read_text()
    assert text.count("<image") == 2 * (1 + 2)  # of both kinds the image and two heads in one layer


def test_figure_5_is_that_of_a_report(finished: Finished, tmp_path: Path) -> None:
    done = figure(finished, 5, tmp_path, "--format", "png")
    assert done.exit_code == 0 and (tmp_path / "figure-lambda.png").stat().st_size > 1000, done.output
    assert "figure-lambda.png" in CliRunner().invoke(app, ["figure", "--help"], env={"COLUMNS": "300"}).output


def test_figure_4_takes_nothing_from_figure_6(
    finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(IMAGE_FIGURES, 6)
    done = figure(finished, 4, tmp_path, "--format", "png")
    assert done.exit_code == 0 and (tmp_path / "figure-4.png").exists(), done.output


BAD = {
    "number": ([2], "2 is a diagram of the model"),
    "row": ([1, "--row", "FODD"], "did you mean 'FOD'?"),
    "image": ([1, "--image", "none.png"], "no test image 'none.png'"),
    "several": ([1, "--image", "000.png"], "is of several test images"),
    "patch": ([4, "--patch", "here"], "is not `x,y` in pixels"),
    "outside": ([4, "--patch", "64,0"], "outside of the 64×64 pixels"),
    "level": ([4, "--level", "4"], "has no level 4; it has 8, 16"),
    "of figure 4": ([1, "--level", "8"], "--patch and --level are of figure 4"),
    "no correlations": ([4, "--row", "PatchCore"], "has correlations to show"),
    "format": ([1, "--format", "gif"], "unknown format of a figure 'gif'"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line(case: str, finished: Finished, tmp_path: Path) -> None:
    (number, *arguments), says = BAD[case]
    done = figure(finished, number, tmp_path, *arguments)
    assert done.exit_code in (1, 2) and says in done.stderr and "Traceback" not in done.stderr, done.output
    assert not any(tmp_path.iterdir())
