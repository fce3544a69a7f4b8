"""Jobs that runs left in a store, with variables by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from fod_bench.job import Job, content_digest, dump_job, load_job, run_id
from fod_bench.job.stored import RunJobs
from fod_bench.records.names import job_name
from fod_bench.records.run import RunPlan
from tests.helpers.report_builders import MemoryStore

FILE = "name: x\ndatasets: {own: {layout: folder, root: '${ROOT}/own'}}\nsettings:\n  epochs: ${EPOCHS:-3}\n"


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("EPOCHS", raising=False)
    monkeypatch.setenv("ROOT", "/the/data")
    (tmp_path / "job.yaml").write_text(FILE)
    return tmp_path / "job.yaml"


def kept(job: Job) -> MemoryStore:
    store = MemoryStore()
    store.put(job_name(run_id(job)), dump_job(job).encode())
    return store


def test_a_stored_job_is_whole_where_its_variables_are_and_of_the_same_content_where_only_its_folders_are_not_known(
    write: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = load_job(write)
    store = kept(job)
    assert RunJobs(store).job(run_id(job)) == job
    for lost in (False, True):
        monkeypatch.delenv("ROOT") if lost else monkeypatch.setenv("ROOT", "/elsewhere")
        stored = RunJobs(store).job(run_id(job))
        assert stored is not None and stored.datasets["own"].root == "${ROOT}/own"
        assert content_digest(stored) == content_digest(job) and run_id(stored) != run_id(job)


def test_a_value_that_has_changed_since_is_not_taken_for_that_of_the_run(
    write: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EPOCHS", "7")
    job = load_job(write)
    store = kept(job)
    monkeypatch.setenv("EPOCHS", "8")
    assert RunJobs(store).job(run_id(job)) is None
    plan = RunPlan(run_id=run_id(job), job="x", created="", tables=[], cells=[])
    line = RunJobs(store).not_run(load_job(write), "fod-bench run job.yaml", [plan])
    assert f"{run_id(job)} (other values of variables)" in line and "/the/data" not in line
