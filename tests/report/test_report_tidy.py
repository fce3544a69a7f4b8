"""The tidy file: every seed of every cell under both selections, its numbers those of records and tables."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pandas
import pytest

from fod_bench.evaluation.metric import METRICS
from fod_bench.paper.published import all_printed
from fod_bench.report import PAPER_TABLES, Results, own_tables, paper_table, render_report
from fod_bench.report.formats.tidy import COLUMNS, tidy
from tests.helpers.report_builders import MVTEC, MemoryStore, Run, cell, paper_store


@pytest.fixture(scope="module")
def results() -> Results:
    return paper_store((1, 2)).read()


@pytest.fixture(scope="module")
def frame(results: Results) -> pandas.DataFrame:
    return pandas.read_csv(
        io.StringIO("".join(tidy(results, [*own_tables(results, "views"), *PAPER_TABLES]))), dtype={"table": str}
    )


def test_lines_are_unique_and_all_numbers_of_the_paper_are_there(frame: pandas.DataFrame) -> None:
    assert tuple(frame.columns) == COLUMNS
    place = ["table", "row", "dataset", "category", "metric", "seed", "selection"]
    assert not frame.duplicated(place).any()
    assert set(frame.selection) == {"best", "last"}
    printed = frame[frame.published.notna() & (frame.selection == "last")].drop_duplicates([*place[:5]])
    assert len(printed) == sum(entry.value is not None for entry in all_printed().values()) == 607


def test_every_seed_has_its_number_epoch_and_key(frame: pandas.DataFrame) -> None:
    asked = (
        "table == '12' and row == 'heads=4' and category == 'tile' and metric == 'image_auroc' and selection == 'best'"
    )
    lines = frame.query(asked).set_index("seed")
    assert list(lines.index) == [1, 2]
    assert lines.value[1] != lines.value[2] and set(lines.epoch) == {1}
    assert lines.key[1] == "run-1-heads=4-mvtec-tile-1" and set(lines.part) == {"table12"}


def test_means_are_those_of_the_lines_and_of_the_table(frame: pandas.DataFrame, results: Results) -> None:
    chosen = frame.query("table == '10' and dataset == 'mvtec' and metric == 'pixel_auroc' and selection == 'best'")
    ours = chosen[chosen.row == "direct"]
    categories, mean = ours[ours.category != "mean"], ours[ours.category == "mean"].set_index("seed")
    assert len(categories) == 2 * len(MVTEC)
    for seed in (1, 2):
        assert mean.value[seed] == pytest.approx(categories[categories.seed == seed].value.mean())
        assert mean.difference[seed] == pytest.approx(mean.value[seed] - 0.957)
    table = cell(paper_table(results, 10), "direct", "mean", "pixel_auroc", "mvtec")
    assert mean.value.mean() == pytest.approx(table.value)
    assert len(frame.query("dataset == 'average' and seed == 1 and selection == 'best'")) == 8


def test_costs_are_there_without_an_epoch(frame: pandas.DataFrame) -> None:
    lines = frame.query("table == '5' and row == 'FOD' and category == 'tile' and selection == 'best' and seed == 1")
    assert dict(zip(lines.metric, lines.value, strict=True))["gflops"] == 11.0
    assert len(lines) == 4 and lines.epoch.isna().all()


def test_a_jobs_own_lines_have_every_metric(frame: pandas.DataFrame) -> None:
    lines = frame.query("table == 'views' and category == 'tile' and seed == 2 and selection == 'last'")
    assert set(lines.metric) == set(METRICS)
    assert lines.published.isna().all()


def test_selections_differ_and_undefined_numbers_have_their_reason(tmp_path: Path) -> None:
    store = MemoryStore()
    run = Run(store, "run-1", "job", [])
    run.add("FOD", "own", "odd", [(None, 0.8), (None, 0.6)], undefined={"image_auroc": "no normal image"})
    run.add("FOD", "own", "lost")
    run.save()
    (path,) = render_report(store.read(), None, "tidy", tmp_path)
    with path.open() as file:
        lines = list(csv.DictReader(file))
    pixel = {
        line["selection"]: (line["value"], line["epoch"])
        for line in lines
        if (line["metric"], line["category"]) == ("pixel_auroc", "odd")
    }
    assert pixel == {"best": ("0.8", "1"), "last": ("0.6", "2")}
    image = next(line for line in lines if line["metric"] == "image_auroc" and line["category"] == "odd")
    assert (image["value"], image["undefined"]) == ("", "no normal image")
    mean = next(line for line in lines if line["metric"] == "pixel_auroc" and line["category"] == "mean")
    assert (mean["categories"], mean["expected"]) == ("1", "2")
    assert not any(line["category"] == "lost" for line in lines)
