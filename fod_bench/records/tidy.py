"""What lies beside a result that is there: checkpoints, weights of claims that came to nothing, claims. Imports no torch.

Whoever commits a result tidies up after itself; one that dies in between leaves that to the next who comes by.
"""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import ValidationError

from fod_bench.errors import DamagedObjectError
from fod_bench.records.claims import is_held, sweep
from fod_bench.records.names import CLAIMS, key_of, record_name, trial_folder
from fod_bench.records.record import Record
from fod_bench.store import ObjectMissingError, Store


def tidy_trial(store: Store, key: str, claim: str) -> None:
    """Leave of a trial its record and what was kept under `claim`. Its claims go last: they show that there is more."""
    folder = trial_folder(key)
    for info in list(store.list(folder)):
        part, _, rest = info.name.removeprefix(folder).partition("/")
        if rest and part != claim:
            store.delete(info.name)
    sweep(store, key)


def tidy_leftovers(store: Store, trials: Iterable[str], results: Iterable[tuple[str, str]]) -> None:
    """Remove what workers left that died between their result and the end of their work.

    Args:
        trials: train keys.
        results: other keys that are claimed, each with the name of the object that is there when it is done.

    One listing, and a few requests for each claim there is. Raises `StoreError`.
    """
    claimed = {key_of(info.name) for info in store.list(CLAIMS)}
    for key in claimed.intersection(trials):
        try:
            record = Record.model_validate_json(store.get(record_name(key)))
        except (ObjectMissingError, DamagedObjectError, ValidationError):
            continue
        tidy_trial(store, key, record.run.claim)
    for key, name in results:
        if key in claimed and store.exists(name) and not is_held(store, key):
            sweep(store, key)
