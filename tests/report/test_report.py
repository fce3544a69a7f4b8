"""The tables of the report: numbers, differences, marks, footnotes, coverage, and where each number comes from."""

from __future__ import annotations

import csv
import statistics
from pathlib import Path

import pytest

from fod_bench.records.names import record_name
from fod_bench.report import Results, build_tables, explain, paper_table, render_report
from tests.helpers.report_builders import MVTEC, MVTEC3D, MemoryStore, Run, cell, full_store, image, plain, record


@pytest.fixture(scope="module")
def results() -> Results:
    return full_store().read()


def test_table_2_has_the_papers_rows_and_columns_with_our_number_printed_number_and_difference(
    results: Results,
) -> None:
    table = paper_table(results, 2)
    methods = ["DRAEM [64]", "PatchSVDD [60]", "MKD [41]", "PatchCore [35]", "CFLOW [15]", "FOD", "Patch-only"]
    assert [column.title for column in table.columns] == methods
    assert [row.labels[0] for row in table.rows] == [*MVTEC, "mean"]
    bottle = cell(table, "FOD", "bottle")
    assert bottle.value == image("bottle")
    assert bottle.published == 1.0
    assert bottle.difference == pytest.approx(image("bottle") - 1.0)
    assert bottle.keys == ("run-1-FOD-mvtec-bottle-3407",)
    assert cell(table, "DRAEM", "bottle").text("ours") == ""
    assert cell(table, "Patch-only", "bottle").text("paper") == ""


def test_means_of_table_7_equal_those_computed_by_hand(results: Results) -> None:
    table = paper_table(results, 7)
    by_hand = (image("01") + image("02") + image("03")) / 3
    mean = cell(table, "FOD", "mean")
    assert mean.value == pytest.approx(by_hand, abs=1e-12)
    assert mean.difference == pytest.approx(by_hand - 0.960, abs=1e-12)
    assert cell(table, "FOD", "mean", "pixel_auroc").value == pytest.approx(by_hand - 0.02, abs=1e-12)
    assert cell(table, "FOD", "product02").value == image("02")
    assert len(mean.keys) == 3


def test_tables_1_and_3_show_the_same_means_as_the_detailed_tables(results: Results) -> None:
    by_hand = statistics.fmean(image(category) for category in MVTEC)
    assert cell(paper_table(results, 1), "FOD", "mean").value == pytest.approx(by_hand)
    assert cell(paper_table(results, 2), "FOD", "mean").value == pytest.approx(by_hand)
    table = paper_table(results, 3)
    for dataset, number in (("btad", 7), ("mvtec3d", 8)):
        for metric in ("image_auroc", "pixel_auroc"):
            detailed = cell(paper_table(results, number), "FOD", "mean", metric)
            assert cell(table, "FOD", "mean", metric, dataset).value == detailed.value
    assert [column.title for column in table.columns][:2] == ["DRAEM [64]", "PatchSVDD [60]"]


def test_table_1_lists_the_papers_methods_by_group_and_ours_below() -> None:
    table = paper_table(full_store().read(), 1)
    assert len(table.rows) == 25
    assert table.rows[0].labels == ("STAD [4]", "CVPR 2020")
    assert table.rows[-1].labels == ("Patch-only", "")
    assert table.rows[-1].section == "ours only"
    assert cell(table, "DFR", "mean").text("paper") == "/"


def test_table_8_has_methods_as_rows_and_its_categories_as_columns(results: Results) -> None:
    table = paper_table(results, 8)
    assert [column.title for column in table.columns] == [*MVTEC3D, "mean"]
    assert [row.labels[0] for row in table.rows if row.section == "image AUROC"][-2:] == ["FOD", "Patch-only"]


def test_ours_and_published_are_marked_apart_and_equal_texts_equally() -> None:
    store = MemoryStore()
    run = Run(store, "run-1", "job", [2])
    for row, value in (("FOD", 0.97001), ("DRAEM", 0.97049), ("MKD", 0.96), ("CFLOW", 0.95)):
        run.add(row, "mvtec", "grid", [(value, 0.9)])
    run.save()
    table = paper_table(store.read(), 2)
    assert {row: cell(table, row, "grid").mark for row in ("FOD", "DRAEM", "MKD", "CFLOW")} == {
        "FOD": "best",
        "DRAEM": "best",
        "MKD": "second",
        "CFLOW": None,
    }
    published = {row: cell(table, row, "grid").published_mark for row in ("DRAEM", "FOD", "CFLOW", "PatchCore")}
    assert published == {"DRAEM": "best", "FOD": "best", "CFLOW": "second", "PatchCore": None}


def test_a_mean_over_fewer_categories_says_so_has_no_difference_and_no_mark() -> None:
    store = MemoryStore()
    run = Run(store, "run-1", "job", [2])
    for row in ("FOD", "DRAEM"):
        for category in MVTEC[:12]:
            run.add(row, "mvtec", category, [(0.981, 0.9)])
    run.add("FOD", "mvtec", "zipper")
    run.save()
    table = paper_table(store.read(), 2)
    mean = cell(table, "FOD", "mean")
    assert mean.text("ours") == "0.981 (12/15)"
    assert mean.difference is None
    assert mean.text("Δ") == ""
    assert mean.mark is None
    assert cell(table, "FOD", "zipper").text("ours") == ""
    assert table.notes[:2] == (
        "24 of 25 cells have a result; missing: FOD on mvtec: zipper. "
        "`fod-bench run` with the job of run run-1 makes it.",
        "No run in this store asks for DRAEM on MVTec AD (toothbrush, transistor, zipper); PatchSVDD, MKD, PatchCore, CFLOW on "
        "MVTec AD; FOD on MVTec AD (toothbrush, transistor): `fod-bench run jobs/table01_02_06_mvtec.yaml` does.",
    )


def test_seeds_are_averaged_first_and_their_deviation_shown() -> None:
    store = MemoryStore()
    run = Run(store, "run-1", "job", [7])
    values = {"01": (0.9, 0.94), "02": (0.8, 0.8), "03": (0.7, 0.76)}
    for category, by_seed in values.items():
        for seed, value in enumerate(by_seed):
            run.add("FOD", "btad", category, [(value, value)], seed=seed)
    run.save()
    table = paper_table(store.read(), 7)
    first = cell(table, "FOD", "product01")
    assert (first.value, first.seeds) == (pytest.approx(0.92), 2)
    assert first.deviation == pytest.approx(statistics.stdev((0.9, 0.94)))
    mean = cell(table, "FOD", "mean")
    assert mean.value == pytest.approx((0.92 + 0.8 + 0.73) / 3)
    assert mean.deviation == pytest.approx(statistics.stdev(((0.9 + 0.8 + 0.7) / 3, (0.94 + 0.8 + 0.76) / 3)))
    assert mean.text("ours") == f"{mean.value:.3f} ±{mean.deviation:.3f}"
    assert "2 seeds (0, 1), mean ± sample standard deviation" in table.caption


def test_an_undefined_auroc_is_na_with_its_reason_and_left_out_of_the_mean() -> None:
    store = MemoryStore()
    run = Run(store, "run-1", "job", [])
    run.add("FOD", "own", "good", [(0.9, 0.8)])
    run.add("FOD", "own", "odd", [(None, 0.8)], undefined={"image_auroc": "no normal image in the test split"})
    run.save()
    table = plain(store.read(), "job")
    odd = cell(table, "FOD", "odd")
    assert odd.text("ours") == "n/a"
    assert odd.notes == ["image AUROC is not available: no normal image in the test split"]
    assert cell(table, "FOD", "mean").text("ours") == "0.900 (1/2)"
    assert cell(table, "FOD", "mean", "pixel_auroc").text("ours") == "0.800"


def test_best_takes_each_metrics_own_epoch_and_last_the_last_one(results: Results) -> None:
    for selection, image_offset, words in (("best", 0.0, "selected on test data"), ("last", -0.1, "last epoch")):
        (table,) = build_tables(results, ["6"], selection)  # type: ignore[arg-type]
        assert cell(table, "FOD", "tile", "pixel_auroc").value == pytest.approx(image("tile") - 0.02)
        assert words in table.caption
        (table,) = build_tables(results, ["2"], selection)  # type: ignore[arg-type]
        assert cell(table, "FOD", "tile").value == pytest.approx(image("tile", image_offset))
    assert "1 seed (3407)" in table.caption


def test_only_rows_that_name_a_table_feed_it_and_labels_match_whatever_the_case() -> None:
    store = MemoryStore()
    other = Run(store, "other", "other", [])
    other.add("FOD", "mvtec", "grid", [(0.5, 0.5)])
    other.save()
    table = paper_table(store.read(), 2)
    assert all(entry.value is None for entry in table.cells())
    assert cell(table, "FOD", "grid").published == 1.0
    assert "No run in this store feeds Table 2" in table.notes[0]
    run = Run(store, "run-1", "job", [2])
    run.add("fod", "mvtec", "grid", [(0.7, 0.5)])
    run.add("fod", "mvtec", "my_part", [(0.1, 0.1)])
    run.save()
    table = paper_table(store.read(), 2)
    assert cell(table, "fod", "grid").published == 1.0
    assert cell(table, "fod", "grid").value == 0.7
    assert any("my_part" in note for note in table.notes)


def test_damaged_records_are_named_and_their_cells_empty() -> None:
    store = full_store(("FOD",))
    store.damaged.add(record_name("run-1-FOD-mvtec-tile-3407"))
    store.objects[record_name("run-1-FOD-mvtec-wood-3407")] = b'{"key": 3}'
    table = paper_table(store.read(), 2)
    assert cell(table, "FOD", "tile").text("ours") == ""
    assert cell(table, "FOD", "mean").text("ours").endswith("(13/15)")
    assert table.notes[0].startswith("13 of 15 cells have a result; missing: FOD on mvtec: tile, wood. ")
    (damaged,) = (note for note in table.notes if note.startswith("Damaged"))
    assert "trials/run-1-FOD-mvtec-tile-3407/record.json (checksum" in damaged
    assert "trials/run-1-FOD-mvtec-wood-3407/record.json (not of the form" in damaged
    assert not any("Damaged" in note for note in paper_table(store.read(), 7).notes)


def test_a_record_that_is_older_than_the_scoring_asked_for_is_not_available_with_its_reason(tmp_path: Path) -> None:
    store, reason = MemoryStore(), "its record, made by an earlier version, has no scoring 'rec_div_printed@8+16'"
    run = Run(store, "run-1", "job", [2])
    run.add("FOD", "mvtec", "tile", [(0.9, 0.8)])
    for category in ("tile", "wood"):
        key = run.add("As printed", "mvtec", category, score="rec_div_printed@8+16")
        old = record(key, run.cells[0], [(0.9, 0.8)], category=category)
        store.put(record_name(key), old.model_dump_json().encode())
    run.add("As printed", "mvtec", "grid")  # no record at all
    run.save()
    table = plain(store.read(), "job")
    for category in ("tile", "wood", "mean"):
        shown = cell(table, "As printed", category)
        why = f"{reason}, in every category" if category == "mean" else reason
        assert (shown.text("ours"), shown.undefined) == ("n/a", why)
        assert shown.notes == [f"image AUROC is not available: {why}"]
    assert cell(table, "FOD", "tile").text("ours") == "0.900" and cell(table, "As printed", "grid").text("ours") == ""
    missing, older = table.notes
    assert missing.startswith("1 of 4 cells have a result; missing: As printed on mvtec: grid. ")
    assert older.startswith("Not available: As printed on mvtec: tile, wood, whose records")
    assert "delete these records" in older and "another `--store`" in older
    for form in ("terminal", "markdown", "latex", "csv"):
        (_, path, *_) = render_report(store.read(), ["2", "plain"], form, tmp_path)
        assert "n/a" in path.read_text() or form == "csv"
    with (tmp_path / "tidy.csv").open() as file:
        lines = [line for line in csv.DictReader(file) if line["row"] == "As printed" and line["category"] == "tile"]
    assert lines and {(line["value"], line["undefined"]) for line in lines} == {("", reason)}
    (explained, *_) = explain(store.read(), "As printed/mvtec/tile")
    assert (
        explained.problem == f"{reason}; it has rec_div@8+16. Delete it, or take another store, and run the job again"
    )


def test_plain_table_turns_when_there_are_many_categories(results: Results) -> None:
    wide = plain(results, "paper")
    assert [column.title for column in wide.columns] == ["FOD", "Patch-only"] * 2
    assert [row.labels for row in wide.rows][15:17] == [("mvtec", "mean"), ("btad", "01")]
    store = MemoryStore()
    run = Run(store, "run-1", "quickstart", [])
    for row, value in (("FOD", 0.95), ("Patch-only", 0.9)):
        for category in ("weave", "rings", "parts"):
            run.add(row, "synthetic", category, [(value, value)])
    run.save()
    table = plain(store.read(), "quickstart")
    assert [column.title for column in table.columns] == ["weave", "rings", "parts", "mean"]
    assert [row.labels for row in table.rows] == [("FOD",), ("Patch-only",)] * 2
    assert cell(table, "FOD", "rings").mark == "best"
    assert cell(table, "Patch-only", "rings").mark is None, "of two only the best is marked"
