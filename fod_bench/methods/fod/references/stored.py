"""References in a store: one tensor file, whole or not there."""

from __future__ import annotations

import json

from pydantic import FiniteFloat, TypeAdapter

from fod_bench.methods.fod.references.base import ChosenReference, FixedReference, LevelReference, References
from fod_bench.records.names import reference_name
from fod_bench.store import Store
from fod_bench.store.reading import reading
from fod_bench.store.tensors import load_tensors, save_tensors

_FACTS = TypeAdapter(dict[str, dict[str, FiniteFloat]])


def save_references(store: Store, key: str, references: References, about: dict[str, str]) -> None:
    """Write references under their key, unless they are there already. Raises `StoreError`."""
    arrays = {
        f"level_{stride}/{name}": array
        for stride, reference in references.levels.items()
        for name, array in reference.arrays().items()
    }
    save_tensors(store, reference_name(key), arrays, {**about, "facts": json.dumps(references.facts)}, new=True)


def load_references(store: Store, key: str) -> References:
    """The stored references, memory-mapped.

    Raises:
        ObjectMissingError: there are none.
        DamagedObjectError: its bytes do not match their checksum, or are no references.
    """
    name = reference_name(key)
    arrays, metadata = load_tensors(store, name)
    parts: dict[int, dict] = {}
    with reading(name, "references", store.location(name)):
        for path, array in arrays.items():
            level, _, part = path.partition("/")
            parts.setdefault(int(level.removeprefix("level_")), {})[part] = array
        levels: dict[int, LevelReference] = {
            stride: FixedReference(**found) if "features" in found else ChosenReference(**found)
            for stride, found in sorted(parts.items())
        }
        facts = json.loads(metadata["facts"])
        _FACTS.validate_python(facts)
        return References(levels, facts)
