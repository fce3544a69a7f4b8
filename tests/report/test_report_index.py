"""Reports, plans and status of a job with an index of the records say the same as without, to the byte, and read no record."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from fod_bench.cli.app import app
from fod_bench.job import dump_job, load_job
from fod_bench.job.load import run_id
from fod_bench.plan import make_plan
from fod_bench.records.failures import Failure, keep_failure
from fod_bench.records.index import trials
from fod_bench.records.index.append import refresh
from fod_bench.records.names import job_name, kind_of, plan_name, record_name
from fod_bench.store import Store, open_store
from fod_bench.store.folder.store import LocalStore
from fod_bench.store.s3.store import S3Store
from tests.helpers.commands import DRAWN, TINY
from tests.helpers.report_builders import record


@pytest.fixture(params=["folder", "moto"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store with the run of `job.yaml`, of which some trainings failed, some have no record, and some a record that is none."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(trials, "FEW", 0)
    monkeypatch.setattr(trials, "COMPARED", 5)
    uri = "store" if request.param == "folder" else request.getfixturevalue("s3")("moto").address(tmp_path.name)
    content = {"name": "job", "store": uri, "datasets": {"drawn": DRAWN | {"categories": ["weave", "board"]}}}
    content |= {"settings": TINY, "grid": {"lambda1": [0.1, 0.5, 1, 3]}, "seeds": [1, 2]}
    Path("job.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    store, job = open_store(uri), load_job(Path("job.yaml"))
    made = make_plan(job, download=False)
    store.put(job_name(run_id(job)), dump_job(job).encode())
    store.put(plan_name(run_id(job)), made.run.model_copy(update={"created": "2024-05-01"}).model_dump_json().encode())
    for number, cell in enumerate(made.run.cells):
        key = str(cell.key)
        trained = made.trials[key].trial(checkpoint_seconds=1.0)
        changes = {"features": trained.features, "setting": trained.setting, "fingerprint": trained.fingerprint}
        found = record(key, cell, [(0.5 + number / 100, 0.6), (0.7, 0.5)], **changes)
        if number == 1:
            keep_failure(store, key, "it", Failure("it broke", ""))
        elif number == 2:
            store.put(record_name(key), b"{}")
        elif number == 3:
            store.put(record_name(key), found.model_copy(update={"category": "other"}).model_dump_json().encode())
        elif number != 4:
            store.put(record_name(key), found.model_dump_json().encode())
    return store


COMMANDS: dict[str, list[str]] = {
    "report": ["report", "job.yaml"],
    "tidy": ["report", "job.yaml", "--format", "tidy"],
    "run": ["report", "--format", "markdown"],
    "status": ["status", "job.yaml"],
    "plan": ["plan", "job.yaml", "--json"],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_the_index_changes_no_byte(
    store: Store, command: str, monkeypatch: pytest.MonkeyPatch, s3: Callable[[str], object]
) -> None:
    arguments = [*COMMANDS[command], "--store", store.uri]
    monkeypatch.setenv(trials.SWITCH, "0")
    slow = CliRunner().invoke(app, arguments)
    monkeypatch.delenv(trials.SWITCH)
    assert CliRunner().invoke(app, arguments).stdout == slow.stdout, "there is no index yet"
    refresh(store)
    read: list[str] = []
    for kind in (LocalStore, S3Store):
        get = kind.get
        monkeypatch.setattr(kind, "get", lambda self, name, get=get: read.append(name) or get(self, name))
    fast = CliRunner().invoke(app, arguments)
    assert (fast.stdout, fast.exit_code) == (slow.stdout, 0) and len(slow.stdout) > 300
    assert [name for name in read if kind_of(name) == "records" and store.exists(name)] == []
