"""Where a benchmark keeps features, references, checkpoints and records: one small interface, a folder or a bucket behind it.

Tensors are saved and loaded by `fod_bench.store.tensors`, which is imported on its own because it needs numpy.
"""

from fod_bench.store.base import ObjectInfo, ObjectMissingError, Store
from fod_bench.store.open import DEFAULT_STORE, open_existing, open_store, store_to_read

__all__ = ["DEFAULT_STORE", "ObjectInfo", "ObjectMissingError", "Store", "open_existing", "open_store", "store_to_read"]
