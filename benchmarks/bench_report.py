"""All fifteen tables of the paper from a folder with more than 10 000 records, as a whole process.

The records are those that the paper's tables need, with 18 seeds: 100 evaluated epochs, twelve ways of scoring (28 with three
levels), five metrics. Their values are drawn at random.
"""

from __future__ import annotations

import hashlib
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

from benchmarks import Result
from fod_bench.evaluation.metric import METRICS
from fod_bench.paper.published import printed_categories, printed_datasets, printed_rows
from fod_bench.records.curves import Curves, EpochResult
from fod_bench.records.names import canonical_digest, curves_name, plan_name, record_name
from fod_bench.records.record import Counts, Record, RunInfo, score_name, train_key
from fod_bench.records.run import Cell, RunPlan
from fod_bench.store import open_store

_SEEDS = range(18)
_EPOCHS = 100
_CLAIM = "00000001-0a1b2c3d"

_COSTS = ("gflops", "learnable_params_m", "train_s_per_epoch", "inference_fps")

# Rows that one training serves; any other has one of its own.
_SHARED = {
    "full": (
        *("FOD", "patch+intra+inter/entropy/mean/rec_div", "intra+inter/entropy/mean/div", "two_phase"),
        *("lambda2=0.5", "heads=8", "layers=3", "levels=8", "levels=16", "levels=8+16", "mean"),
    ),
    "intra/entropy": ("intra/entropy/none/div", "intra/entropy/none/rec_div"),
    "lambda1=0.5, lambda2=1": ("lambda1=0.5", "lambda2=1"),
    "levels=4+8+16": ("levels=4", "levels=4+8+16"),
}
_TRAINING = {row: training for training, rows in _SHARED.items() for row in rows}


def run() -> list[Result]:
    """Wall-clock of `fod-bench report --table all` and the memory it takes, the least of three."""
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "store"
        records = build_store(store)
        times = [_seconds(store) for _ in range(3)]
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        return [
            Result(f"report --table all, {records} records", min(times), 5.0, "s", higher_is_better=False),
            Result("the same, memory", peak, 500.0, "MiB", higher_is_better=False),
        ]


def build_store(folder: Path) -> int:
    """Fill the folder store at `folder`; how many records it has then."""
    draw = random.Random(3407)
    open_store(str(folder)).put("probe/made", b"")
    cells = list(_cells())
    curves = {levels: _curves(folder, draw, levels) for levels in ((8, 16), (4, 8, 16))}
    wanted: dict[str, tuple[Cell, str]] = {}
    for cell, training in cells:
        assert cell.key is not None
        wanted.setdefault(cell.key, (cell, training))
    for cell, training in wanted.values():
        made, path = curves[(4, 8, 16) if training == "levels=4+8+16" else (8, 16)]
        record = _record(draw, cell, training, made)
        _write(folder, record_name(record.key), record.model_dump_json().encode())
        target = folder / curves_name(record.key, _CLAIM)
        target.parent.mkdir()
        os.link(path, target)  # the same for all: nobody reads them here
    plan = RunPlan(
        run_id="paper-00000000",
        job="paper",
        created="2024-05-01T10:00:00+00:00",
        tables=list(range(1, 16)),
        cells=[cell for cell, _ in cells],
    )
    _write(folder, plan_name(plan.run_id), plan.model_dump_json(indent=1).encode())
    return len(wanted)


def _cells() -> Iterator[tuple[Cell, str]]:
    """Every cell of the paper's tables that this project can fill, and what is trained for it."""
    for number in range(1, 16):
        for row in printed_rows(number) if number in (4, *range(9, 16)) else ("FOD",):
            for dataset in printed_datasets(number):
                training = "cost" if number == 5 else _TRAINING.get(row, row)
                for category in printed_categories(dataset):
                    for seed in _SEEDS:
                        cell = Cell(
                            row=row,
                            method="fod",
                            dataset=dataset,
                            layout=dataset,
                            category=category.replace("product", ""),
                            seed=seed,
                            score=_score(row, number),
                            key=train_key(_features_key(dataset, category), seed, _setting(training), 1),
                            part=f"table{number:02d}",
                            tables=[number],
                        )
                        yield cell, training


def _features_key(dataset: str, category: str) -> str:
    return canonical_digest([dataset, category.replace("product", "")])[:32]


def _setting(training: str) -> dict[str, Any]:
    return {
        **{"method": "fod", "views": "full", "levels": [8, 16], "d_model": {"8": 256, "16": 512}, "heads": 8},
        **{"layers": 3, "entropy": True, "lambda1": 0.5, "lambda2": 0.5, "optimization": "two_phase"},
        **{"learning_rate": 0.0001, "batch_size": 1, "epochs": 100, "evaluate_every": 1, "training": training},
        **{"reference": {"kind": "mean"}, "zero_gradient_step": False},
    }


def _score(row: str, number: int) -> str:
    if number == 5:
        return "cost"
    levels = [int(level) for level in row.removeprefix("levels=").split("+")] if row.startswith("levels=") else [8, 16]
    return score_name(row.rpartition("/")[2] if "/" in row else "rec_div", levels)


def _curves(folder: Path, draw: random.Random, levels: tuple[int, ...]) -> tuple[Curves, Path]:
    """Curves of every rule on every subset of `levels`, and the file they are in."""
    subsets = [subset for size in range(1, len(levels) + 1) for subset in combinations(levels, size)]
    scores = [score_name(rule, subset) for rule in ("rec", "div", "rec_div", "rec_div_printed") for subset in subsets]
    losses = ("reconstruction", "intra_divergence", "intra_entropy", "inter_divergence", "inter_entropy", "p1", "p2")
    curves = Curves.of(
        "any",
        [
            EpochResult(
                epoch=epoch,
                losses={name: draw.random() for name in losses},
                metrics={score: {metric: draw.random() for metric in METRICS} for score in scores},
            )
            for epoch in range(1, _EPOCHS + 1)
        ],
    )
    path = folder / f"curves-{len(levels)}.json"
    path.write_text(curves.model_dump_json())
    return curves, path


def _record(draw: random.Random, cell: Cell, training: str, curves: Curves) -> Record:
    assert cell.key is not None
    costs = training == "cost"
    return Record(
        key=cell.key,
        method="fod",
        dataset=cell.dataset,
        layout=cell.layout,
        category=cell.category,
        fingerprint=canonical_digest(cell.category),
        seed=cell.seed,
        setting=_setting(training),
        features={
            **{"key": _features_key(cell.dataset, cell.category), "backbone": "tf_efficientnet_b6.aa_in1k"},
            **{"weights_digest": canonical_digest("weights"), "image_size": 256, "levels": [8, 16], "pool": 3},
            **{"preprocessing": {"resize": "lanczos", "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}},
        },
        reference={"kind": "mean", "key": canonical_digest("reference")[:32]},
        counts=Counts(train=242, test_good=40, test_defect=75),
        primary_score="cost" if costs else "rec_div@8+16",
        epochs=_EPOCHS,
        selected={}
        if costs
        else {
            score: {
                metric: (draw.uniform(0.8, 1), draw.randint(1, _EPOCHS), draw.uniform(0.7, 0.8), _EPOCHS)
                for metric in metrics
            }
            for score, metrics in curves.metrics.items()
        },
        curves="" if costs else canonical_digest(cell.key),
        costs={name: draw.uniform(10, 20) for name in _COSTS} if costs else {},
        run=RunInfo(
            started="2024-05-01T10:00:00+00:00",
            finished="2024-05-01T10:05:00+00:00",
            train_seconds=280.123456,
            evaluate_seconds=20.654321,
            seconds_per_step=0.011574,
            device="NVIDIA H200",
            threads=4,
            host="node-17",
            claim=_CLAIM,
            versions={"fod-bench": "0.1.0", "python": "3.11.7", "torch": "2.9.0"},
        ),
    )


def _write(folder: Path, name: str, content: bytes) -> None:
    """As the store leaves an object, without waiting for the disk."""
    lines = f"{hashlib.sha256(content).hexdigest()}  {name}\n".encode()
    for path, data in ((folder / name, content), (folder / ".checksums" / name, lines)):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def _seconds(store: Path) -> float:
    start = time.perf_counter()
    command = [sys.executable, "-m", "fod_bench.cli.app", "report", "--store", str(store), "--table", "all"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start
