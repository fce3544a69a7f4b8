"""The curves of a trial: what a record keeps of them, and that a record stands for its own curves only."""

from __future__ import annotations

from pathlib import Path

import pytest

from fod_bench.errors import DamagedObjectError
from fod_bench.evaluation.metric import METRICS, MetricName
from fod_bench.records.curves import Curves, EpochResult, read_curves
from fod_bench.records.names import curves_name, record_name
from fod_bench.records.record import Record, Selected
from fod_bench.store import ObjectMissingError, Store, open_store
from tests.helpers.report_builders import curves, record
from tests.helpers.store_builders import CLAIM, cell, save_trial

NONE: Selected = (None, None, None, None)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = open_store(str(tmp_path))
    save_trial(made, "a1")
    return made


def stored(store: Store) -> Record:
    return Record.model_validate_json(store.get(record_name("a1")))


def result(epoch: int, value: float | None, evaluated: bool = True) -> EpochResult:
    metrics: dict[MetricName, float | None] = dict.fromkeys(METRICS, value)
    return EpochResult(epoch=epoch, losses={"total": epoch / 2}, metrics={"rec@8": metrics} if evaluated else None)


@pytest.mark.parametrize(
    ("values", "selected"),
    [
        ([0.5, 0.9, 0.7], (0.9, 2, 0.7, 3)),
        ([0.9, 0.9, 0.9], (0.9, 1, 0.9, 3)),
        ([0.5, 0.6], (0.6, 2, 0.6, 2)),
        ([None, 0.6, None], (0.6, 2, None, None)),
        ([None], NONE),
    ],
)
def test_a_record_keeps_the_first_best_and_the_last_with_their_epochs(
    values: list[float | None], selected: Selected
) -> None:
    made = Curves.of("a1", [result(epoch, value) for epoch, value in enumerate(values, 1)])
    assert made.selected() == {"rec@8": dict.fromkeys(METRICS, selected)}


def test_epochs_that_were_not_evaluated_have_losses_only() -> None:
    made = Curves.of("a1", [result(1, None, False), result(2, 0.5), result(3, None, False), result(4, 0.4)])
    assert made.losses == {"total": [0.5, 1.0, 1.5, 2.0]} and made.evaluated == [2, 4]
    assert made.metrics["rec@8"]["pixel_aupro"] == [0.5, 0.4]
    assert made.selected()["rec@8"]["image_auroc"] == (0.5, 2, 0.4, 4)


def test_any_epoch_changes_the_digest_of_the_result() -> None:
    one = record("a1", cell("a1"), [(0.1, 0.1), (0.9, 0.9), (0.8, 0.8)])
    other = record("a1", cell("a1"), [(0.2, 0.1), (0.9, 0.9), (0.8, 0.8)])
    assert one.selected == other.selected and one.result_digest() != other.result_digest()
    again = one.model_copy(update={"run": one.run.model_copy(update={"host": "elsewhere"})})
    assert again.result_digest() == one.result_digest()


def test_a_record_leads_to_its_curves(store: Store) -> None:
    assert read_curves(store, stored(store)) == curves("a1", cell("a1"), [(0.9, 0.8)])
    assert read_curves(store, stored(store).model_copy(update={"curves": ""})) is None


@pytest.mark.parametrize("content", [b"{}", curves("a1", cell("a1"), [(0.9, 0.7)]).model_dump_json().encode()])
def test_other_curves_in_their_place_are_refused(store: Store, content: bytes) -> None:
    store.put(curves_name("a1", CLAIM), content)
    with pytest.raises(DamagedObjectError, match=r"trials/a1/.*/curves.json is damaged"):
        read_curves(store, stored(store))
    store.delete(curves_name("a1", CLAIM))
    with pytest.raises(ObjectMissingError):
        read_curves(store, stored(store))


def test_a_record_of_an_older_form_is_refused(store: Store) -> None:
    old = store.get(record_name("a1")).replace(b'"schema_version":2', b'"schema_version":1')
    with pytest.raises(ValueError, match="schema_version"):
        Record.model_validate_json(old)
