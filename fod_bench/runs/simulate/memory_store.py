"""A store in memory, for a simulation and for tests of what uses one. Its clock is to be set."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from fod_bench.store import ObjectMissingError
from fod_bench.store.base import ObjectInfo, check_name


class MemoryStore:
    """See `fod_bench.store.Store`."""

    uri = "memory"

    def __init__(self, now: Callable[[], float] = lambda: 0.0) -> None:
        self.now = now
        self.objects: dict[str, tuple[bytes, float]] = {}
        """Content and time by name."""

    def put(self, name: str, data: bytes | Path) -> None:
        """See `Store`."""
        self.objects[check_name(name)] = (data if isinstance(data, bytes) else data.read_bytes(), self.now())

    def create(self, name: str, data: bytes | Path) -> bool:
        """See `Store`."""
        if name in self.objects:
            return False
        self.put(name, data)
        return True

    def get(self, name: str) -> bytes:
        """See `Store`."""
        if name not in self.objects:
            raise ObjectMissingError(f"no object {name}")
        return self.objects[name][0]

    def stream(self, name: str) -> Iterator[bytes | memoryview]:
        """See `Store`."""
        yield self.get(name)

    def open(self, name: str) -> BinaryIO:
        """See `Store`."""
        return io.BytesIO(self.get(name))

    def info(self, name: str) -> ObjectInfo | None:
        """See `Store`."""
        found = self.objects.get(name)
        return ObjectInfo(name, len(found[0]), found[1]) if found else None

    def exists(self, name: str) -> bool:
        """See `Store`."""
        return name in self.objects

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """See `Store`."""
        for name in sorted(self.objects):
            if name.startswith(prefix):
                yield ObjectInfo(name, len(self.objects[name][0]), self.objects[name][1])

    def delete(self, name: str) -> None:
        """See `Store`."""
        self.objects.pop(name, None)

    def location(self, name: str) -> str:
        """See `Store`."""
        return f"memory/{name}"
