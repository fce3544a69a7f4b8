"""The paper's jobs: which trainings each table takes, with data and without, and a reduced run of all of them."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from fod_bench.cli.plan_view import print_summary
from fod_bench.job import load_job
from fod_bench.methods.fod.settings import FodSettings
from fod_bench.paper.backbones import measurable
from fod_bench.paper.tables import printed_tables
from fod_bench.plan import Plan, make_plan, summarize
from fod_bench.store import open_store
from tests.helpers.commands import Bench
from tests.helpers.paper_data import write_paper_data

JOBS = Path(__file__).parents[2] / "jobs"
TABLES = sorted(JOBS.glob("table*.yaml"))

TRAININGS = {
    "table01_02_06_mvtec": (7 * 15, 7 * 15, 7 * 15),
    "table03_07_btad": (6 * 3, 6 * 3, 6 * 3),
    "table03_08_mvtec3d": (6 * 10, 6 * 10, 6 * 10),
    "table04_09_views": (8 * 28, 6 * 28, 5 * 28),
    "table10_optimization": (2 * 28, 2 * 28, 28),
    "table11_lambda": (12 * 15, 11 * 15, 10 * 15),
    "table12_heads": (3 * 15, 3 * 15, 2 * 15),
    "table13_layers": (5 * 15, 5 * 15, 4 * 15),
    "table14_levels": (5 * 15, 2 * 15, 15),
    "table15_references": (5 * 28, 5 * 28, 4 * 28),
}
"""Trainings of a table: every row apart, merged within it, and new after the tables before it."""

REDUCED = [
    f"--set={change}"
    for change in (
        "image_size=64",
        "epochs=1",
        "limit_train=2",
        "limit_test=4",
        "backbone=resnet18",
        "weights=random",
        "d_model={4: 16, 8: 16, 16: 16}",
    )
]
"""Every table of settings in a moment; what a number is worth then, nobody knows."""
OTHERS = [f"--set={change}" for change in ("width=4", "repeats=2", "fiber=16", "blocks=2")]
"""The same for the methods beside FOD, which only the main tables have."""


@pytest.fixture(autouse=True)
def no_data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("FOD_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def plan_of(path: Path, *overrides: str) -> Plan:
    return make_plan(load_job(path, overrides), download=False)


def test_the_whole_paper_is_978_trainings_apart_and_718_merged() -> None:
    plan = plan_of(JOBS / "paper.yaml")
    parts = {part.name: (part.trainings_apart, part.trainings, part.trainings_new) for part in plan.parts}
    assert {name: counts for name, counts in parts.items() if any(counts)} == TRAININGS
    summary = summarize(plan, open_store("nowhere"))
    assert (summary.trainings_apart, summary.trainings) == (978, 718)
    assert (summary.measurements, sum(trial.measures_cost for trial in plan.trials.values())) == (6 * 15, 6 * 15)
    assert sum(part.trainings_new for part in summary.parts) == 718
    of = Counter(trial.settings.method for trial in plan.trials.values() if not trial.measures_cost)
    five = dict.fromkeys(("draem", "patchsvdd", "mkd", "patchcore", "cflow"), 28)
    assert of == {"fod": 563, "padim": 15, **five}
    assert {tuple(cell.tables) for cell in plan.run.cells if cell.method == "padim"} == {(1,)}
    assert summary.tables == plan.job.fed_tables() == [number for number in range(1, 16) if number in summary.tables]


def test_a_person_sees_the_same_counts(capsys: pytest.CaptureFixture[str]) -> None:
    print_summary(summarize(plan_of(JOBS / "paper.yaml"), open_store("nowhere")))
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["table14_levels", "14", "5", "15", "75", "30", "15"] in [line[:7] for line in lines]
    assert ["28", "978", "718"] in [line[2:5] for line in lines if line[:1] == ["all"]]


def test_the_ablations_are_the_paper_without_the_main_tables() -> None:
    summary = summarize(plan_of(JOBS / "ablation.yaml"), open_store("nowhere"))
    assert (summary.trainings_apart, summary.trainings, summary.tables) == (795, 563, [4, 9, 10, 11, 12, 13, 14, 15])


@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.stem)
def test_a_table_has_the_papers_rows_on_its_data_sets(path: Path) -> None:
    job = load_job(path)
    rows = [label for label, _ in job.rows()]
    for number in job.tables:
        printed = printed_tables()[number]
        standing = [row for row in rows if number in job.tables_of(row)]
        assert sorted(standing) == sorted(measurable(printed.rows) if number == 1 else printed.rows)
        assert set(job.datasets) <= set(printed.datasets), "and no other"
    assert all(spec.layout == name for name, spec in job.datasets.items()) and job.seeds == (3407,)


def test_rows_set_what_they_are_called() -> None:
    rows = {
        f"{path.stem[5:7]} {label}": settings
        for path in TABLES
        for label, settings in load_job(path).rows()
        if settings.method == "fod" and settings != FodSettings()
    }

    def given(key: str) -> dict[str, object]:
        default = FodSettings().model_dump()
        return {k: v for k, v in rows[key].model_dump(exclude_unset=False).items() if v != default[k]}

    assert given("11 lambda1=0.1") == {"lambda1": 0.1, "lambda2": 1} and given("11 lambda2=10") == {"lambda2": 10}
    assert given("11 lambda1=0.5") == given("11 lambda2=1") == {"lambda2": 1} and "11 lambda2=0.5" not in rows
    assert given("12 heads=2") == {"heads": 2} and given("13 layers=6") == {"layers": 6}
    assert given("10 direct") == {"optimization": "direct"} and "10 two_phase" not in rows
    assert rows["14 levels=4"].scored_levels == (4,) and rows["14 levels=4"].levels == (4, 8, 16)
    assert rows["14 levels=16"].scored_levels == (16,) and rows["14 levels=16"].levels == (8, 16)
    assert given("04 intra/no-entropy/none/div") == {"views": "intra", "entropy": False, "scoring": "div"}
    assert given("04 intra+inter/entropy/mean/div") == {"scoring": "div"}
    assert given("04 patch/none/none/rec") == {"views": "patch", "scoring": "rec"}


def test_with_images_the_same_are_merged_by_content_whatever_they_are_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_paper_data(tmp_path / "data")
    reduced = [change.removeprefix("--set=") for change in REDUCED]
    others = [change.removeprefix("--set=") for change in OTHERS]
    plan = plan_of(JOBS / "paper.yaml", *reduced, *others)
    assert not plan.faults()
    parts = {part.name: (part.trainings_apart, part.trainings, part.trainings_new) for part in plan.parts}
    assert {name: counts for name, counts in parts.items() if any(counts)} == TRAININGS
    assert sum(part.trainings_new for part in plan.parts) == 718

    (tmp_path / "moved").symlink_to(tmp_path / "data/btad")
    (tmp_path / "one.yaml").write_text(
        "name: one\ndatasets: {btad: {layout: btad, root: data/btad}, again: {layout: btad, root: moved}}\n"
    )
    (tmp_path / "two.yaml").write_text(
        "name: two\ninclude: [one.yaml]\ndatasets: {third: {layout: btad, root: moved}}\nvariants: {Mine: {}}\n"
    )
    moved = plan_of(tmp_path / "two.yaml", *reduced)
    assert [part.trainings_new for part in moved.parts] == [3, 0] and len(moved.run.cells) == 9
    first = next(iter(moved.trials.values()))
    assert first.cells == ["Mine/third/01", "FOD/btad/01", "FOD/again/01"] and first.rows == ["Mine", "FOD"]
    monkeypatch.setenv("FOD_DATA", "nowhere")
    missing = plan_of(JOBS / "paper.yaml", *reduced, *others, "datasets.btad.root=data/btad")
    assert {cell.dataset for cell in missing.run.cells if cell.key} == {"btad"}
    assert sum(not trial.measures_cost for trial in missing.trials.values()) == 718


def test_a_limit_is_part_of_what_a_training_is(tmp_path: Path) -> None:
    write_paper_data(tmp_path / "data", {"btad": ["01"]})
    chosen = ["datasets.btad.categories=[01]", "weights=random"]
    keys = [
        set(plan_of(JOBS / "table03_07_btad.yaml", *chosen, *more).trials)
        for more in ([], ["limit_train=2"], ["limit_train=3"], ["datasets.btad.limit={train: 2}"])
    ]
    assert keys[0] == keys[2] != keys[1] == keys[3], "three images are all there are"
    without = [
        summarize(plan_of(JOBS / "table03_07_btad.yaml", *more, "datasets.btad.root=x"), open_store("nowhere"))
        for more in ([], ["limit_train=2"])
    ]
    assert [summary.steps_left for summary in without] == [1285024, 8697]


def test_the_reduced_paper_runs_and_the_second_time_trains_nothing(bench: Bench) -> None:
    categories = {"mvtec": ["bottle"], "btad": ["01"], "mvtec3d": ["bagel"]}
    write_paper_data(bench.folder / "data", categories)
    chosen = [f"--set=datasets.{name}.categories={list(names)}" for name, names in categories.items()]
    arguments = [str(JOBS / "paper.yaml"), *REDUCED, *chosen]
    whole = [*arguments, *OTHERS]
    before = json.loads(bench.run("plan", *whole, "--json").out)
    assert (before["trainings_apart"], before["trainings"], before["measurements"]) == (89, 66, 6)

    first = bench.run("run", *whole)
    assert first.err.rstrip().endswith("66 trainings, 6 measurements: 72 done"), first.err
    records = bench.digests()
    assert len(records) == 72

    again = bench.run("run", *whole)
    assert "66 trainings, 6 measurements: 0 done, 72 reused" in again.err and again.out == first.out

    # Another scoring is another view of the same records. Costs have none, so the part that measures them is left out.
    other = [str(JOBS / "ablation.yaml"), *arguments[1:], "--set=scoring=rec", "--set=score_levels=[8]"]
    changed = bench.run("run", *other)
    assert "50 trainings: 0 done, 50 reused" in changed.err and changed.out != first.out
    assert bench.digests() == records
