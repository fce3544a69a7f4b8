"""Work side by side on a GPU: a small network, or one branch of it, leaves most of the GPU idle."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor

Result = TypeVar("Result")


class Streams:
    """A CUDA stream for each of several works that do not touch each other."""

    def __init__(self, count: int) -> None:
        self._streams = [torch.cuda.Stream() for _ in range(count)]

    def run(self, works: Sequence[Callable[[], Result]]) -> list[Result]:
        """Their results. They begin after what is on the current stream, and what comes on it later waits for them."""
        current = torch.cuda.current_stream()
        results = []
        for stream, work in zip(self._streams, works, strict=True):
            stream.wait_stream(current)
            with torch.cuda.stream(stream):
                results.append(work())
        for stream in self._streams:
            current.wait_stream(stream)
        return results


_aside: torch.cuda.Stream | None = None
"""Where a step is being recorded: the stream for what `side_by_side` puts there."""


@contextmanager
def recording(aside: torch.cuda.Stream) -> Iterator[None]:
    """Inside the block a step is recorded on the current stream and `aside`."""
    global _aside
    _aside = aside
    try:
        yield
    finally:
        _aside = None


def side_by_side(
    first: Callable[[], Result],
    second: Callable[[], Result],
    given: Sequence[Tensor],
    made: Callable[[Result], Sequence[Tensor]],
) -> tuple[Result, Result]:
    """Results of both; where a step is being recorded, the second has a stream of its own, and so has its backward pass.

    Where none is recorded nothing would be gained: there the GPU waits for the host.

    Args:
        given: tensors from before that the second reads.
        made: the tensors in its result.
    """
    aside = _aside
    if aside is None:
        return first(), second()
    current = torch.cuda.current_stream()
    aside.wait_stream(current)
    result = first()  # the first one first, as without a recording: gradients are added up in that order
    with torch.cuda.stream(aside):
        beside = second()
    current.wait_stream(aside)
    # Memory belongs to the stream that it was made on, and is used again there without waiting for another stream.
    for tensor in given:
        tensor.record_stream(aside)
    for tensor in made(beside):
        tensor.record_stream(current)
    return result, beside
