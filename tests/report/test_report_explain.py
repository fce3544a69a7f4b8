"""Reading a store, and the way from a number back to its trial."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fod_bench.cli.app import app
from fod_bench.errors import UsageError
from fod_bench.evaluation.metric import METRICS
from fod_bench.records.names import record_name
from fod_bench.report import Results, explain, explanation_text, render_report
from fod_bench.report.results import NOT_MEASURED
from tests.helpers.report_builders import MemoryStore, WatchedStore, full_store, image, paper_store


@pytest.fixture(scope="module")
def results() -> Results:
    return full_store().read()


def test_the_frame_is_tidy(results: Results) -> None:
    frame = results.frame()
    assert len(frame) == 2 * 28 * 2 * len(METRICS)
    line = frame.query("row == 'FOD' and category == 'pill' and selection == 'last' and metric == 'image_auroc'").iloc[
        0
    ]
    assert (line.value, line.epoch, line.key) == (image("pill", -0.1), 2, "run-1-FOD-mvtec-pill-3407")


def test_a_metric_that_an_older_record_lacks_is_not_available_with_the_reason(results: Results) -> None:
    """The records here have the metrics of before average precision was one."""
    frame = results.frame().query("metric == 'image_ap'")
    assert len(frame) and frame.value.isna().all() and frame.epoch.isna().all()
    assert set(frame.undefined) == {NOT_MEASURED}


def test_explain_leads_from_a_number_to_its_trial(results: Results) -> None:
    (found,) = explain(results, "fod/btad/product02/image_auroc")
    assert found.cell.key == "run-1-FOD-btad-02-3407"
    assert found.location == "/store/trials/run-1-FOD-btad-02-3407/record.json"
    assert list(found.metrics) == ["image_auroc"]
    selected = found.metrics["image_auroc"]
    assert (selected.best, selected.best_epoch, selected.last_epoch) == (image("02"), 1, 2)
    text = explanation_text([found])
    for expected in (
        found.location,
        "heads=8",
        "print-02",
        "rec_div@8+16",
        "torch 2.9.0",
        "cpu, 2 threads",
        "at epoch 1",
    ):
        assert expected in text
    assert len(explain(results, "*/btad/*")) == 6
    assert len(explain(results, "FOD/*")) == 28


@pytest.mark.parametrize(
    ("selector", "meant"),
    [("FOD/mvtec/botle", "'FOD/mvtec/bottle'"), ("FOD/mvtec/bottle/image_aroc", "'image_auroc'")],
)
def test_explain_refuses_what_it_does_not_know_with_the_nearest_name(
    results: Results, selector: str, meant: str
) -> None:
    with pytest.raises(UsageError, match=rf"did you mean {meant}"):
        explain(results, selector)


def test_explain_says_why_there_is_no_number() -> None:
    store = full_store(("FOD",))
    del store.objects[record_name("run-1-FOD-btad-01-3407")]
    store.damaged.add(record_name("run-1-FOD-btad-02-3407"))
    results = store.read()
    assert explain(results, "FOD/btad/01")[0].problem == "no record yet"
    assert "damaged" in explanation_text(explain(results, "FOD/btad/02"))


def test_a_store_without_runs_says_which_command_makes_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    for arguments in ([], ["--explain", "FOD/*"]):
        said = CliRunner().invoke(app, ["report", "--store", "empty", *arguments])
        assert said.exit_code == 1 and "`fod-bench run jobs/quickstart.yaml --store" in said.stderr
    with pytest.raises(UsageError, match=r"did you mean 'run-1'"):
        full_store(("FOD",)).read(run_ids=["run-2"])


def test_the_place_of_a_record_is_not_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    place = "/a folder with a long name and spaces/" * 5
    monkeypatch.setattr(MemoryStore, "location", lambda self, name: place + name)
    text = explanation_text(explain(full_store(("FOD",)).read(), "FOD/btad/01"), width=60)
    assert f"  record        {place}trials/" in text


def test_a_cost_is_explained_with_its_device_and_without_an_epoch() -> None:
    (found,) = explain(paper_store().read(), "FOD/mvtec/tile/gflops")
    assert found.metrics["gflops"].best == 11.0 and found.metrics["gflops"].best_epoch is None
    text = explanation_text([found])
    assert "costs         gflops=11\n" in text and "cpu, 2 threads" in text and "job table5, for Table 5" in text
    everything = explain(paper_store().read(), "FOD/mvtec/tile")
    assert {len(one.metrics) for one in everything} == {4, len(METRICS)}


def test_a_row_with_slashes_is_found_by_its_name() -> None:
    (found,) = explain(paper_store().read(), "intra/no-entropy/none/div/btad/product01/pixel_auroc")
    assert found.plan.job == "paper" and "job views, for Tables 4, 9" in explanation_text([found])


def test_a_report_reads_plans_and_records_and_none_of_the_curves() -> None:
    store = WatchedStore()
    store.objects = full_store(("FOD",)).objects
    render_report(store.read(), ["1"], "csv")
    assert len(store.read_names) == len(set(store.read_names)) == 30
    assert {name.rpartition("/")[2] for name in store.read_names} == {"plan.json", "job.yaml", "record.json"}


def test_the_report_needs_neither_torch_nor_ray_nor_pandas() -> None:
    code = "import sys, fod_bench.report; print([m for m in ('torch', 'ray', 'timm', 'pandas', 'matplotlib') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
