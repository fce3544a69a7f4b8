"""How a set of a category lies in a store: a tensor file for each split and a manifest that names them, written last.

    features/<key>/manifest.json
    features/<key>/<claim name>/train.safetensors, test.safetensors

Each is made under a claim, so what an earlier holder writes late lies where no manifest points.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from numpy.typing import NDArray

from fod_bench.errors import DamagedObjectError
from fod_bench.records.claims import Claim, LostClaimError
from fod_bench.records.names import manifest_name, set_file_name, set_folder
from fod_bench.store import ObjectMissingError, Store
from fod_bench.store.base import is_name
from fod_bench.store.reading import reading
from fod_bench.store.tensors import load_tensors, save_tensors

Arrays = dict[str, NDArray[Any]]


class StoredSet(NamedTuple):
    """A set as it is stored."""

    train: Arrays
    test: Arrays
    manifest: dict[str, Any]
    """What the set was made of: images' names, what made it, preprocessing, versions."""


def save_set(
    claim: Claim, root: str, train: Mapping[str, Any], test: Mapping[str, Any], manifest: dict[str, Any]
) -> None:
    """Write a set under a claim of its key.

    Args:
        root: beginning of the names of such sets, e.g. `FEATURES`.

    Raises:
        LostClaimError: another worker has taken over, or was first; nothing of this one's is left.
        StoreError: the store failed.
    """
    store, key = claim.store, claim.key
    files = {part: set_file_name(key, claim.name, part, root) for part in ("train", "test")}
    for part, arrays in (("train", train), ("test", test)):
        save_tensors(store, files[part], arrays, {"key": key})
    try:
        claim.commit(manifest_name(key, root), json.dumps({**manifest, "files": files}, indent=1).encode())
    except LostClaimError:
        for name in files.values():
            store.delete(name)
        raise


def load_set(store: Store, key: str, root: str) -> StoredSet | None:
    """The stored set, memory-mapped; None when there is none.

    Raises:
        DamagedObjectError: bytes of it do not match their checksum, or are gone.
    """
    name = manifest_name(key, root)
    try:
        content = store.get(name)
    except ObjectMissingError:
        return None
    with reading(name, "manifest", store.location(name)):
        manifest = json.loads(content)
        files = manifest.pop("files")
        names = [files[part] for part in ("train", "test")]
        if not all(is_name(file) and file.startswith(set_folder(key, root)) for file in names):
            raise ValueError("its files do not belong to it")
    try:
        (train, _), (test, _) = (load_tensors(store, file) for file in names)
    except ObjectMissingError as error:
        raise DamagedObjectError(f"{root}{key} is damaged: {error}") from error
    return StoredSet(train, test, manifest)


def drop_set(store: Store, key: str, root: str) -> None:
    """Remove a set, manifest first, so that no reader takes the rest for whole."""
    store.delete(manifest_name(key, root))
    for info in list(store.list(set_folder(key, root))):
        store.delete(info.name)
