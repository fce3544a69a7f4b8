"""A worker that finds another store than the run's."""

from __future__ import annotations

from pathlib import Path

import pytest

from fod_bench.cluster.actor import RemoteWorker
from fod_bench.errors import ClusterError
from fod_bench.runs.resources import Share
from fod_bench.store import open_store


def test_a_worker_refuses_a_store_that_only_has_the_same_name(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "store"))
    store.put("runs/tiny/plan.json", b"{}")
    RemoteWorker(store.uri, Share(1, 0), "runs/tiny/plan.json")
    with pytest.raises(ClusterError, match="is not the one that the run was started on"):
        RemoteWorker(str(tmp_path / "another"), Share(1, 0), "runs/tiny/plan.json")
