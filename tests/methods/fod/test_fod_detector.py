"""FOD's detector on a CPU: images by themselves, side by side in threads, and the references' side computed once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from fod_bench.methods.base import Batch
from fod_bench.methods.fod.detector import FodDetector
from fod_bench.methods.fod.method import FodMethod
from fod_bench.methods.fod.network import FODNetwork, ReferenceSide, View
from fod_bench.methods.fod.score import patch_scores
from fod_bench.trials.data import TrialData
from fod_bench.trials.scores import BATCH, TestImages
from tests.helpers.trial_builders import CPU, VIEWS, method, trial_data

IMAGES = 7


@pytest.fixture(params=[1, 2, IMAGES + 1])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def batch(data: TrialData) -> Batch:
    return data.test.batch(slice(None), CPU)


@torch.no_grad()
def one_after_the_other(trained: FodMethod, images: Batch) -> dict[str, Tensor]:
    """`FodDetector.parts`, as it reads: each image's features and references to the network."""
    found: dict[str, list[Tensor]] = {}
    for level, trainer in trained.trainers.items():
        for number, grid in enumerate(images.pooled[level]):
            features, reference = grid.flatten(0, 1)[None], None
            if trained.references:
                rows = images.reference_rows.get(level)
                reference = trained.references[level].of(None if rows is None else rows[number].flatten()[None])
            scores = patch_scores(trainer.network(features, reference), features)
            for name, part in scores._asdict().items():
                if part is not None:
                    found.setdefault(f"{level}/{name}", []).append(part.view(grid.shape[:2]))
    return {name: torch.stack(parts) for name, parts in found.items()}


@pytest.mark.parametrize("kind", ["mean", "nearest", "codebook"])
@pytest.mark.parametrize("view", VIEWS)
def test_it_gives_what_the_networks_give_image_by_image(view: View, kind: str, threads: int) -> None:
    data = trial_data(reference=kind)
    trained = method(data, views=view, layers=2)
    expected = one_after_the_other(trained, batch(data))
    torch.testing.assert_close(trained.detector().parts(batch(data)), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["mean", "nearest"])
def test_an_image_has_the_same_bits_in_any_company_and_in_any_thread(kind: str) -> None:
    data = trial_data(reference=kind)
    detector = method(data).detector()
    alone = [detector.parts(data.test.batch(slice(at, at + 1), CPU)) for at in range(IMAGES)]
    torch.set_num_threads(2)
    try:
        together = detector.parts(batch(data))
    finally:
        torch.set_num_threads(1)
    for name, part in together.items():
        assert torch.equal(part, torch.cat([of_image[name] for of_image in alone])), name


def test_what_references_come_to_is_computed_once_an_evaluation(monkeypatch: pytest.MonkeyPatch) -> None:
    data, calls, computed = trial_data(good=2 * BATCH), [], FODNetwork.reference_side

    def counted(self: FODNetwork, reference: Tensor) -> ReferenceSide:
        calls.append(reference.shape)
        return computed(self, reference)

    monkeypatch.setattr(FODNetwork, "reference_side", counted)
    trained = method(data)
    TestImages(data.test, CPU).parts(trained.detector())
    assert len(calls) == len(trained.levels)


def test_a_prepared_detector_gives_the_same_and_an_unprepared_one_follows_the_training() -> None:
    data = trial_data()
    trained = method(data)
    detector = trained.detector()
    before = detector.parts(batch(data))
    assert isinstance(detector, FodDetector)
    same = detector.prepared().parts(batch(data))
    assert all(torch.equal(before[name], same[name]) for name in before)
    trained.step(0, 0)
    after, anew = detector.parts(batch(data)), trained.detector().prepared().parts(batch(data))
    assert all(torch.equal(after[name], anew[name]) for name in after)
    assert not torch.equal(before["8/inter_divergence"], after["8/inter_divergence"])
