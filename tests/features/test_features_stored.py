"""Features are keyed by what they are made of and nothing else, whole in the store or not there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fod_bench.datasets import open_category
from fod_bench.errors import DamagedObjectError
from fod_bench.features.extract import extract
from fod_bench.features.feature_set import FeatureSet, ImageSet, drop, load_features, load_images
from fod_bench.features.request import FeatureRequest
from fod_bench.features.stored_set import save_set
from fod_bench.features.weights import resolve_weights
from fod_bench.records.claims import LostClaimError
from fod_bench.records.names import FEATURES, manifest_name
from fod_bench.store import Store, open_store
from tests.helpers.dataset_builders import folder_category
from tests.helpers.trial_builders import claim


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> FeatureRequest:
    root = tmp_path_factory.mktemp("set")
    folder_category(root)
    category = open_category("folder", root, "nut")
    weights = resolve_weights("resnet18", "random", 0, download=False)
    return FeatureRequest(category, category.fingerprint(), weights, image_size=64, levels=(8, 16))


class TestKey:
    def test_every_ingredient_counts_and_the_path_does_not(self, asked: FeatureRequest, tmp_path: Path) -> None:
        for name, content in (("a", b"1"), ("copy_of_a", b"1"), ("b", b"2")):  # keys look at bytes, not at tensors
            (tmp_path / f"{name}.safetensors").write_bytes(content)

        def key(weights: str = "a", seed: int = 0, **changes: object) -> str:
            path = weights if weights == "random" else str(tmp_path / f"{weights}.safetensors")
            found = resolve_weights("resnet18", path, seed, download=False)
            return replace(asked, **{"weights": found} | changes).key  # type: ignore[arg-type]

        assert key() == key("copy_of_a", seed=7)
        other_backbone = resolve_weights("resnet34", str(tmp_path / "a.safetensors"), 0, download=False)
        keys = [
            key(),
            key("b"),
            key("random"),
            key("random", seed=1),
            replace(asked, weights=other_backbone).key,
            key(fingerprint="other"),
            key(image_size=32),
            key(levels=(8,)),
            key(shorter_side=64),
            key(shorter_side=96),
        ]
        assert len(set(keys)) == len(keys) and all(len(key) == 32 for key in keys)

    @pytest.mark.parametrize("ingredient", ["datasets.preprocess.PREPROCESSING", "features.request.POOLING"])
    def test_so_does_what_is_done_to_the_images(
        self, asked: FeatureRequest, monkeypatch: pytest.MonkeyPatch, ingredient: str
    ) -> None:
        before = asked.key
        monkeypatch.setattr(f"fod_bench.{ingredient}", "another")
        assert replace(asked).key != before  # a copy makes its key anew


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "store"))


@pytest.fixture(scope="module")
def features(asked: FeatureRequest) -> FeatureSet:
    return extract([asked], torch.device("cpu"))[0]


class TestStored:
    def test_read_back_as_written(self, store: Store, features: FeatureSet) -> None:
        features.save(claim(store, features.key))
        found = load_features(open_store(store.uri), features.key)
        assert found is not None and (found.key, found.manifest) == (features.key, features.manifest)
        for one, other in ((found.train, features.train), (found.test, features.test)):
            assert list(one) == list(other) == [8, 16]
            assert all(np.array_equal(one[level], other[level]) for level in one)

    def test_without_its_manifest_a_set_is_not_there(
        self, store: Store, features: FeatureSet, asked: FeatureRequest
    ) -> None:
        assert load_features(store, features.key) is None
        features.save(claim(store, features.key))
        manifest = store.get(manifest_name(features.key))
        store.delete(manifest_name(features.key))
        assert load_features(store, features.key) is None
        store.put(manifest_name(features.key), manifest)
        assert load_features(store, features.key) is not None
        store.delete(part_name(store, "test"))
        with pytest.raises(DamagedObjectError, match=r"there is no object .*test\.safetensors"):
            load_features(store, features.key)
        drop(store, asked)
        assert load_features(store, features.key) is None and list(store.list("features/")) == []

    def test_a_set_with_masks_inside_is_read(self, store: Store, features: FeatureSet) -> None:
        """As versions before had it."""
        inside = {"masks": np.zeros((5, 64, 64), np.uint8), "labels": np.zeros(5, np.uint8), "masked": np.ones(5, bool)}
        levels = (
            {f"level_{level}": array for level, array in split.items()} for split in (features.train, features.test)
        )
        train, test = levels
        save_set(claim(store, features.key), FEATURES, train, test | inside, features.manifest)
        found = load_features(store, features.key)
        assert found is not None and list(found.test) == [8, 16]
        assert np.array_equal(found.test[8], features.test[8])

    def test_images_are_read_back_as_written(self, store: Store) -> None:
        rng = np.random.default_rng(0)
        train, test = (rng.integers(0, 256, (count, 8, 8, 3), np.uint8) for count in (3, 2))
        ImageSet("i1", train, test, {"category": "nut"}).save(claim(store, "i1"))
        found = load_images(store, "i1")
        assert found is not None and found.manifest == {"category": "nut"}
        assert np.array_equal(found.train, train) and np.array_equal(found.test, test)
        assert {info.name.split("/")[0] for info in store.list() if not info.name.startswith("claims/")} == {"images"}

    @pytest.mark.parametrize("part", ["train", "test", "manifest.json"])
    def test_damage_is_found_and_named(self, store: Store, features: FeatureSet, part: str) -> None:
        features.save(claim(store, features.key))
        name = manifest_name(features.key) if part == "manifest.json" else part_name(store, part)
        path = Path(store.location(name))
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 4
        path.write_bytes(content)
        with pytest.raises(DamagedObjectError, match=part):
            load_features(open_store(store.uri), features.key)

    def test_a_manifest_that_is_none_is_damage(self, store: Store, features: FeatureSet) -> None:
        features.save(claim(store, features.key))
        store.put(manifest_name(features.key), b"not json")
        with pytest.raises(DamagedObjectError, match="no manifest"):
            load_features(store, features.key)

    def test_the_late_files_of_a_claim_taken_over_do_not_count(self, store: Store, features: FeatureSet) -> None:
        late, newer = claim(store, features.key), claim(store, features.key)
        features.save(newer)
        stored = {info.name: store.get(info.name) for info in store.list("features/")}
        with pytest.raises(LostClaimError):
            replace(features, manifest={}).save(late)
        assert {info.name: store.get(info.name) for info in store.list("features/")} == stored


def part_name(store: Store, part: str) -> str:
    """Store name of one of the two tensor files."""
    return next(info.name for info in store.list("features/") if info.name.endswith(f"/{part}.safetensors"))
