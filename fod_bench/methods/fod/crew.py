"""Threads that work side by side on a CPU, each on something whole, so that nothing has to be waited for within it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

from fod_bench.methods.fod.precision import in_thread

Item = TypeVar("Item")
Result = TypeVar("Result")


class Crew:
    """Threads in each of which PyTorch has one thread of its own."""

    def __init__(self) -> None:
        self._pool: ThreadPoolExecutor | None = None
        self._threads = 0

    def map(self, work: Callable[[Item], Result], items: Iterable[Item], threads: int) -> list[Result]:
        """Results of the work on each item, done in one of so many threads, in the caller's mode and precision, without
        gradients. One thread is the caller's own."""
        if threads == 1:
            with torch.no_grad():
                return [work(item) for item in items]
        if self._pool is None or self._threads != threads:
            if self._pool is not None:
                self._pool.shutdown(wait=False)
            self._pool = ThreadPoolExecutor(threads, "side-by-side", initializer=torch.set_num_threads, initargs=(1,))
            self._threads = threads
        mode = torch.is_inference_mode_enabled()

        def in_mode(item: Item) -> Result:
            with torch.inference_mode(mode), torch.no_grad(), in_thread(torch.device("cpu")):
                return work(item)

        return list(self._pool.map(in_mode, items))


CREW = Crew()
