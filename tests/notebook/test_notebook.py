"""What a notebook gets: a frame of results, trials and score maps; and the notebook of the examples, executed."""

from __future__ import annotations

import shutil
from pathlib import Path

import matplotlib
import numpy as np
import pandas
import pytest
import yaml

import fod_bench
from fod_bench import load_results, load_trial
from fod_bench.datasets import SyntheticSettings
from fod_bench.errors import FodBenchError, UsageError
from fod_bench.records.names import kind_of
from fod_bench.report.results import Observation
from fod_bench.store import open_store
from tests.helpers.commands import TINY
from tests.helpers.finished import Finished, finish, small_job

EXAMPLE = Path(__file__).parents[2] / "examples" / "results.ipynb"


@pytest.fixture(autouse=True)
def no_window(monkeypatch: pytest.MonkeyPatch) -> None:
    matplotlib.use("agg")


def test_results_are_a_frame_of_every_number(finished: Finished) -> None:
    results = load_results(str(finished.store))
    assert list(results.columns) == list(Observation._fields)
    assert set(results["row"]) == {"FOD", "Patch-only", "PatchCore"} and results["value"].notna().all()
    chosen = results.query("row == 'FOD' and metric == 'image_auroc' and selection == 'last'")
    assert type(chosen) is pandas.DataFrame and len(chosen) == 1
    table = results.table("image_auroc")
    assert table.loc["FOD", ("drawn", "weave")] == chosen["value"].iloc[0]
    assert load_results(str(finished.store), job=finished.job)["value"].tolist() == results["value"].tolist()
    shown = results._repr_html_()
    assert "3 trials, 3 rows, 1 categories" in shown and "<table" in shown and "PatchCore" in shown
    assert len(results.plot("pixel_auroc").patches) == 3
    with pytest.raises(UsageError, match="did you mean 'image_auroc'"):
        results.plot("image_auro")
    with pytest.raises(UsageError, match="give a job or a run, not both"):
        load_results(str(finished.store), job=finished.job, run="x")


def test_a_trial_shows_what_it_is_and_draws_its_curves(finished: Finished) -> None:
    trial = load_trial("fod/drawn/weave", str(finished.store))
    curves = trial.curves()
    assert curves.index.tolist() == [1, 2] and "reconstruction" in curves
    assert trial.metrics().loc["image_auroc", "last"] == curves["image_auroc"].iloc[-1]
    assert len(trial.plot().lines) == 2
    shown = trial._repr_html_()
    assert "FOD/drawn/weave" in shown and trial.record.key in shown and "6 to train on" in shown


def test_its_test_images_have_maps(finished: Finished, tmp_path: Path) -> None:
    trial = load_trial("FOD/drawn/weave", str(finished.store))
    maps = trial.score_maps()
    assert len(maps) == len(maps.names) == 8 and [one.name for one in maps] == maps.names
    files = [finished.images / name for name in maps.names]
    predicted = list(trial.detector().predict(files, decide=False))
    for one, same in zip(maps, predicted, strict=True):
        np.testing.assert_array_equal(one.map, same.map)
        assert one.score == same.score and one.label == ("good" not in one.name)
    one = maps["good/000.png"]
    assert one.truth is not None and not one.truth.any() and set(one.panels()) == {"image", "truth", "map"}
    assert one._repr_html_().count("<img") == 3 and len(one.plot()) == 3
    assert "highest normal" in maps._repr_html_() and len(maps[:2]) == 2
    with pytest.raises(UsageError, match=r"no test image 'x\.png'"):
        maps["x.png"]
    store = tmp_path / "store"
    shutil.copytree(finished.store, store)
    opened = open_store(str(store))
    for info in list(opened.list("trials/")):
        if kind_of(info.name) == "scores":
            opened.delete(info.name)
    with pytest.raises(FodBenchError, match="keeps no scores of its test images at epoch last"):
        load_trial("FOD/drawn/weave", str(store)).score_maps()


def test_a_prediction_shows_and_draws_itself(finished: Finished) -> None:
    detector = fod_bench.load_detector("PatchCore/drawn/weave", str(finished.store))
    image = np.full((40, 60, 3), 128, np.uint8)
    (found,) = detector.predict(image)
    assert found.name == "image 1" and found.anomalous == (found.score > detector.threshold)
    assert found.full_map().shape == (40, 60) and found.overlay().size == (60, 40)
    assert "data:image/png;base64" in found._repr_html_() and found.plot().images
    detector.threshold = found.score
    assert not next(detector.predict(image)).anomalous, "an image is anomalous above the threshold"
    with pytest.raises(UsageError, match="a batch is of one image at least"):
        list(detector.predict(image, batch=0))
    with pytest.raises(AttributeError, match="no attribute 'load_everything'"):
        fod_bench.load_everything  # noqa: B018


def test_the_example_runs_from_its_first_cell_to_its_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On results of the names that the quickstart has."""
    import nbformat
    from nbclient import NotebookClient

    drawn = SyntheticSettings(train=6, test_good=3, test_defect_per_type=1, size=64).model_dump()
    dataset = {"layout": "synthetic", "categories": ["weave"], "synthetic": drawn}
    quickstart = yaml.safe_load((EXAMPLE.parents[1] / "jobs" / "quickstart.yaml").read_text())
    assert "FOD" in quickstart["variants"] and "weave" in quickstart["datasets"]["synthetic"]["categories"]
    job = small_job(tmp_path, {"FOD": TINY}, {"synthetic": dataset}, store=str(tmp_path / "results" / "store"))
    finish(job)
    monkeypatch.setenv("PYTHONPATH", str(EXAMPLE.parents[1]))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook = nbformat.read(EXAMPLE, as_version=4)
    nbformat.validate(notebook)
    assert not any(cell.get("outputs") for cell in notebook.cells), "it is kept without outputs"
    client = NotebookClient(
        notebook, timeout=900, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    )
    done = client.execute()
    shown = [output for cell in done.cells if cell.cell_type == "code" for output in cell.outputs]
    assert not [output for output in shown if output.output_type == "error"]
    assert sum("text/html" in output.get("data", {}) for output in shown) >= 4
    assert sum("image/png" in output.get("data", {}) for output in shown) == 3
