"""Recorded steps are the same steps. What a CUDA graph does is played here by a recorder; the real one is in `test_gpu.py`."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fod_bench.methods.fod.recorded import VARIABLE, WARM_UP, Recorder, Work, graphs_wanted
from fod_bench.methods.fod.train import LevelTrainer, LossWeights
from tests.helpers.trial_builders import features, network

CPU, GPU = torch.device("cpu"), torch.device("cuda")


class Played:
    """Does what a CUDA graph does: the same work on the same memory, its result always in one place."""

    def __init__(self) -> None:
        self.warm, self.recorded, self.replayed = 0, 0, 0

    def warm_up(self, work: Work) -> Tensor:
        self.warm += 1
        return work()

    def record(self, work: Work) -> Work:
        self.recorded += 1
        place: list[Tensor] = []

        def replay() -> Tensor:
            self.replayed += 1
            result = work()
            if not place:
                place.append(result)
            return place[0].copy_(result)

        return replay


def trained(steps: int, recorder: Recorder | None) -> tuple[dict[str, Tensor], list[Tensor]]:
    """Parameters and losses of steps on images one by one, every third time on two of them."""
    trainer = LevelTrainer(network("full").float(), LossWeights(0.3, 0.7), 1e-2, recorder=recorder)
    given, reference = (tensor.float() for tensor in features(batch=4))
    losses = []
    for step in range(steps):
        images = given[:2] if step % 3 == 2 else given[step % 4, None]
        losses.append(torch.stack(trainer.step(images, reference[:1])))
    return {name: value.detach() for name, value in trainer.network.named_parameters()}, losses


def test_replayed_steps_are_those_taken_one_by_one() -> None:
    recorder = Played()
    parameters, losses = trained(15, recorder)
    expected_parameters, expected_losses = trained(15, None)
    assert (recorder.warm, recorder.recorded, recorder.replayed) == (2 * WARM_UP, 2, 15 - 2 * WARM_UP), "two shapes"
    torch.testing.assert_close(parameters, expected_parameters, rtol=0, atol=0)
    torch.testing.assert_close(losses, expected_losses, rtol=0, atol=0)


def test_what_has_moved_is_recorded_anew() -> None:
    recorder = Played()
    trainer = LevelTrainer(network("full"), LossWeights(), 1e-2, recorder=recorder)
    for _ in range(2):
        for _ in range(WARM_UP + 1):
            trainer.step(*features())
        assert trainer.recorded is not None
        trainer.recorded.forget()
    assert recorder.recorded == 2


def test_steps_are_recorded_on_a_gpu_unless_it_is_forbidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert graphs_wanted(GPU)
    for asked, wanted in (("1", True), ("0", False), ("", True)):
        monkeypatch.setenv(VARIABLE, asked)
        assert graphs_wanted(GPU) == wanted and not graphs_wanted(CPU)
    monkeypatch.setenv(VARIABLE, "yes")
    with pytest.raises(
        ValueError, match=r"FOD_BENCH_CUDA_GRAPHS=yes: it is 1, to record training steps on a GPU, .* or 0"
    ):
        graphs_wanted(CPU)
