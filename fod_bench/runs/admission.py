"""Whether a run may begin on a store: it can be used, it can tell who was first, or nobody else is there."""

from __future__ import annotations

from fod_bench.errors import StoreError
from fod_bench.records.names import state_name
from fod_bench.records.run_reader import RunReader
from fod_bench.records.state import DriverState
from fod_bench.store import Store
from fod_bench.store.probe import check_store


def admit(store: Store, run_id: str, alone: bool) -> None:
    """Try the store out, and tidy away the states of this run's drivers that are gone.

    Raises:
        StoreError: it cannot be used at all; or it lets several create one object, and the run was not told to be alone on
            it, or is not.
    """
    probe = check_store(store)
    others = _living_drivers(store, run_id)
    if probe.exclusive_create:
        return
    found = f"store {store.uri} lets several writers create one object ({max(probe.winners)} of 16 at once were told they had)"
    if not alone:
        raise StoreError(
            f"{found}, so two runs could not share it, nor a run tell a late worker from the one in its place; use a store that "
            "honours If-None-Match, or add --alone to promise that no other run uses it"
        )
    if others:
        other = others[0]
        raise StoreError(
            f"{found}, and run {other.run_id} on {other.process.host} is using it since {other.started}: wait for its end"
        )


def _living_drivers(store: Store, run_id: str) -> list[DriverState]:
    """States of drivers at work; those of this run that have ended or fallen silent are removed."""
    living = []
    for driver in RunReader(store).read(plans_of=()).drivers:
        if driver.alive:
            living.append(driver.state)
        elif driver.state.run_id == run_id:
            store.delete(state_name(run_id, driver.state.driver))
    return living
