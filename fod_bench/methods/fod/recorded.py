"""A training step that is recorded once and replayed from then on.

At batch 1 a GPU waits for the host, which launches some hundred small kernels per step; a CUDA graph of the step is one launch. It
reads its input from memory of its own and leaves its result in the same place every time.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from fod_bench.methods.fod.streams import recording

VARIABLE = "FOD_BENCH_CUDA_GRAPHS"
"""Environment variable: 0 has training steps on a GPU taken one by one. Unset, empty or 1: they are recorded."""
WARM_UP = 3
"""Steps taken as usual before one is recorded: libraries set themselves up in them, and the optimiser makes its moments."""

Work = Callable[[], Tensor]
Step = Callable[[Tensor, "Tensor | None"], Tensor]


def graphs_wanted(device: torch.device) -> bool:
    """Whether steps on `device` are to be recorded. Raises ValueError when `VARIABLE` is none of its values."""
    asked = os.environ.get(VARIABLE, "")
    if asked not in ("", "0", "1"):
        raise ValueError(f"{VARIABLE}={asked}: it is 1, to record training steps on a GPU, which is the default, or 0")
    return asked != "0" and device.type == "cuda"


class Recorder(Protocol):
    """How work is recorded."""

    def warm_up(self, work: Work) -> Tensor:
        """Do it."""
        ...

    def record(self, work: Work) -> Work:
        """Record it without doing it; what is returned does it, and gives its result in the same memory every time."""
        ...


class CudaGraphs:
    """Records on the current CUDA device.

    What is replayed at the same time needs a recorder of its own: cuBLAS has one workspace a stream, also in what is recorded.
    """

    def __init__(self) -> None:
        self._stream, self._aside = torch.cuda.Stream(), torch.cuda.Stream()

    def warm_up(self, work: Work) -> Tensor:
        """On the stream on which it is recorded later."""
        current = torch.cuda.current_stream()
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            result = work()
        current.wait_stream(self._stream)
        result.record_stream(current)
        return result

    def record(self, work: Work) -> Work:
        """As a CUDA graph with a pool of memory of its own."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self._stream), recording(self._aside):
            result = work()

        def replay() -> Tensor:
            graph.replay()
            return result

        return replay


@dataclass
class _Recording:
    """A step on inputs of one shape."""

    features: Tensor
    reference: Tensor | None
    warm: int = 0
    replay: Work | None = None


class Recorded:
    """A step, recorded for each shape of its input. What it returns is overwritten by the next step."""

    def __init__(self, step: Step, recorder: Recorder) -> None:
        self._step, self._recorder = step, recorder
        self._recordings: dict[tuple[torch.Size | None, ...], _Recording] = {}

    def __call__(self, features: Tensor, reference: Tensor | None) -> Tensor:
        """One step on features (B, N, C) and references (B or 1, N·M, C)."""
        shapes = (features.shape, None if reference is None else reference.shape)
        recording = self._recordings.get(shapes)
        if recording is None:
            kept = None if reference is None else torch.empty_like(reference)
            recording = self._recordings[shapes] = _Recording(torch.empty_like(features), kept)
        recording.features.copy_(features)
        if recording.reference is not None and reference is not None:
            recording.reference.copy_(reference)
        if recording.replay is not None:
            return recording.replay()
        inputs = recording.features, recording.reference
        if recording.warm < WARM_UP:
            recording.warm += 1
            return self._recorder.warm_up(lambda: self._step(*inputs))
        recording.replay = self._recorder.record(lambda: self._step(*inputs))
        return recording.replay()

    def forget(self) -> None:
        """What the step works on has moved in memory: record anew."""
        self._recordings.clear()
