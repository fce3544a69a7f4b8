"""The records that a report can use: those that can be read and fit the plans, their keys and their curves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property

from pydantic import ValidationError

from fod_bench.errors import DamagedObjectError
from fod_bench.records.fit import curves_faults, key_faults, plan_faults
from fod_bench.records.names import record_name
from fod_bench.records.record import Record
from fod_bench.records.run import Cell, RunPlan
from fod_bench.records.run_reader import RunReader
from fod_bench.store.base import ObjectMissingError, Store, obstacle
from fod_bench.store.reading import describe


def cells_by_key(plans: Iterable[RunPlan]) -> dict[str, list[Cell]]:
    """The cells of `plans` whose train key is known, by it."""
    cells: dict[str, list[Cell]] = {}
    for plan in plans:
        for cell in plan.cells:
            if cell.key:
                cells.setdefault(cell.key, []).append(cell)
    return cells


class UsableRecords:
    """Reads records of the trainings that `cells` ask for, and says of those that cannot be used what is wrong."""

    def __init__(self, store: Store, cells: Mapping[str, list[Cell]], damaged: dict[str, str]) -> None:
        """`damaged` gains `{store name: what is wrong with it}`."""
        self._store, self._cells, self._damaged = store, cells, damaged

    def load(self, key: str, with_curves: bool, content: bytes | None = None) -> Record | None:
        """The record of a train key; None where there is none, or none that can be used.

        Args:
            with_curves: whether to compare it with its curves, which are many times as large.
            content: what the record is known to be; it is read otherwise.

        Raises `StoreError`.
        """
        name, record = record_name(key), None
        try:
            record = Record.model_validate_json(self._store.get(name) if content is None else content)
            faults = self._faults(key, record) or (curves_faults(self._store, record) if with_curves else [])
        except ObjectMissingError:
            stands = obstacle(self._store, name)
            faults = [] if stands is None else [stands]
        except DamagedObjectError as error:
            faults = [str(error)]
        except ValidationError as error:
            faults = [describe(error)]
        if not faults:
            return record
        self._damaged[name] = "; ".join(faults)
        return None

    def _faults(self, key: str, record: Record) -> list[str]:
        """What is wrong with a record by itself, and beside the plans."""
        if record.key != key:
            return [f"it is the record of another trial, {record.key}"]
        if not record.selected and not record.costs:
            return ["it has no evaluated epoch"]
        asked = self._cells.get(key, [])
        faults = plan_faults(record, asked)
        if faults:  # of equal images one training serves several categories, which other runs may have asked for
            faults = plan_faults(record, [*asked, *self._of_all_runs.get(key, ())])
        return [*faults, *key_faults(record)]

    @cached_property
    def _of_all_runs(self) -> dict[str, list[Cell]]:
        """The cells of every run of the store: read only when they are needed."""
        return cells_by_key(RunReader(self._store).read(drivers=False).plans)
