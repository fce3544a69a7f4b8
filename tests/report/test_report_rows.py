"""Rows of the paper's tables from several runs: cells of one setting make one row, those of another have one of their own."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from fod_bench.job import Job, dump_job
from fod_bench.records.names import job_name
from fod_bench.report import Results, paper_table, render_figures
from fod_bench.report.formats.tidy import tidy
from tests.helpers.report_builders import CATEGORIES, MVTEC, MemoryStore, Run, cell
from tests.report.test_report_figures import drawn  # noqa: F401 - a fixture


def job(name: str, dataset: str = "mvtec", **keys: Any) -> Job:
    """A job with row FOD, unless `keys` say otherwise."""
    datasets = {dataset: {"layout": dataset, "root": keys.pop("root", "data")}}
    return Job.model_validate({"name": name, "datasets": datasets} | keys)


def ran(
    store: MemoryStore,
    made: Job | None,
    value: float,
    tables: list[int],
    dataset: str = "mvtec",
    categories: list[str] | None = None,
    rows: tuple[str, ...] = ("FOD",),
    epochs: int = 1,
    keys_of: str = "",
) -> None:
    """A run of a job, or of one that cannot be read; `keys_of` names another whose trainings it shares."""
    name = f"run-{1 + len([name for name in store.objects if name.endswith('/plan.json')])}"
    run = Run(store, name, made.name if made else "lost", tables, created=name)
    for row in rows:
        for category in categories or CATEGORIES[dataset]:
            run.add(row, dataset, category, [(value, value)] * epochs)
    if keys_of:
        run.cells = [entry.model_copy(update={"key": str(entry.key).replace(name, keys_of)}) for entry in run.cells]
    run.save()
    if made is not None:
        store.put(job_name(name), dump_job(made).encode())


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def test_two_settings_are_two_rows_beside_the_printed_one(store: MemoryStore) -> None:
    ran(store, job("a", settings={"epochs": 2}), 0.8, [2], epochs=2)
    ran(store, job("a", settings={"epochs": 3}, limit_train=2), 0.9, [2], epochs=3)
    table = paper_table(store.read(), 2)
    first, second = "FOD (epochs=2, limit_train=null)", "FOD (epochs=3, limit_train=2)"
    assert [column.title for column in table.columns][-2:] == [first, second]
    assert [cell(table, row, "mean").value for row in (first, second)] == [pytest.approx(0.8), pytest.approx(0.9)]
    assert all(cell(table, row, "bottle").published == 1.0 for row in (first, second))
    assert "2 to 3 epochs" in table.caption and not any("asks for" in note and "FOD" in note for note in table.notes)
    assert "Ours: epochs=2, all else by default; epochs=3, limit_train=2, all else by default." in table.notes[-1]


def test_one_setting_is_one_row_whichever_runs_it_is_from(store: MemoryStore) -> None:
    ran(store, job("a", seeds=[3407]), 0.8, [2], categories=MVTEC[:7])
    ran(
        store,
        job("b", description="the rest", root="elsewhere", settings={"scoring": "rec_div"}),
        0.9,
        [2],
        categories=MVTEC[7:],
    )
    mean = cell(paper_table(store.read(), 2), "FOD", "mean")
    assert mean.complete and mean.value == pytest.approx((7 * 0.8 + 8 * 0.9) / 15)


def test_data_sets_of_one_row_may_be_from_two_jobs_if_these_agree(store: MemoryStore) -> None:
    ran(store, job("a", "btad"), 0.8, [3], "btad")
    ran(store, job("b", "mvtec3d"), 0.9, [3], "mvtec3d")
    table = paper_table(store.read(), 3)
    assert [cell(table, "FOD", "mean", "image_auroc", name).complete for name in ("btad", "mvtec3d")] == [True, True]
    ran(store, job("c", "mvtec3d", settings={"layers": 1}), 0.7, [3], "mvtec3d")
    table = paper_table(store.read(), 3)
    assert cell(table, "FOD (layers=3)", "mean", "image_auroc", "btad").value == pytest.approx(0.8)
    assert cell(table, "FOD (layers=3)", "mean", "image_auroc", "mvtec3d").value == pytest.approx(0.9)
    assert cell(table, "FOD (layers=1)", "mean", "image_auroc", "mvtec3d").value == pytest.approx(0.7)
    assert cell(table, "FOD (layers=1)", "mean", "image_auroc", "btad").value is None


def test_an_average_is_never_over_two_settings(store: MemoryStore) -> None:
    row = "intra/entropy/none/div"
    for name, epochs in (("mvtec", 2), ("btad", 2), ("mvtec3d", 3)):
        variants = {row: {"views": "intra", "scoring": "div"}}
        ran(store, job(name, name, variants=variants, settings={"epochs": epochs}), 0.8, [4], name, rows=(row,))
    table = paper_table(store.read(), 4)
    assert all(cell(table, f"{row} (epochs={epochs})", "mean", dataset="average").value is None for epochs in (2, 3))
    assert [line.labels[0] for line in table.rows if "epochs" in line.labels[0]] == [
        "Intra (epochs=2)",
        "Intra (epochs=3)",
    ]


def test_what_has_no_effect_on_a_row_makes_no_other_row(store: MemoryStore) -> None:
    row = "patch/none/none/rec"
    for weight in (0.1, 0.2):
        made = job("a", settings={"views": "patch", "lambda1": weight}, variants={row: {}})
        ran(store, made, 0.8, [4], rows=(row,), keys_of="run-1")
    assert cell(paper_table(store.read(), 4), row, "mean", dataset="mvtec").complete


def test_other_data_under_the_same_setting_are_told_by_their_folder(store: MemoryStore) -> None:
    ran(store, job("a", root="one"), 0.8, [2])
    ran(store, job("a", root="two"), 0.9, [2])
    table = paper_table(store.read(), 2)
    assert cell(table, "FOD (datasets.mvtec.root=one)", "mean").value == pytest.approx(0.8)
    assert cell(table, "FOD (datasets.mvtec.root=two)", "mean").value == pytest.approx(0.9)


def test_runs_whose_job_cannot_be_read_are_kept_apart_unless_they_share_trainings(store: MemoryStore) -> None:
    ran(store, None, 0.8, [2], categories=MVTEC[:7])
    ran(store, None, 0.9, [2], categories=MVTEC[7:])
    ran(store, None, 0.8, [2], categories=MVTEC[:7], keys_of="run-1")
    table = paper_table(store.read(), 2)
    assert [column.title for column in table.columns][-2:] == ["FOD (lost, run run-1)", "FOD (lost, run run-2)"]
    assert cell(table, "FOD (lost, run run-1)", "mean").text("ours") == "0.800 (7/15)"


def test_a_parameter_of_two_settings_has_two_places_and_ranks_among_its_own(store: MemoryStore) -> None:
    results = two_lambdas(store)
    table = paper_table(results, 11)
    assert {"0.5 (epochs=2)", "0.5 (epochs=3)"} <= {column.title for column in table.columns}
    cells = [entry for entry in table.cells() if entry.metric == "image_auroc" and entry.mark == "best"]
    assert {entry.row for entry in cells} == {f"{name}=1 (epochs=3)" for name in ("lambda1", "lambda2")}


def test_a_figure_has_a_line_for_each_setting(store: MemoryStore, drawn: list[Figure], tmp_path: Path) -> None:  # noqa: F811
    render_figures(two_lambdas(store), ["lambda"], tmp_path)
    lines = [line for line in drawn[0].axes[0].get_lines() if line.get_linestyle() == "-"]
    assert [(list(line.get_xdata()), list(line.get_ydata())) for line in lines[:2]] == [
        ([0.5, 1.0], [pytest.approx(0.7), pytest.approx(0.71)]),
        ([0.5, 1.0], [pytest.approx(0.8), pytest.approx(0.81)]),
    ]
    (legend,) = drawn[0].legends
    assert "image AUROC, ours (epochs=3)" in [text.get_text() for text in legend.get_texts()]


def test_the_tidy_file_has_the_rows_apart(store: MemoryStore) -> None:
    lines = csv.DictReader(io.StringIO("".join(tidy(two_lambdas(store), [11]))))
    found = {(line["row"], line["value"]) for line in lines if line["category"] == "tile" and line["value"]}
    assert {row for row, _ in found} == {
        f"{name}={value} (epochs={epochs})"
        for name in ("lambda1", "lambda2")
        for value in ("0.5", "1")
        for epochs in (2, 3)
    }
    assert len(found) == 8


def test_a_caption_is_of_the_cells_shown(store: MemoryStore) -> None:
    ran(store, job("a"), 0.8, [2])
    ran(store, job("b", settings={"epochs": 7}), 0.8, [2], categories=["my_part"], epochs=7)
    table = paper_table(store.read(), 2)
    assert "1 epoch;" in table.caption and "7 epochs" not in table.caption
    assert "Left out, since the paper has no such category of mvtec: my_part." in table.notes


def two_lambdas(store: MemoryStore) -> Results:
    """Two values of either weight, with two numbers of epochs."""
    for epochs, value in ((2, 0.7), (3, 0.8)):
        for weight in (0.5, 1):
            rows = {f"{name}={weight}": {name: weight} for name in ("lambda1", "lambda2")}
            made = job(f"w{weight}".replace(".", "-"), variants=rows, settings={"epochs": epochs})
            ran(store, made, value + (0.01 if weight == 1 else 0), [11], rows=tuple(rows), epochs=epochs)
    return store.read()
