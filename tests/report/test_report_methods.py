"""Tables of methods: our number in every column that can be measured, what its backbone is, and why others are empty."""

from __future__ import annotations

import statistics

import pytest

from fod_bench.paper.backbones import SAME_BACKBONE, measurable
from fod_bench.paper.published import MEAN, printed_rows
from fod_bench.paper.tables import METHOD_TABLES
from fod_bench.report import Results, paper_table
from tests.helpers.report_builders import CATEGORIES, MVTEC, MemoryStore, Run, cell, paper_store, plain, value_of

FIVE = ("DRAEM", "PatchSVDD", "MKD", "PatchCore", "CFLOW")


@pytest.fixture(scope="module")
def results() -> Results:
    return paper_store().read()


@pytest.mark.parametrize("number", METHOD_TABLES)
def test_every_row_with_a_method_here_has_our_number_in_every_place(results: Results, number: int) -> None:
    table = paper_table(results, number)
    rows = measurable(printed_rows(number))
    assert set(rows) == {*FIVE, "FOD", *(["PaDiM"] if number == 1 else [])}
    for entry in table.cells():
        assert (entry.value is not None) == (entry.row in rows)
    assert not any("asks for" in note or "missing" in note for note in table.notes)


@pytest.mark.parametrize("number", [2, 6, 7, 8])
def test_means_and_marks_of_ours_are_those_computed_by_hand(results: Results, number: int) -> None:
    table = paper_table(results, number)
    dataset = table.cells()[0].dataset
    for metric in {entry.metric for entry in table.cells()}:
        means = {
            row: statistics.fmean(value_of(row, category)[metric == "pixel_auroc"] for category in CATEGORIES[dataset])
            for row in printed_rows(number)
        }
        shown = {row: cell(table, row, MEAN, metric) for row in means}
        assert {row: one.value for row, one in shown.items()} == pytest.approx(means)
        best, second, *_ = sorted({round(value, 3) for value in means.values()}, reverse=True)
        marks = {row: {best: "best", second: "second"}.get(round(value, 3)) for row, value in means.items()}
        assert {row: one.mark for row, one in shown.items()} == marks
        assert all(one.difference == pytest.approx(means[row] - (one.published or 0)) for row, one in shown.items())


@pytest.mark.parametrize("number", METHOD_TABLES)
def test_a_note_for_every_column_says_what_stands_for_the_backbone(results: Results, number: int) -> None:
    notes = paper_table(results, number).notes
    for row in measurable(printed_rows(number)):
        assert f"{row}: {SAME_BACKBONE[row]}." in notes
    rerun = [note for note in notes if "unmodified code from the official repositories" in note]
    assert bool(rerun) == (number != 1), "Table 1 quotes"
    assert not any(note.startswith("PaDiM: ") for note in notes) or number == 1


def test_tables_of_settings_have_no_such_notes(results: Results) -> None:
    assert not any("backbone" in note for number in (4, 9, 10, 15) for note in paper_table(results, number).notes)


def test_rows_of_table_1_without_a_method_here_are_named(results: Results) -> None:
    (note,) = (note for note in paper_table(results, 1).notes if note.startswith("Not measured"))
    assert (
        note
        == "Not measured, since fod-bench has no such method: STAD, DFR, FCDD, Hou et al., Metaformer, RDAD and 11 more."
    )


def test_a_method_from_outside_that_the_paper_prints_is_measured_though_nothing_is_known_of_it() -> None:
    store = MemoryStore()
    run = Run(store, "run-1", "job", [1])
    for category in MVTEC:
        run.add("STAD", "mvtec", category, [(0.9, 0.8)], method="mine")
    run.save()
    table = paper_table(store.read(), 1)
    assert cell(table, "STAD", MEAN).value == pytest.approx(0.9)
    assert not any("no such method: STAD" in note for note in table.notes)


def test_the_caption_has_epochs_and_backbones_by_method_where_they_differ() -> None:
    store = MemoryStore()
    run = Run(store, "run-1", "job", [])
    run.add("FOD", "own", "part", [(0.9, 0.8)] * 3)
    run.add("PatchCore", "own", "part", [(0.9, 0.8)], method="patchcore")
    run.add("PaDiM", "own", "part", [(0.9, 0.8)], method="padim")
    run.save()
    assert (
        "; epochs: 3 (fod), 1 (patchcore, padim); 256×256 pixels; tf_efficientnet_b6.aa_in1k."
        in plain(store.read(), "job").caption
    )
    run.add("DRAEM", "own", "part", [(0.9, 0.8)], method="draem", features={"image_size": 256})
    run.save()
    caption = plain(store.read(), "job").caption
    assert "epochs: 3 (fod), 1 (patchcore, padim, draem)" in caption
    assert "backbone: tf_efficientnet_b6.aa_in1k (fod, patchcore, padim), none (draem)" in caption
