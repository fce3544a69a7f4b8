"""Looking after a store: what is there, whether it is whole, what can go, and copies of it."""

from fod_bench.records.upkeep.copy import Copied, copy_store
from fod_bench.records.upkeep.garbage import Garbage, Heap, remove_garbage
from fod_bench.records.upkeep.progress import Meter
from fod_bench.records.upkeep.search import YOUNG_SECONDS, find_garbage
from fod_bench.records.upkeep.verify import Verified, verify_store

__all__ = [
    "YOUNG_SECONDS",
    "Copied",
    "Garbage",
    "Heap",
    "Meter",
    "Verified",
    "copy_store",
    "find_garbage",
    "remove_garbage",
    "verify_store",
]
