"""The ablations' and the cost table, from rows that say which tables they feed: numbers, marks, notes, and what would fill them."""

from __future__ import annotations

import statistics

import pytest

from fod_bench.paper.forms import FORMS
from fod_bench.paper.published import printed_rows
from fod_bench.report import PAPER_TABLES, Results, build_tables, paper_table
from tests.helpers.report_builders import CATEGORIES, MVTEC, MemoryStore, Run, cell, paper_store, value_of

FULL = "patch+intra+inter/entropy/mean/rec_div"
COSTS = {"gflops": 11.0, "learnable_params_m": 14.2, "train_s_per_epoch": 3.5, "inference_fps": 200.0}


@pytest.fixture(scope="module")
def results() -> Results:
    return paper_store().read()


def mean_of(row: str, dataset: str, metric: int, seed: int = 3407) -> float:
    return statistics.fmean(value_of(row, category, seed)[metric] for category in CATEGORIES[dataset])


@pytest.mark.parametrize("number", [4, *range(9, 16)])
def test_every_row_of_an_ablation_has_our_means_and_nothing_is_missing(results: Results, number: int) -> None:
    table = paper_table(results, number)
    cells = [entry for entry in table.cells() if entry.dataset != "average"]
    assert {entry.row for entry in cells} == set(printed_rows(number))
    for entry in cells:
        by_hand = mean_of(entry.row, entry.dataset, entry.metric == "pixel_auroc")
        assert entry.value == pytest.approx(by_hand) and entry.published is not None
        assert entry.difference == pytest.approx(by_hand - entry.published)
    assert not any("missing" in note or "asks for" in note or "feeds" in note for note in table.notes)


def test_table_4_has_the_papers_columns_and_an_average_over_its_data_sets(results: Results) -> None:
    table = paper_table(results, 4)
    assert table.labels == ("Views", "Entropy", "Reference", "Scoring")
    assert [column.title for column in table.columns] == ["MVTec AD", "BTAD", "MVTec 3D-AD (RGB)", "Average"]
    assert [row.labels for row in table.rows][1:3] == [("Intra", "without", "–", "Div"), ("Intra", "with", "–", "Div")]
    assert table.rows[-1].labels == ("Patch + Intra + Inter", "with", "Mean", "Rec & Div")
    average = cell(table, FULL, "mean", dataset="average")
    assert average.value == pytest.approx(statistics.fmean(mean_of(FULL, name, 0) for name in CATEGORIES))
    assert average.published == 0.945 and len(average.keys) == 28


def test_an_average_over_incomplete_means_is_left_out() -> None:
    store = MemoryStore()
    run = Run(store, "run-1", "views", [4])
    for dataset, categories in CATEGORIES.items():
        for category in categories[: 9 if dataset == "mvtec3d" else None]:
            run.add(FULL, dataset, category, [(0.9, 0.8)])
    run.save()
    table = paper_table(store.read(), 4)
    assert cell(table, FULL, "mean", dataset="mvtec3d").text("ours") == "0.900 (9/10)"
    assert cell(table, FULL, "mean", dataset="average").text("ours") == ""


def test_table_5_shows_costs_with_the_better_side_marked_and_the_device_named() -> None:
    store = MemoryStore()
    run = Run(store, "run-1", "cost", [5])
    for row, factor in (("FOD", 1.0), ("MKD", 2.0)):
        for category in MVTEC:
            costs = {name: value * factor + (category == "tile") * 1.5 for name, value in COSTS.items()}
            run.add(row, "mvtec", category, [], score="cost", costs=costs)
    run.save()
    table = paper_table(store.read(), 5)
    fod = {entry.metric: entry for entry in table.cells() if entry.row == "FOD"}
    assert fod["gflops"].value == pytest.approx(11.1)
    assert [fod[metric].text("ours") for metric in fod] == ["11.1", "14.3", "3.6", "200.1"]
    assert [fod[metric].text("paper") for metric in fod] == ["10.9", "16.2", "15", "21.4"]
    assert fod["gflops"].text("Δ") == "+0.2" and fod["train_s_per_epoch"].text("Δ") == "−11.4"
    assert [fod[metric].mark for metric in fod] == ["best", "best", "best", None]
    published = {entry.metric: entry.published_mark for entry in table.cells() if entry.row == "FOD"}
    assert published == {
        "gflops": "best",
        "learnable_params_m": "second",
        "train_s_per_epoch": None,
        "inference_fps": None,
    }
    assert "measured on cpu, threads: 2" in table.caption and "mean over categories" in table.caption
    assert "selected on test data" not in table.caption and "↓ lower is better" in table.caption
    assert cell(table, "PatchCore", "mean", "learnable_params_m").text("paper") == "/"


def test_the_values_of_each_parameter_compete_among_themselves(results: Results) -> None:
    table = paper_table(results, 11)
    assert [row.section for row in table.rows] == ["λ1, with λ2 = 1"] * 2 + ["λ2, with λ1 = 0.5"] * 2
    for parameter in ("lambda1", "lambda2"):
        cells = [entry for entry in table.cells() if entry.row.startswith(parameter) and entry.metric == "image_auroc"]
        assert [entry.row for entry in cells if entry.published_mark == "best"] == [f"{parameter}=0.5"]
        best = max(cells, key=lambda entry: entry.value or 0.0)
        assert best.mark == "best"


def test_a_value_that_the_paper_lacks_gets_a_place_of_its_own() -> None:
    store = paper_store()
    run = Run(store, "run-2", "more", [11, 12])
    for row in ("lambda1=0.25", "heads=16", "odd"):
        for category in MVTEC:
            run.add(row, "mvtec", category, [(0.9, 0.8)])
    run.save()
    results = store.read()
    weights = paper_table(results, 11)
    assert [column.title for column in weights.columns][-3:] == ["0.25", "16", ""]
    assert cell(weights, "lambda1=0.25", "mean").value == pytest.approx(0.9)
    assert sum(entry is None for row in weights.rows for entry in row.cells) > 0
    assert cell(weights, "odd", "mean").value == pytest.approx(0.9)
    assert "Not in the paper, ours only: lambda1=0.25, heads=16, odd." in weights.notes
    assert [column.title for column in paper_table(results, 12).columns] == ["2", "4", "8", "0.25", "16", "odd"]


def test_rows_feed_the_tables_they_name_whatever_the_plan_says() -> None:
    store = MemoryStore()
    run = Run(store, "run-1", "job", [12, 13])
    run.add("heads=2", "mvtec", "tile", [(0.9, 0.8)], tables=[12])
    run.save()
    results = store.read()
    assert results.fed() == {12}
    assert cell(paper_table(results, 12), "heads=2", "mean").covered == 1
    assert "No run in this store feeds Table 13" in paper_table(results, 13).notes[0]


@pytest.mark.parametrize("number", PAPER_TABLES)
def test_a_table_that_nothing_feeds_names_the_jobs_that_would(number: int) -> None:
    store = MemoryStore()
    run = Run(store, "run-1", "job", [])
    run.add("FOD", "own", "part", [(0.5, 0.5)])
    run.save()
    table = paper_table(store.read(), number)
    assert len(FORMS[number].jobs) >= 1 and "no result yet" in table.caption
    assert all(f"`fod-bench run jobs/{job}.yaml`" in " ".join(table.notes) for job in FORMS[number].jobs)


def test_a_row_that_nobody_asked_for_is_named_with_the_job_that_does() -> None:
    store = MemoryStore()
    run = Run(store, "run-1", "job", [12])
    for row in ("heads=2", "heads=8"):
        for category in MVTEC:
            run.add(row, "mvtec", category, [(0.9, 0.8)])
    run.save()
    (note,) = paper_table(store.read(), 12).notes
    assert note == "No run in this store asks for heads=4 on MVTec AD: `fod-bench run jobs/table12_heads.yaml` does."


def test_categories_that_no_row_asks_for_are_named_once() -> None:
    store = MemoryStore()
    run = Run(store, "run-1", "job", [10])
    for row in ("direct", "two_phase"):
        for category in MVTEC[:14]:
            run.add(row, "mvtec", category, [(0.9, 0.8)])
    run.add("direct", "btad", "02", [(0.9, 0.8)])
    run.save()
    (note,) = paper_table(store.read(), 10).notes
    assert note == (
        "No run in this store asks for every row on MVTec AD (zipper); direct on BTAD (product01, product03); two_phase on BTAD; "
        "every row on MVTec 3D-AD (RGB): `fod-bench run jobs/table10_optimization.yaml` does."
    )


def test_seeds_are_averaged_with_their_number_and_fewer_than_asked_for_are_said() -> None:
    store = MemoryStore()
    run = Run(store, "run-1", "job", [12])
    for category in MVTEC:
        for seed, value in ((1, 0.8), (2, 0.9), (3, 0.94)):
            done = seed < 3 or category != "tile"
            run.add("heads=2", "mvtec", category, [(value, 0.8)], seed=seed)
            run.add("heads=4", "mvtec", category, [(value, 0.8)] if done else None, seed=seed)
    run.save()
    table = paper_table(store.read(), 12)
    whole, part = cell(table, "heads=2", "mean"), cell(table, "heads=4", "mean")
    assert whole.text("ours") == f"0.880 ±{statistics.stdev((0.8, 0.9, 0.94)):.3f}" and not whole.notes
    assert part.deviation is None and part.notes == ["over 2 to 3 of 3 seeds"]
    assert "3 seeds (1, 2, 3), mean ± sample standard deviation" in table.caption


def test_the_average_over_data_sets_has_a_deviation_over_seeds() -> None:
    average = cell(paper_table(paper_store((1, 2)).read(), 4), FULL, "mean", dataset="average")
    by_seed = [statistics.fmean(mean_of(FULL, name, 0, seed) for name in CATEGORIES) for seed in (1, 2)]
    assert average.value == pytest.approx(statistics.fmean(by_seed))
    assert average.deviation == pytest.approx(statistics.stdev(by_seed)) and average.seeds == 2


def test_all_of_one_job_are_the_tables_that_it_feeds() -> None:
    store = MemoryStore()
    run = Run(store, "run-1", "heads", [12])
    run.add("heads=2", "mvtec", "tile", [(0.9, 0.8)])
    run.save()
    results = store.read()
    assert [table.name for table in build_tables(results, ["all"], fed_only=True)] == ["12", "heads"]
    assert [table.name for table in build_tables(results, ["all"])] == [*map(str, PAPER_TABLES), "heads"]


def test_a_job_that_includes_others_has_a_table_for_each_of_them(results: Results) -> None:
    names = [table.name for table in build_tables(results, ["paper"])]
    assert names == ["main", "views", *(f"table{number}" for number in (*range(10, 16), 5))] == list(results.parts())
    (heads,) = build_tables(results, ["table12"])
    assert {entry.row for entry in heads.cells()} == {"heads=2", "heads=4", "heads=8"}
    (costs,) = build_tables(results, ["table5"])
    assert {entry.metric for entry in costs.cells()} == set(COSTS)
