"""A model of anomalib from job file to table on a real Ray: `make test-anomalib`."""

from __future__ import annotations

import json

import pytest
import yaml

from fod_bench.methods.anomalib.package import installed
from fod_bench.records.record import Record
from fod_bench.store import open_store
from tests.helpers.commands import DRAWN, Bench

pytestmark = pytest.mark.skipif(installed() is None, reason="anomalib is not installed")


def test_models_run_from_job_file_to_table_and_are_reused(bench: Bench) -> None:
    content = {
        **{"name": "models", "store": "store", "datasets": {"drawn": DRAWN}},
        "settings": {"backbone": "resnet18", "weights": "random", "image_size": 64},
        "variants": {
            "a memory": {"method": "anomalib/padim", "levels": [8, 16], "n_features": 20},
            "a student": {"method": "anomalib/stfpm", "epochs": 2},
            "without a backbone": {"method": "anomalib/ganomaly", "epochs": 1, "n_features": 8},
        },
    }
    (bench.folder / "models.yaml").write_text(yaml.safe_dump(content))
    plan = json.loads(bench.run("plan", "models.yaml", "--json").out)
    assert plan["feature_sets"] == 1, "the images"
    done = bench.run("run", "models.yaml")
    assert "a memory" in done.out and "a student" in done.out and "n/a" not in done.out
    store = open_store(str(bench.folder / "store"))
    names = [info.name for info in store.list("trials/") if info.name.endswith("/record.json")]
    records = {record.method: record for record in (Record.model_validate_json(store.get(name)) for name in names)}
    assert set(records) == {"anomalib/padim", "anomalib/stfpm", "anomalib/ganomaly"}
    assert all(record.setting["anomalib"] == installed() for record in records.values())
    assert records["anomalib/padim"].setting["n_features"] == 20 and records["anomalib/stfpm"].setting["epochs"] == 2
    again = bench.run("run", "models.yaml")
    assert again.out == done.out and "0 done, 3 reused" in again.err
