"""The figures: every point is a number of its table, the files are equal for equal results, and their absence is told."""

from __future__ import annotations

import re
import statistics
from pathlib import Path
from typing import Any

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from fod_bench.errors import UsageError
from fod_bench.paper.published import printed_rows
from fod_bench.report import FIGURES, render_figures
from tests.helpers.report_builders import MVTEC, MemoryStore, Run, paper_store, value_of


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that are saved, in the order in which they are."""
    found: list[Figure] = []
    save = Figure.savefig

    def remember(self: Figure, *arguments: Any, **options: Any) -> None:
        found.append(self)
        save(self, *arguments, **options)

    monkeypatch.setattr(Figure, "savefig", remember)
    return found


def test_points_are_our_means_and_the_printed_numbers(drawn: list[Figure], tmp_path: Path) -> None:
    render_figures(paper_store((1, 2)).read(), ["lambda"], tmp_path)
    figure = drawn[0]
    assert [area.get_xscale() for area in figure.axes] == ["log", "log"]
    for panel, parameter in enumerate(("lambda1", "lambda2")):
        rows = [row for row in printed_rows(11) if row.startswith(parameter)]
        lines = {str(line.get_linestyle()) for line in figure.axes[panel].get_lines()}
        assert {"--", "-"} <= lines
        dashed = [line for line in figure.axes[panel].get_lines() if line.get_linestyle() == "--"]
        assert list(dashed[0].get_xdata()) == [0.1, 0.5, 1, 3, 5, 10]
        assert dashed[0].get_ydata()[0] == {"lambda1": 0.874, "lambda2": 0.981}[parameter]  # type: ignore[index]
        ours = [line for line in figure.axes[panel].get_lines() if line.get_linestyle() == "-"]
        by_hand = [statistics.fmean(value_of(row, name, seed)[0] for name in MVTEC for seed in (1, 2)) for row in rows]
        assert list(ours[0].get_ydata()) == pytest.approx(by_hand)
        assert len(figure.axes[panel].containers) == 2, "error bars for several seeds"


@pytest.mark.parametrize("name", FIGURES)
def test_files_are_equal_for_equal_results(name: str, tmp_path: Path) -> None:
    first = render_figures(paper_store().read(), [name], tmp_path / "one")
    second = render_figures(paper_store().read(), [name], tmp_path / "two")
    assert [path.name for path in first] == [f"figure-{name}.svg", f"figure-{name}.png"]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    svg = first[0].read_text("utf-8")
    assert not re.search(r"dc:date|matplotlib v|[12]\d{3}-\d\d-\d\d", svg)
    with Image.open(first[1]) as image:
        assert min(image.size) > 400 and "Software" not in image.info


def test_settings_of_the_user_do_not_change_a_figure(tmp_path: Path) -> None:
    import matplotlib

    expected = render_figures(paper_store().read(), ["heads"], tmp_path / "one")
    with matplotlib.rc_context({"lines.linewidth": 7, "font.size": 30}):
        found = render_figures(paper_store().read(), ["heads"], tmp_path / "two")
        assert matplotlib.rcParams["font.size"] == 30
    assert [path.read_bytes() for path in found] == [path.read_bytes() for path in expected]


def test_only_whole_means_are_drawn_and_what_is_missing_is_said(drawn: list[Figure], tmp_path: Path) -> None:
    store = MemoryStore()
    run = Run(store, "run-1", "job", [12])
    for row in ("heads=2", "heads=4"):
        for category in MVTEC[: 15 if row == "heads=2" else 14]:
            run.add(row, "mvtec", category, [(0.9, 0.8)])
    run.save()
    render_figures(store.read(), ["heads"], tmp_path)
    solid = [line for line in drawn[0].axes[0].get_lines() if line.get_linestyle() == "-"]
    assert [list(line.get_xdata()) for line in solid] == [[2.0], [2.0]]
    said = " ".join(" ".join(text.get_text().split()) for text in drawn[0].texts)
    assert "2 of 6 points of ours rest on every category" in said and "jobs/table12_heads.yaml" in said


def test_an_unknown_figure_is_refused_with_the_nearest_name(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no figure 'layer': did you mean 'layers'\? There are: lambda, heads"):
        render_figures(paper_store().read(), ["layer"], tmp_path / "none")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.parametrize("close", [False, True])
def test_no_text_is_cut(drawn: list[Figure], tmp_path: Path, name: str, close: bool) -> None:
    """Labels of ticks with all their digits are wide where the numbers lie close together."""
    render_figures(paper_store().read() if close else MemoryStore().read(), [name], tmp_path)
    figure = drawn[1]  # drawn once already, so that every text has its place
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    if close:
        figure.axes[0].set_ylim(0.98951, 0.98962)
        canvas.draw()
    texts = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]
    assert len(texts) > 8
    for text in texts:
        box = text.get_window_extent(canvas.get_renderer())
        inside = (box.x0 >= 0, box.x1 <= figure.bbox.width, box.y0 >= 0, box.y1 <= figure.bbox.height)
        assert all(inside), f"{text.get_text()!r} at {box}, of {figure.bbox}"
