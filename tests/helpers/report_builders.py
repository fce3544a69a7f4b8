"""Records, plans and a store in memory for the tests of the report."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fod_bench.errors import DamagedObjectError
from fod_bench.paper.backbones import measurable
from fod_bench.paper.published import AVERAGE, all_printed
from fod_bench.records.curves import Curves, EpochResult
from fod_bench.records.names import plan_name, record_name
from fod_bench.records.record import Counts, Record, RunInfo
from fod_bench.records.run import Cell, RunPlan
from fod_bench.report import Results, Table, TableCell, own_tables, plain_table, read_results
from fod_bench.store.base import ObjectInfo, ObjectMissingError

SCORE = "rec_div@8+16"
# fmt: off
MVTEC = [
    "carpet", "grid", "leather", "tile", "wood", "bottle", "cable", "capsule", "hazelnut", "metal_nut", "pill", "screw",
    "toothbrush", "transistor", "zipper",
]
MVTEC3D = ["bagel", "cable_gland", "carrot", "cookie", "dowel", "foam", "peach", "potato", "rope", "tire"]
# fmt: on


class MemoryStore:
    """A store in a dictionary, of which the report only reads; names in `damaged` do not match their checksum."""

    uri = "memory"

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.damaged: set[str] = set()

    def get(self, name: str) -> bytes:
        if name in self.damaged:
            raise DamagedObjectError(f"checksum of {name} does not match")
        if name not in self.objects:
            raise ObjectMissingError(f"no object {name}")
        return self.objects[name]

    def exists(self, name: str) -> bool:
        return name in self.objects

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        return (
            ObjectInfo(name, len(self.objects[name]), 0.0) for name in sorted(self.objects) if name.startswith(prefix)
        )

    def location(self, name: str) -> str:
        return f"/store/{name}"

    def put(self, name: str, data: bytes | Path) -> None:
        assert isinstance(data, bytes)
        self.objects[name] = data

    def read(self, **options: Any) -> Results:
        return read_results(self, **options)  # type: ignore[arg-type]


class WatchedStore(MemoryStore):
    """It remembers what was read."""

    def __init__(self) -> None:
        super().__init__()
        self.read_names: list[str] = []

    def get(self, name: str) -> bytes:
        self.read_names.append(name)
        return super().get(name)


def curves(key: str, cell: Cell, epochs: list[tuple[float | None, float | None]]) -> Curves:
    """The curves of `cell` with image and pixel AUROC after every epoch."""
    results = [
        EpochResult(
            epoch=number,
            losses={"total": 1.0 / number},
            metrics={
                cell.score: {
                    "image_auroc": image,
                    "pixel_auroc": pixel,
                    "pixel_aupro": 0.5,
                    "image_f1_max": 0.5,
                    "pixel_f1_max": 0.5,
                }
            },
        )
        for number, (image, pixel) in enumerate(epochs, 1)
    ]
    return Curves.of(key, results)


def record(key: str, cell: Cell, epochs: list[tuple[float | None, float | None]], **changes: Any) -> Record:
    """The record of `cell` with image and pixel AUROC after every epoch; of none, a measurement without any."""
    made = curves(key, cell, epochs) if epochs else None
    values: dict[str, Any] = {
        "key": key,
        "method": cell.method,
        "dataset": cell.dataset,
        "layout": cell.layout,
        "category": cell.category,
        "fingerprint": f"print-{cell.category}",
        "counts": Counts(train=40, test_good=10, test_defect=12),
        "seed": cell.seed,
        "setting": {"views": "full", "heads": 8, "d_model": {"8": 256, "16": 512}},
        "features": {"backbone": "tf_efficientnet_b6.aa_in1k", "image_size": 256, "levels": [8, 16]},
        "reference": {"kind": "mean"},
        "primary_score": cell.score,
        "epochs": len(epochs),
        "selected": made.selected() if made else {},
        "curves": made.digest() if made else "",
        "run": RunInfo(
            started="2024-05-01T10:00:00Z",
            finished="2024-05-01T10:05:00Z",
            train_seconds=280.0,
            evaluate_seconds=20.0,
            seconds_per_step=0.5,
            device="cpu",
            threads=2,
            host="box",
            versions={"torch": "2.9.0", "fod-bench": "0.1.0"},
        ),
    }
    return Record(**{**values, **changes})


class Run:
    """A run being made up: add cells with or without results, then save its plan."""

    def __init__(
        self, store: MemoryStore, run_id: str, job: str, tables: list[int], created: str = "2024-05-01"
    ) -> None:
        self.store, self.run_id, self.job, self.tables, self.created = store, run_id, job, tables, created
        self.cells: list[Cell] = []

    def add(
        self,
        row: str,
        dataset: str,
        category: str,
        epochs: list[tuple[float | None, float | None]] | None = None,
        *,
        seed: int = 3407,
        score: str = SCORE,
        tables: list[int] | None = None,
        part: str = "",
        method: str = "fod",
        **changes: Any,
    ) -> str:
        """One cell; `epochs` are (image AUROC, pixel AUROC) per epoch, None leaves it without a record.

        It feeds the run's tables, and is a row of the run's job, unless `tables` and `part` say otherwise.
        """
        key = re.sub(
            r"[^\w.=+-]", "_", "-".join((self.run_id, row, dataset, category, str(seed))) + "-cost" * (score == "cost")
        )
        place = {"dataset": dataset, "layout": dataset, "category": category, "seed": seed}
        feeds = self.tables if tables is None else tables
        cell = Cell(row=row, method=method, score=score, key=key, part=part or self.job, tables=feeds, **place)
        self.cells.append(cell)
        if epochs is not None:
            self.store.put(record_name(key), record(key, cell, epochs, **changes).model_dump_json().encode())
        return key

    def save(self) -> None:
        """Put the plan into the store."""
        plan = RunPlan(
            run_id=self.run_id,
            job=self.job,
            created=self.created,
            tables=self.tables,
            cells=self.cells,
        )
        self.store.put(plan_name(self.run_id), plan.model_dump_json().encode())


CATEGORIES = {"mvtec": MVTEC, "btad": ["01", "02", "03"], "mvtec3d": MVTEC3D}
ABLATIONS = (4, *range(9, 16))
PARTS = {1: "main", 2: "main", 3: "main", 6: "main", 7: "main", 8: "main", 4: "views", 9: "views"}


def paper_store(seeds: tuple[int, ...] = (3407,)) -> MemoryStore:
    """A run of every row of the paper's fifteen tables that this project can fill, its rows in parts by table."""
    store = MemoryStore()
    run = Run(store, "run-1", "paper", list(range(1, 16)))
    rows: dict[tuple[str, str, str], list[int]] = {}
    for position in all_printed():
        number, row, dataset = position.table, position.row, position.dataset
        if dataset != AVERAGE and (measurable((row,)) or number in ABLATIONS):
            tables = rows.setdefault((PARTS.get(number, f"table{number}"), row, dataset), [])
            tables += [] if number in tables else [number]
    for (part, row, dataset), tables in rows.items():
        for category in CATEGORIES[dataset]:
            for seed in seeds:
                options: dict[str, Any] = {"seed": seed, "tables": tables, "part": part}
                if tables == [5]:
                    costs = {
                        "gflops": 11.0,
                        "learnable_params_m": 14.2,
                        "train_s_per_epoch": 3.5,
                        "inference_fps": 200.0,
                    }
                    run.add(row, dataset, category, [], score="cost", costs=costs, **options)
                else:
                    run.add(row, dataset, category, [value_of(row, category, seed)], **options)
    run.save()
    return store


def value_of(row: str, category: str, seed: int = 3407) -> tuple[float, float]:
    """Made-up image and pixel AUROC, different for every row, category and seed."""
    offset = (sum(number * ord(letter) for number, letter in enumerate(row, 1)) % 97) / 2000 - seed % 10 / 100
    return image(category, -0.1 - offset), image(category, -0.1 - offset) - 0.02


def full_store(rows: tuple[str, ...] = ("FOD", "Patch-only")) -> MemoryStore:
    """Every category of the three data sets with results; the second epoch is worse for images, better for pixels."""
    store = MemoryStore()
    run = Run(store, "run-1", "paper", [1, 2, 3, 6, 7, 8])
    for number, row in enumerate(rows):
        for dataset, categories in (("mvtec", MVTEC), ("btad", ["01", "02", "03"]), ("mvtec3d", MVTEC3D)):
            for category in categories:
                value = image(category, -0.01 * number)
                run.add(row, dataset, category, [(value, value - 0.05), (value - 0.1, value - 0.02)])
    run.save()
    return store


def image(category: str, offset: float = 0.0) -> float:
    """A made-up image AUROC, different for every category."""
    return 0.9 + (sum(map(ord, category)) % 89) / 1000 + offset


def plain(results: Results, job: str) -> Table:
    """The own table of a job's only run."""
    (own,) = (table for table in own_tables(results, job) if not table.cost)
    return plain_table(results, own)


def cell(table: Table, row: str, category: str, metric: str = "image_auroc", dataset: str | None = None) -> TableCell:
    """The one cell of a table at that place."""
    found = [
        entry
        for entry in table.cells()
        if (entry.row, entry.category, entry.metric) == (row, category, metric) and dataset in (None, entry.dataset)
    ]
    assert len(found) == 1, found
    return found[0]
