"""Arrays go through a store unchanged, are mapped and not copied, and foreign files are named."""

from __future__ import annotations

import gc
import json
import struct
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load, save

from fod_bench.errors import DamagedObjectError, StoreError
from fod_bench.store import ObjectMissingError, Store, open_store
from fod_bench.store.tensors import load_tensors, save_tensors

NAME = "features/0a1b/train.safetensors"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "store"))


@pytest.mark.parametrize("dtype", ["?", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8", ">f4", ">i8"])
def test_values_types_and_shapes_come_back(store: Store, dtype: str) -> None:
    rng = np.random.default_rng(0)
    tensors = {
        "maps": rng.integers(0, 100, (3, 4, 5)).astype(dtype),
        "empty": np.zeros((0, 7), dtype=dtype),
        "scalar": np.array(1, dtype=dtype),
    }
    save_tensors(store, NAME, tensors, {"backbone": "efficientnet ä", "levels": "8, 16"})
    loaded, metadata = load_tensors(store, NAME)
    assert metadata == {"backbone": "efficientnet ä", "levels": "8, 16"}
    assert loaded.keys() == tensors.keys()
    for key, tensor in tensors.items():
        assert loaded[key].dtype == tensor.dtype.newbyteorder("<")
        assert loaded[key].shape == tensor.shape
        np.testing.assert_array_equal(loaded[key], tensor)


def test_strided_arrays_are_saved_in_their_own_order(store: Store) -> None:
    array = np.arange(24, dtype=np.float32).reshape(4, 6)
    views = {
        "transposed": array.T,
        "every_other": array[:, ::2],
        "backwards": array[::-1],
        "fortran": np.asfortranarray(array),
    }
    save_tensors(store, NAME, views)
    loaded, metadata = load_tensors(store, NAME)
    assert metadata == {}
    for key, view in views.items():
        np.testing.assert_array_equal(loaded[key], view)


def test_loaded_arrays_are_read_only_and_outlive_the_object(store: Store) -> None:
    save_tensors(store, NAME, {"x": np.arange(100_000)})
    loaded, _ = load_tensors(store, NAME)
    with pytest.raises(ValueError, match="read-only"):
        loaded["x"][0] = 1
    store.put(NAME, b"something else")
    store.delete(NAME)
    gc.collect()
    np.testing.assert_array_equal(loaded["x"], np.arange(100_000))


def test_equal_input_gives_equal_bytes(store: Store) -> None:
    metadata = {letter: letter for letter in "abcdefgh"}
    tensors = {"x": np.arange(3), "y": np.ones(2, dtype=np.float32)}
    written = set()
    for number in range(4):
        turned = dict(reversed(metadata.items())) if number % 2 else metadata
        save_tensors(store, f"{number}", tensors, turned)
        written.add(store.get(f"{number}"))
    assert len(written) == 1


def test_the_file_is_plain_safetensors(store: Store) -> None:
    save_tensors(store, NAME, {"x": np.arange(3)})
    np.testing.assert_array_equal(load(store.get(NAME))["x"], np.arange(3))


def test_missing(store: Store) -> None:
    with pytest.raises(ObjectMissingError, match=NAME):
        load_tensors(store, NAME)


def headed(header: object, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


ABOUT = {"metadata": "{}"}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"short",
        b"PK\x03\x04 an archive of another kind" * 10,
        b"\xff" * 100,
        headed(b"\xff\xfe"),
        headed([1, 2]),
        headed({"__metadata__": ABOUT, "x": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}, b"\0" * 15),
        headed({"__metadata__": ABOUT, "x": {"dtype": "F32", "shape": [3], "data_offsets": [0, 16]}}, b"\0" * 16),
        headed({"__metadata__": ABOUT, "x": {"dtype": "F32", "shape": [-1], "data_offsets": [4, 0]}}, b"\0" * 16),
        headed({"__metadata__": ABOUT, "x": {"dtype": "F32", "shape": [1], "data_offsets": [-4, 0]}}, b"\0" * 16),
        headed({"__metadata__": ABOUT, "x": {"dtype": "F32", "shape": "4", "data_offsets": [0, 16]}}, b"\0" * 16),
        headed({"__metadata__": ABOUT, "x": {"dtype": "BF16", "shape": [1], "data_offsets": [0, 2]}}, b"\0" * 2),
        headed({"__metadata__": ABOUT, "x": 3}),
        headed({"__metadata__": {"metadata": "[1]"}}),
        save({"x": np.arange(3)}, metadata={"format": "pt"}),
    ],
)
def test_foreign_files_are_named(store: Store, content: bytes) -> None:
    store.put(NAME, content)
    with pytest.raises(DamagedObjectError, match=NAME):
        load_tensors(store, NAME)


def test_a_damaged_file_is_named(store: Store) -> None:
    save_tensors(store, NAME, {"x": np.arange(1000)})
    path = Path(store.location(NAME))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DamagedObjectError, match=NAME):
        load_tensors(store, NAME)


def test_what_cannot_be_stored_is_refused(store: Store) -> None:
    for array in (np.array([object()]), np.array(["text"]), np.array([1j]), np.zeros(2, dtype="M8[s]")):
        with pytest.raises(ValueError, match="tensor 'x' has type"):
            save_tensors(store, NAME, {"x": array})
    with pytest.raises(ValueError, match="metadata 'epoch' is 3"):
        save_tensors(store, NAME, {"x": np.zeros(2)}, {"epoch": 3})  # type: ignore[dict-item]
    assert not store.exists(NAME)


def test_no_temporary_folder_is_one_line(store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    with pytest.raises(StoreError, match="TMPDIR"):
        save_tensors(store, NAME, {"x": np.zeros(2)})


def test_processes_of_a_machine_share_the_memory_of_an_array(store: Store) -> None:
    """It is a map of the store's own file, not a copy."""
    save_tensors(store, NAME, {"x": np.ones((64, 8, 8, 128), np.float32)})
    array = load_tensors(store, NAME)[0]["x"]
    place = array.__array_interface__["data"][0]
    maps = [line.split(maxsplit=5) for line in Path("/proc/self/maps").read_text().splitlines()]
    (file,) = [
        line[5]
        for line in maps
        if len(line) == 6 and int(line[0].split("-")[0], 16) <= place < int(line[0].split("-")[1], 16)
    ]
    assert file == store.location(NAME)
