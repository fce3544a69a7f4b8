"""A store whose listing lags behind, as that of some servers may."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from fod_bench.store import ObjectInfo, Store

if TYPE_CHECKING:
    _Base = Store
else:
    _Base = object


class StaleListStore(_Base):
    """Another store, whose `list` shows what was there at the last `catch_up`; everything else is current."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.catch_up()

    def catch_up(self) -> None:
        """From now on list what there is now."""
        self._listed = list(self._store.list())

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """See `Store.list`."""
        return iter([info for info in self._listed if info.name.startswith(prefix)])

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)
