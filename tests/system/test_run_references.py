"""All kinds of reference in one run on a real Ray; and a reference that cannot be made ends those trainings that need it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from fod_bench.cluster.orchestrator import Orchestrator
from fod_bench.cluster.session import Share
from fod_bench.job import load_job
from fod_bench.plan import make_plan
from fod_bench.records.failures import Failure
from fod_bench.runs.messages import Prepared
from fod_bench.runs.progress import Progress, stderr_console
from fod_bench.store import open_store
from tests.helpers.commands import DRAWN, TINY, Bench

ROWS: dict[str, Any] = {
    "mean": {},
    "nearest": {"reference": "nearest"},
    "coreset": {"reference": {"kind": "coreset", "per_position": 2}},
    "prototype": {"reference": "prototype"},
    "codebook": {"reference": {"kind": "codebook", "codes": 300}},
}


def test_every_kind_from_the_job_to_the_table(bench: Bench) -> None:
    job = bench.job("kinds", variants=ROWS)
    done = bench.run("run", job)
    assert done.err.endswith("5 trainings: 5 done\n") and all(row in done.out for row in ROWS)
    references = {record.reference["kind"]: record.reference for record in bench.records().values() if record.reference}
    assert set(references) == set(ROWS)
    assert len(bench.stored("references/*.safetensors")) == 5
    used = references["codebook"]["facts"]["codes_used"]
    assert references["codebook"]["facts"]["codes"] == {"8": 300, "16": 96} and used["8"] > 0 < used["16"]

    bench.run("store", "verify", "--store", "results/store")
    bench.run("store", "gc", "--store", "results/store", "--delete", "--older-than", "0")
    assert len(bench.stored("references/*.safetensors")) == 5, "records still name them"
    assert bench.run("run", job).err == "5 trainings: 0 done, 5 reused\n"
    shown = bench.run("report", job, "--explain", "codebook/drawn/weave").out
    assert "kind=codebook" in shown and "codes_used: {8: " in " ".join(shown.split())


def test_what_cannot_be_made_ends_only_the_trainings_that_need_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    content = {"name": "tiny", "datasets": {"drawn": DRAWN}, "settings": TINY, "variants": ROWS, "seeds": [1, 2]}
    Path("job.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    trials = list(make_plan(load_job("job.yaml"), download=False).trials.values())
    store, progress = open_store("store"), Progress(trials, stderr_console(), quiet=True)
    orchestrator = Orchestrator(
        store, "none", Share(1, 0), progress, driver="d", checkpoint_seconds=1e9, lease_seconds=60
    )
    orchestrator._backlog.add(trials)
    request, wanted = orchestrator._backlog.next_features() or pytest.fail()
    assert [spec.kind for spec in wanted] == list(ROWS)
    doomed = [trial for trial in trials if trial.settings.reference.kind == "coreset"]
    unmade = {doomed[0].reference_key or "": Failure("too large", "Traceback")}
    orchestrator._settle(request, Prepared(True, 1, unmade))
    assert set(progress.counts.failed) == {trial.name for trial in doomed}
    left = []
    while (trial := orchestrator._backlog.next_trial(None)) is not None:
        left.append(trial)
    assert left == [trial for trial in trials if trial not in doomed]
