"""What a worker tells the driver of errors and warnings."""

from __future__ import annotations

import logging
import traceback

import torch

from fod_bench.errors import DatasetError, DivergedError, FodBenchError, StoreError, WeightsError
from fod_bench.records.failures import Failure


class Notes(logging.Handler):
    """Keeps the warnings of a piece of work, which the driver tells."""

    def __init__(self, level: int) -> None:
        super().__init__(level)
        self._texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self._texts.append(record.getMessage())

    def taken(self) -> tuple[str, ...]:
        """The texts so far, which are forgotten."""
        texts, self._texts = tuple(self._texts), []
        return texts


def failure_of(error: Exception) -> Failure:
    """An error as a message."""
    details = "".join(traceback.format_exception(error))
    if isinstance(error, torch.cuda.OutOfMemoryError):
        peak = torch.cuda.max_memory_reserved() / 2**30
        return Failure(f"out of GPU memory: {peak:.1f} GiB were taken and more was asked for", details, "memory")
    if isinstance(error, DatasetError | WeightsError):
        return Failure(str(error), details, "data")
    if isinstance(error, DivergedError):
        return Failure(str(error), details, "diverged")
    if isinstance(error, StoreError):
        return Failure(str(error), details, "store")
    first = str(error).strip().splitlines()[0] if str(error).strip() else "no message"
    return Failure(str(error) if isinstance(error, FodBenchError) else f"{type(error).__name__}: {first}", details)
