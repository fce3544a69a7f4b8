"""Files that are whole or not there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fod_bench.errors import FodBenchError
from fod_bench.machine.files import write_whole


def test_a_disk_that_fills_up_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "new" / "map.npy"
    write_whole(path, [b"old"], "the map")

    def pieces() -> Iterator[bytes]:
        yield b"half"
        raise OSError(28, "No space left on device")

    with pytest.raises(FodBenchError, match=rf"the map cannot be written to {path}: No space left on device"):
        write_whole(path, pieces(), "the map")
    assert path.read_bytes() == b"old" and [*path.parent.iterdir()] == [path]
    assert write_whole(path, ["é", b"!"], "the map").read_bytes() == "é!".encode()


def test_a_place_that_is_no_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FodBenchError, match=r"the map cannot be written to .*map\.npy"):
        write_whole(tmp_path / "file" / "map.npy", [b""], "the map")
