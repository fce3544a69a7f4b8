"""Results in MLflow, Weights & Biases and TensorBoard, read back by their own libraries and compared with the records."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from fod_bench.cli.app import app
from fod_bench.job import dump_job, load_job
from fod_bench.plan import make_plan
from fod_bench.records.curves import Curves
from fod_bench.records.names import curves_name, job_name, plan_name, record_name
from fod_bench.records.record import Record
from fod_bench.store import Store, open_store
from tests.helpers.report_builders import curves, record
from tests.helpers.simulation import planned
from tests.helpers.store_builders import CLAIM
from tests.helpers.wandb_files import run_of

EPOCHS: list[tuple[float | None, float | None]] = [(0.1 + 1 / 3, 0.6), (None, 0.7), (0.9, 1 / 7)]
NAMES = ("mlflow", "wandb", "tensorboard")

Trained = dict[str, tuple[Record, Curves]]


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trained:
    """A job of three trainings, two of them with record and curves; the working folder is its own."""
    monkeypatch.chdir(tmp_path)
    for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "HOME"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    planned(tmp_path, seeds=[1, 2, 3])
    job = load_job("job.yaml")
    plan, store = make_plan(job, download=False), open_store("results/store")
    store.put(job_name(plan.run.run_id), dump_job(job).encode())
    store.put(plan_name(plan.run.run_id), plan.run.model_dump_json().encode())
    made: Trained = {}
    for cell in plan.run.cells[:2]:
        assert cell.key is not None
        trial = plan.trials[cell.key].trial(checkpoint_seconds=1.0)
        whole = record(cell.key, cell, EPOCHS, features=trial.features, setting=trial.setting)
        made[cell.key] = save(store, whole, curves(cell.key, cell, EPOCHS))
    return made


def save(store: Store, made: Record, its_curves: Curves) -> tuple[Record, Curves]:
    """Leave both in the store, as a worker does."""
    whole = made.model_copy(update={"run": made.run.model_copy(update={"claim": CLAIM})})
    store.put(curves_name(whole.key, CLAIM), its_curves.model_dump_json().encode())
    store.put(record_name(whole.key), whole.model_dump_json().encode())
    return whole, its_curves


def export(name: str, *arguments: str, code: int = 0) -> Result:
    """`fod-bench export NAME` on the job."""
    result = CliRunner().invoke(app, ["export", name, "job.yaml", *arguments])
    assert result.exit_code == code, f"{result.output}\n{result.exception!r}"
    return result


Read = dict[str, dict[str, Any]]
"""By train key: `parameters`, `series` as {name: [(epoch, value)]}, `values`."""


def from_mlflow() -> Read:
    from mlflow import MlflowClient

    client, found = MlflowClient(Path("mlruns").absolute().as_uri()), {}
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    for run in client.search_runs([experiment.experiment_id]):
        assert run.info.status == "FINISHED" and run.info.end_time - run.info.start_time == 300_000
        history = {name: client.get_metric_history(run.info.run_id, name) for name in run.data.metrics}
        points = {name: [(one.step, one.value) for one in values] for name, values in history.items()}
        series = {name: values for name, values in points.items() if values[0][0]}
        key = run.data.tags["fod_bench.key"]
        assert key not in found
        found[key] = {
            "parameters": run.data.params,
            "series": series,
            "values": {name: values[0][1] for name, values in points.items() if name not in series},
        }
    return found


def from_wandb() -> Read:
    found = {}
    for place in Path("wandb").glob("offline-run-*"):
        run = run_of(place)
        assert run["project"] == "tiny" and run["ended"]
        series: dict[str, list[tuple[int, float]]] = {}
        for line in run["history"]:
            for name, value in line.items():
                if not name.startswith("_"):
                    series.setdefault(name, []).append((line["_step"], value))
        key = run["config"].pop("fod_bench")["key"]
        assert key not in found
        values = {name: value for name, value in run["summary"].items() if name not in series and name[0] != "_"}
        found[key] = {"parameters": run["config"], "series": series, "values": values}
    return found


def from_tensorboard() -> Read:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams.metadata import SESSION_START_INFO_TAG, parse_session_start_info_plugin_data

    found = {}
    for place in {events.parent for events in Path("results/tensorboard/tiny").rglob("events.*")}:
        events = EventAccumulator(str(place), size_guidance={"scalars": 0}).Reload()
        points = {name: [(one.step, one.value) for one in events.Scalars(name)] for name in events.Tags()["scalars"]}
        series = {name: values for name, values in points.items() if values[0][0]}
        begun = events.summary_metadata[SESSION_START_INFO_TAG].plugin_data.content
        session = parse_session_start_info_plugin_data(begun)
        key = session.group_name
        assert key not in found
        found[key] = {
            "parameters": {name: getattr(v, v.WhichOneof("kind")) for name, v in session.hparams.items()},
            "series": series,
            "values": {name: values[0][1] for name, values in points.items() if name not in series},
        }
    return found


READERS: dict[str, Callable[[], Read]] = {"mlflow": from_mlflow, "wandb": from_wandb, "tensorboard": from_tensorboard}


@pytest.mark.parametrize("name", NAMES)
def test_what_is_written_is_what_the_records_say_and_is_there_once(name: str, trained: Trained) -> None:
    first = export(name)
    assert first.stdout.strip().endswith("2 runs written; 1 training without a record left out")
    for _ in range(2):
        read = READERS[name]()
        assert read.keys() == trained.keys()
        for key, (whole, its_curves) in trained.items():
            compare(name, read[key], whole, its_curves)
        again = export(name)
        assert again.stdout.strip().endswith(
            "0 runs written; 2 were there already; 1 training without a record left out"
        )


def compare(name: str, read: dict[str, Any], whole: Record, its_curves: Curves) -> None:
    (score,) = whole.selected

    def told(metric: str) -> str:
        return metric.replace("@", ":").replace("+", "-") if name == "mlflow" else metric

    def close(value: float) -> Any:
        return np.float32(value) if name == "tensorboard" else value

    parameters = {"method": whole.method, "category": whole.category, "seed": whole.seed}
    parameters |= {"setting.epochs": whole.setting["epochs"], "setting.d_model.8": whole.setting["d_model"]["8"]}
    for parameter, value in parameters.items():
        assert str(read["parameters"][parameter]).removesuffix(".0") == str(value)
    series = {"loss/total": list(enumerate(its_curves.losses["total"], 1))}
    series |= {
        told(f"{score}/{metric}"): [
            (at, value) for at, value in zip(its_curves.evaluated, values, strict=True) if value is not None
        ]
        for metric, values in its_curves.metrics[score].items()
    }
    assert [at for at, _ in series[told(f"{score}/image_auroc")]] == [1, 3]
    assert read["series"] == {metric: [(at, close(value)) for at, value in points] for metric, points in series.items()}
    best, best_epoch, last, _ = whole.selected[score]["image_auroc"]
    for kind, value in (("best", best), ("best_epoch", best_epoch), ("last", last)):
        assert read["values"][told(f"{kind}/{score}/image_auroc")] == close(value or 0)
    assert read["values"]["train_seconds"] == 280.0


def train_anew(trained: Trained) -> str:
    """Another result of the first training takes the place of its record; its key."""
    key, (whole, its_curves) = next(iter(trained.items()))
    losses = {"total": [value * 2 for value in its_curves.losses["total"]]}
    changed = its_curves.model_copy(update={"losses": losses})
    trained[key] = save(open_store("results/store"), whole.model_copy(update={"curves": changed.digest()}), changed)
    return key


@pytest.mark.parametrize("name", NAMES)
def test_a_training_that_was_done_anew_takes_the_place_of_its_run(name: str, trained: Trained) -> None:
    export(name)
    key = train_anew(trained)
    assert "1 run written, 1 of them in place of an earlier one; 1 was there already" in export(name).stdout
    read = READERS[name]()
    assert read.keys() == trained.keys()
    compare(name, read[key], *trained[key])


@pytest.mark.parametrize("name", NAMES)
def test_a_run_that_was_left_half_written_is_written_again(name: str, trained: Trained) -> None:
    export(name)
    if name == "mlflow":
        from mlflow import MlflowClient

        client = MlflowClient(Path("mlruns").absolute().as_uri())
        experiment = client.get_experiment_by_name("tiny")
        assert experiment is not None
        for run in client.search_runs([experiment.experiment_id]):
            client.delete_tag(run.info.run_id, "fod_bench.digest")
    else:
        for mark in list(Path().rglob("fod-bench.txt")):
            mark.unlink()
    assert "2 runs written, 2 of them in place of earlier ones" in export(name).stdout
    assert READERS[name]().keys() == trained.keys()


def test_a_run_that_was_uploaded_stays_beside_the_one_of_another_result(trained: Trained) -> None:
    export("wandb")
    uploaded = sorted(Path("wandb").glob("offline-run-*"))
    for place in uploaded:
        (file,) = place.glob("*.wandb")
        file.with_name(f"{file.name}.synced").touch()  # as `wandb sync` does
    train_anew(trained)
    assert "1 run written; 1 was there already" in export("wandb").stdout
    there = sorted(Path("wandb").glob("offline-run-*"))
    assert set(uploaded) < set(there) and len(there) == 3
    assert len({run_of(place)["id"] for place in there}) == 3


def test_curves_that_are_gone_are_named_and_the_rest_is_written(trained: Trained) -> None:
    key = next(iter(trained))
    open_store("results/store").delete(curves_name(key, CLAIM))
    done = export("tensorboard")
    assert "2 runs written" in done.stdout and f"no values per epoch: store {Path.cwd()}" in done.stderr
    read = from_tensorboard()
    assert not read[key]["series"] and read[key]["values"]["train_seconds"] == 280.0


def test_the_machine_that_exports_and_its_secrets_stay_out(trained: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "KeepMeOutOfEveryFile")
    monkeypatch.setenv("WANDB_API_KEY", "0123456789" * 4)
    for name in NAMES:
        export(name)
    for path in Path().rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        assert b"KeepMeOutOfEveryFile" not in content and b"0123456789" * 4 not in content, path
    assert not list(Path("wandb").rglob("wandb-metadata.json")) and not list(Path("wandb").rglob("requirements.txt"))


@pytest.mark.parametrize("name", NAMES)
def test_a_library_that_is_missing_is_one_line_that_says_what_to_install(
    name: str, trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in [module for module in sys.modules if module.partition(".")[0] == name]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.delitem(sys.modules, f"fod_bench.export.to_{name}", raising=False)
    monkeypatch.setitem(sys.modules, name, None)
    refused = export(name, code=1)
    assert refused.stderr.count("\n") == 1 and f"pip install 'fod-bench[{name}]'" in refused.stderr


def test_a_job_without_results_and_a_place_that_cannot_be_written_are_one_line(
    trained: Trained, tmp_path: Path
) -> None:
    nothing = export("tensorboard", "--set", "epochs=7", code=1)
    assert nothing.stderr.count("\n") == 1 and "no run of job 'tiny' as it is given here" in nothing.stderr
    (tmp_path / "file").write_text("")
    for name in NAMES:
        blocked = export(name, "--to", "file/below", code=1)
        assert (
            blocked.stderr.count("\n") == 1 and "--to" in blocked.stderr and "cannot make this folder" in blocked.stderr
        )
    taken = export("mlflow", "--to", "file", code=1)
    assert taken.stderr == "fod-bench: --to file: this is a file; MLflow takes a folder or a server\n"
    far = export("mlflow", "--to", "http://me:s3cr3t@127.0.0.1:9", code=1)
    assert far.stderr.count("\n") == 1 and far.stderr.startswith("fod-bench: MLflow at http://…@127.0.0.1:9: ")
    assert "s3cr3t" not in far.stderr


def test_no_tracker_is_imported_unasked() -> None:
    code = (
        "import sys, fod_bench.cli.app, fod_bench.export.exported, fod_bench.export.target;"
        "print(sorted({'mlflow', 'wandb', 'tensorboard'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
