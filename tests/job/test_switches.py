"""Every switch of the ablations, from the paper's job files to the losses and scores of what is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks import plain_fod
from fod_bench.job import load_job
from fod_bench.methods.fod.method import FodMethod
from fod_bench.methods.fod.network import FODNetwork, NetworkShape
from fod_bench.methods.fod.references.build import build_references
from fod_bench.methods.fod.references.specs import MeanReference
from fod_bench.methods.fod.rules import rules
from fod_bench.methods.fod.settings import FodSettings
from fod_bench.methods.fod.train import LossWeights, losses
from fod_bench.trials.data import TrialData
from tests.helpers.trial_builders import CPU, VIEWS, feature_data, features, score_maps

JOBS = Path(__file__).parents[2] / "jobs"
CHANNELS = {4: 3, 8: 5, 16: 7}
SIZE = 64


@pytest.fixture(scope="module")
def data() -> TrialData:
    """Two training and four test images of all three levels, the first patches of defective ones changed."""
    rng = np.random.default_rng(4)
    learnt, tested = {}, {}
    for level, channels in CHANNELS.items():
        side = SIZE // level
        learnt[level] = rng.normal(size=(2, side, side, channels)).astype(np.float32)
        tested[level] = rng.normal(size=(4, side, side, channels)).astype(np.float32)
        tested[level][2:, : side // 2] += 1
    labels = np.array([0, 0, 1, 1], np.uint8)
    masks = np.zeros((4, SIZE, SIZE), np.uint8)
    masks[2:, : SIZE // 2] = 1
    return feature_data(learnt, tested, masks, labels, build_references(MeanReference(), learnt, tested, CPU))


def rows() -> list[Any]:
    """Every row of the ablation tables with the paper's own reference, in the tables' order."""
    found = []
    for part in load_job(JOBS / "ablation.yaml", ["d_model={4: 16, 8: 16, 16: 32}", "batch_size=2"]).parts():
        for label, settings in part.rows():
            if settings.training().get("reference", {"kind": "mean"}) == {"kind": "mean"}:
                found.append(pytest.param(settings, id=f"{part.tables[0]}-{label}"))
    return found


@pytest.mark.parametrize("settings", rows())
def test_a_row_is_trained_by_the_equations_it_names(settings: FodSettings, data: TrialData) -> None:
    """The first step's loss terms against the plain implementation, for the setting as the job file has it."""
    detector = FodMethod(settings.training(), data.train, data.context, 3407, CPU)
    twins = FodMethod(settings.training(), data.train, data.context, 3407, CPU).trainers
    found = dict(zip(detector.loss_names, detector.step(0, 0).tolist(), strict=True))
    assert list(twins) == list(settings.levels)
    for level, twin in twins.items():
        shape = twin.network.shape
        assert (shape.d_model, shape.heads, shape.layers) == (settings.widths[level], settings.heads, settings.layers)
        given = torch.from_numpy(data.train.pooled[level]).flatten(1, 2)
        reference = given.mean(0, keepdim=True)
        weight = settings.lambda2 if settings.entropy else 0.0
        with torch.no_grad():
            first, second = plain_fod.phase_losses(twin.network, given, reference, settings.lambda1, weight)
            none, _ = plain_fod.phase_losses(twin.network, given, reference, 0.0, 0.0)
        if settings.optimization == "direct":  # Eq. 11: reconstruction once, divergence once, entropy
            rest = plain_fod.phase_losses(twin.network, given, reference, 0.0, weight)[1] - none
            first = second = first + rest
        elif settings.views == "patch":
            second = first
        expected = {"reconstruction": none, "phase1": first, "phase2": second}
        for term, value in expected.items():
            assert found[f"{level}/{term}"] == pytest.approx(float(value.detach()), rel=2e-4, abs=1e-5), (level, term)


@pytest.mark.parametrize("settings", rows())
def test_a_row_is_scored_by_the_rule_and_levels_it_names(settings: FodSettings, data: TrialData) -> None:
    """The score that the table shows is one of those its training has."""
    detector = FodMethod(settings.training(), data.train, data.context, 3407, CPU)
    assert settings.score in {maps.score for maps in score_maps(detector, data)}


@pytest.mark.parametrize("heads", [2, 4, 8])
@pytest.mark.parametrize("layers", [2, 3, 4, 5, 6])
def test_gradients_for_any_number_of_heads_and_layers(heads: int, layers: int) -> None:
    torch.manual_seed(heads * layers)
    model = FODNetwork(NetworkShape(3, 4, channels=5, d_model=16, heads=heads, layers=layers, view="full")).double()
    given, reference = features()
    parameters = list(model.parameters())
    ours = torch.autograd.grad(losses(model(given, reference), given, LossWeights(0.3, 0.7)).total, parameters)
    first, second = plain_fod.phase_losses(model, given, reference, 0.3, 0.7)
    plain = torch.autograd.grad(first + second, parameters)
    torch.testing.assert_close(ours, plain, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("views", VIEWS)
def test_a_larger_training_holds_its_subsets_of_levels_to_the_bit(views: str, data: TrialData) -> None:
    """Why Table 14 takes one training beyond the main one, and why no scoring is a training of its own."""

    def trained(*levels: int) -> dict[str, torch.Tensor]:
        settings = FodSettings(views=views, levels=levels, d_model={4: 8, 8: 8, 16: 16}, heads=2, layers=1)
        detector = FodMethod(settings.training(), data.train, data.context, 3407, CPU)
        for epoch in range(2):
            for step in range(detector.steps_per_epoch):
                detector.step(epoch, step)
        return {maps.score: maps.pixels for maps in score_maps(detector, data)}

    together = trained(4, 8, 16)
    assert len(together) == 7 * len(rules(views))  # type: ignore[arg-type]
    for levels in ((4,), (8,), (16,), (4, 16), (8, 16)):
        for score, pixels in trained(*levels).items():
            np.testing.assert_array_equal(pixels, together[score], err_msg=score)
