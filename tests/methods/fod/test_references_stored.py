"""What holds for references of every kind: a level for itself, the stored form, the key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fod_bench.errors import DamagedObjectError
from fod_bench.methods.fod.references.base import LevelReference
from fod_bench.methods.fod.references.build import build_references
from fod_bench.methods.fod.references.specs import reference_spec
from fod_bench.methods.fod.references.stored import load_references, save_references
from fod_bench.records.names import reference_name
from fod_bench.store import ObjectMissingError, open_store
from fod_bench.store.tensors import save_tensors
from tests.helpers.reference_builders import TEST, TRAIN, built, features
from tests.helpers.trial_builders import CPU

KINDS: list[Any] = [
    "mean",
    "nearest",
    {"kind": "coreset", "per_position": 2},
    "prototype",
    {"kind": "codebook", "codes": 6},
]


def arrays(level: LevelReference) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in level.arrays().items()}


@pytest.mark.parametrize("spec", KINDS, ids=str)
class TestEveryKind:
    def test_a_level_does_not_depend_on_the_others(self, spec: Any) -> None:
        train, test = {8: TRAIN, 16: features(6, 2, 2, 9, seed=2)}, {8: TEST, 16: features(4, 2, 2, 9, seed=3)}
        together = build_references(reference_spec(spec), train, test, CPU)
        alone = build_references(reference_spec(spec), {16: train[16]}, {16: test[16]}, CPU)
        assert arrays(together.levels[16]) == arrays(alone.levels[16])

    def test_is_read_back_as_it_was_written(self, spec: Any, tmp_path: Path) -> None:
        store, made = open_store(str(tmp_path / "store")), built(spec)
        with pytest.raises(ObjectMissingError):
            load_references(store, "k")
        save_references(store, "k", made, {"kind": "any"})
        found = load_references(open_store(store.uri), "k")
        assert found.facts == made.facts and list(found.levels) == [8]
        assert type(found.levels[8]) is type(made.levels[8])
        assert arrays(found.levels[8]) == arrays(made.levels[8])


def test_what_is_no_reference_is_damage(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "store"))
    save_tensors(store, reference_name("k"), {"level_8": TRAIN}, {"facts": "{}"})
    with pytest.raises(DamagedObjectError, match="no references"):
        load_references(store, "k")


def test_the_key_follows_features_and_every_setting() -> None:
    specs = ["mean", "nearest", {"kind": "nearest", "neighbourhood": 5}, "coreset", {"kind": "coreset", "seed": 1}]
    keys = [reference_spec(spec).key("a") for spec in specs]
    assert len({*keys, reference_spec("mean").key("b")}) == len(specs) + 1
    assert reference_spec({"kind": "coreset", "seed": 0}).key("a") == keys[3]
