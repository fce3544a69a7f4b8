"""What runs need of a store."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from fod_bench.errors import DamagedObjectError
from fod_bench.records.names import record_name
from fod_bench.records.run import RunPlan
from fod_bench.records.run_reader import trained_keys
from fod_bench.records.upkeep.parts import record_of
from fod_bench.store import ObjectMissingError, Store


@dataclass
class Needs:
    """Keys that runs need."""

    trials: set[str] = field(default_factory=set)
    features: set[str] = field(default_factory=set)
    images: set[str] = field(default_factory=set)
    truth: set[str] = field(default_factory=set)
    references: set[str] = field(default_factory=set)
    untold: set[str] = field(default_factory=set)
    """Runs of which not all features are known: their plan is an older one that does not name them."""


def needs_of(plans: Iterable[RunPlan], store: Store) -> Needs:
    """What `plans` need. Of an older plan, which does not name all sets, they are taken from the records of its trainings."""
    needs = Needs()
    for plan in plans:
        keys = trained_keys(plan)
        needs.trials |= keys.keys()
        needs.features |= set(plan.features)
        needs.images |= set(plan.images)
        needs.truth |= set(plan.truth)
        needs.references |= set(plan.references)
        if (plan.features or plan.images) and plan.truth:
            continue
        told = bool(plan.features or plan.images)
        for key in keys:
            try:
                record = record_of(record_name(key), store.get(record_name(key)))
            except (ObjectMissingError, DamagedObjectError):
                if not told:
                    needs.untold.add(plan.run_id)
                continue
            sets = record.sets or {"pooled": str(record.features.get("key", ""))}
            for form, set_key in sets.items():
                if told and form not in ("images", "truth"):
                    continue
                {"images": needs.images, "truth": needs.truth}.get(form, needs.features).add(set_key)
            if record.reference is not None and not told:
                needs.references.add(str(record.reference.get("key", "")))
    return needs
