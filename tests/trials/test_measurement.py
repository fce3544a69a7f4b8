"""What a method costs: operations against counts by hand, parameters, and a measurement as a trial."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import plain_fod
from fod_bench.evaluation.metric import COSTS
from fod_bench.features.backbone import Backbone
from fod_bench.methods.fod.correlation import VARIABLE
from fod_bench.methods.fod.cost import forward_flops
from fod_bench.methods.fod.detector import FodDetector
from fod_bench.methods.fod.method import FodMethod
from fod_bench.methods.fod.network import View
from fod_bench.methods.fod.references.build import build_references
from fod_bench.methods.fod.references.specs import MeanReference, PrototypeReference, ReferenceSpec
from fod_bench.records.names import record_name
from fod_bench.records.record import Record, Trial
from fod_bench.store import Store, open_store
from fod_bench.trials import cost as measurement
from fod_bench.trials.cost import Inference, count_flops, measure, measure_trial
from fod_bench.trials.data import TrialData
from fod_bench.trials.trial import Interrupted
from tests.helpers.trial_builders import (
    CPU,
    SIZE,
    VIEWS,
    Watcher,
    claim,
    feature_data,
    names,
    run,
    score_maps,
    trial,
    trial_data,
)

CHANNELS = {8: 128, 16: 256}
"""Of the backbone, ResNet-18."""
SHAPE: dict[str, Any] = {"d_model": {"8": 16, "16": 32}, "heads": 4, "layers": 2}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "store"))


@pytest.fixture(autouse=True)
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measurement, "ROUNDS", (1, 2))
    monkeypatch.setattr(measurement, "SECONDS", 0.0)
    monkeypatch.setattr(measurement, "ROUND_SECONDS", 0.0)


def data(
    size: int = SIZE,
    channels: dict[int, int] = CHANNELS,
    train: int = 5,
    reference: ReferenceSpec = MeanReference(),  # noqa: B008 - it cannot be changed
) -> TrialData:
    """Random features of images of `size` pixels, four of them to test on."""
    rng = np.random.default_rng(0)

    def made(count: int) -> dict[int, np.ndarray]:
        sides = {level: size // level for level in channels}
        return {
            level: rng.normal(size=(count, sides[level], sides[level], width)).astype(np.float32)
            for level, width in channels.items()
        }

    masks, labels = np.zeros((4, size, size), np.uint8), np.array([0, 0, 1, 1], np.uint8)
    masks[2:, :9, :9] = 1
    learnt, tested = made(train), made(4)
    return feature_data(learnt, tested, masks, labels, build_references(reference, learnt, tested, CPU))


def setting(**changes: Any) -> dict[str, Any]:
    """What a job gives a measurement: no more than what the cost depends on."""
    base = {"method": "fod", "levels": [8, 16], "views": "full", "batch_size": 2, "optimization": "two_phase"}
    return base | SHAPE | {"measure": "cost"} | changes


def method(reference: ReferenceSpec | None = None, **changes: Any) -> FodMethod:
    given = data(reference=reference or MeanReference())
    return FodMethod(setting(**changes) | {"measure": "cost"}, given.train, given.context, 0, CPU)


def asked(name: str = "resnet18", levels: tuple[int, ...] = (8, 16), size: int = SIZE, **changes: Any) -> Trial:
    """A measurement with features of a backbone."""
    features = {"key": "b2", "backbone": name, "levels": list(levels), "image_size": size}
    return trial().model_copy(update={"setting": setting(**changes), "features": features})


def inference(measurement: Trial, given: TrialData | None = None) -> Inference:
    return Inference(measurement, (given or data()).test, CPU, 2)


@contextmanager
def layer_flops(*modules: nn.Module) -> Iterator[list[int]]:
    """Operations of every call of a layer with weights, from the shapes that go in and out."""
    found: list[int] = []

    def linear(layer: nn.Module, given: Any, out: torch.Tensor) -> None:
        found.append(2 * out.numel() * layer.in_features)

    def convolution(layer: nn.Module, given: Any, out: torch.Tensor) -> None:
        found.append(2 * out.numel() * layer.weight[0].numel())

    hooks = [
        layer.register_forward_hook(linear if isinstance(layer, nn.Linear) else convolution)
        for module in modules
        for layer in module.modules()
        if isinstance(layer, nn.Linear | nn.Conv2d)
    ]
    yield found
    for hook in hooks:
        hook.remove()


def attention_flops(view: View) -> int:
    """Q·Kᵀ and S·V of every head, layer and branch of both levels."""
    total = 0
    for level, d_model in SHAPE["d_model"].items():
        patches = (SIZE // int(level)) ** 2
        for _ in range(SHAPE["layers"] * (2 if view == "full" else 1)):
            for _ in range(SHAPE["heads"]):
                total += 2 * (2 * patches * patches * (d_model // SHAPE["heads"]))
    return total


@pytest.mark.parametrize("view", VIEWS)
def test_operations_are_those_of_layers_and_attention_by_hand(view: View) -> None:
    made, measured = inference(asked(views=view)), method(views=view).countable()
    assert made.backbone is not None
    torch.set_num_threads(2)  # as a worker may have
    try:
        with layer_flops(made.backbone, *measured.networks) as by_hand:
            layers, everything = count_flops(made, measured)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
    assert layers == sum(by_hand) > 0
    assert everything - layers == attention_flops(view)


@pytest.mark.parametrize(("view", "references"), [*((view, 1) for view in VIEWS), ("inter", 2), ("full", 3)])
def test_the_estimate_of_a_plan_is_what_the_counter_finds(view: View, references: int) -> None:
    measured = method(PrototypeReference(per_position=references), views=view).countable()
    given = {level: torch.randn(1, SIZE // level, SIZE // level, width) for level, width in CHANNELS.items()}
    made = data(reference=PrototypeReference(per_position=references)).context.reference.levels
    references_of = {level: torch.from_numpy(each.features).flatten(0, 2)[None] for level, each in made.items()}
    for level, network in zip(measured.levels, measured.networks, strict=True):
        patches, d_model = (SIZE // level) ** 2, SHAPE["d_model"][str(level)]
        counts = []
        for forward in (network, lambda *parts, network=network: plain_fod.forward(network, *parts)):
            with torch.no_grad(), FlopCounterMode(display=False) as counter:
                forward(given[level].flatten(1, 2), references_of[level])
            counts.append(counter.get_total_flops())
        if view == "patch":  # its attention is one kernel, which not every device has a count for
            counts.pop(0)
        expected = forward_flops(patches, CHANNELS[level], d_model, SHAPE["layers"], view, references, SHAPE["heads"])
        assert set(counts) == {expected}


def test_the_papers_figures_are_ours_with_what_it_computes_for_nothing() -> None:
    """10.9 G and 16.2 M of Table 5: multiply-adds of the layers, and the parameters."""
    widths = {8: 72, 16: 200}
    shape = {"d_model": {"8": 256, "16": 512}, "heads": 8, "layers": 3}
    given = data(256, widths, train=1)
    measured = FodMethod(setting(**shape), given.train, given.context, 0, CPU)
    ours, layers = (
        count_flops(inference(asked("tf_efficientnet_b6", levels, 256, **shape), given), measured)[0]
        for levels in ((8, 16), (8, 16, 32))  # the second is of all stages
    )
    dropped = [(32 * 32, 256), (16 * 16, 512)] * 2 * 3  # (patches, d_m) of both levels, two branches, three layers
    assert round((layers / 2 + sum(patches * d * d for patches, d in dropped)) / 1e9, 1) == 10.9
    assert round(layers / 2 / 1e9, 1) == 10.1 and round(ours / 2 / 1e9, 1) == 8.4

    def linear(inputs: int, outputs: int) -> int:
        return inputs * outputs + outputs

    parameters = 0
    for level, d in ((8, 256), (16, 512)):
        branch = 3 * linear(d, d) + linear(d, 2 * 8)
        layer = 2 * branch + linear(d, 4 * d) + linear(4 * d, d) + 2 * 2 * d
        parameters += 2 * linear(widths[level], d) + 3 * layer + 2 * d + linear(d, widths[level])
    assert sum(p.numel() for network in measured.networks for p in network.parameters()) == parameters
    assert round((parameters + sum(linear(d, d) for _, d in dropped)) / 1e6, 1) == 16.2
    assert round(parameters / 1e6, 1) == 14.2


def test_a_score_of_a_image_is_that_of_the_test_split() -> None:
    trained, given = method(), data()
    expected = next(maps for maps in score_maps(trained, given) if maps.score == trained.primary_score)
    for number in range(len(given.test)):
        parts = trained.detector().parts(given.test.batch(slice(number, number + 1), CPU))
        (found,) = FodMethod.scorings(setting(), parts, SIZE, trained.primary_score)
        np.testing.assert_allclose(found.pixels[0].numpy(), expected.pixels[number], rtol=1e-5)
        np.testing.assert_allclose(found.images[0].numpy(), expected.images[number], rtol=1e-5)


def test_times_follow_from_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every call takes what a false clock says; the median is scaled by steps and turned into images per second."""
    clock = 0.0
    monkeypatch.setattr(measurement.time, "perf_counter", lambda: clock)
    monkeypatch.setattr(measurement, "ROUNDS", (5, 9))

    def slow(seconds: float, function: Any) -> Any:
        def called(*arguments: Any) -> Any:
            nonlocal clock
            clock += seconds
            return function(*arguments)

        return called

    monkeypatch.setattr(FodMethod, "step", slow(2.0, FodMethod.step))
    monkeypatch.setattr(FodDetector, "parts", slow(0.15, FodDetector.parts))
    monkeypatch.setattr(Backbone, "maps_of", slow(0.1, Backbone.maps_of))
    measured = method()
    found = measure(measured, measured, asked(), data(), CPU)
    assert found["train_s_per_epoch"] == pytest.approx(2.0 * 3)  # five images, two by two
    assert found["inference_fps"] == pytest.approx(1 / 0.25)
    assert found["backbone_s_per_epoch"] == pytest.approx(0.1 * 3)
    assert set(COSTS) < set(found)


class TestTrial:
    def run(self, store: Store, watcher: Watcher | None = None) -> Record:
        return measure_trial(asked(), data(), claim(store), watcher or Watcher(), CPU)

    def test_leaves_a_record_with_costs_and_nothing_else(self, store: Store) -> None:
        record = self.run(store)
        assert Record.model_validate_json(store.get(record_name("a1"))) == record
        assert names(store) == ["record.json"]
        assert not list(store.list("claims/")), "the claim is gone"
        assert record.run.correlation == "numba", "what was timed"
        assert (
            record.epochs == 0 and not record.curves and record.scores() == ["cost"] and record.primary_score == "cost"
        )
        assert (
            record.costs["learnable_params_m"]
            == sum(p.numel() for n in method().networks for p in n.parameters()) / 1e6
        )
        assert all(value > 0 for value in record.costs.values())
        assert record.run.seconds_per_step == pytest.approx(record.costs["train_s_per_epoch"] / 3)
        assert record.run.device.startswith("cpu") and record.run.threads == torch.get_num_threads()

    def test_counts_the_same_whatever_is_timed(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        """The products of Triton's kernels are hidden from the counter. (Interpreted they take long, so no clock is started.)"""
        monkeypatch.setattr(measurement, "median_seconds", lambda *_: 1.0)
        expected = count_flops(inference(asked()), method().countable())
        monkeypatch.setenv(VARIABLE, "triton")
        record = self.run(store)
        assert record.run.correlation == "triton"
        assert (record.costs["gflops"] * 2e9, record.costs["gflops_all"] * 1e9) == pytest.approx(expected)

    def test_is_done_once(self, store: Store) -> None:
        first = self.run(store)
        assert self.run(store) == first

    def test_times_are_no_part_of_the_result(self, store: Store, tmp_path: Path) -> None:
        first, second = self.run(store), self.run(open_store(str(tmp_path / "other")))
        assert first.costs["train_s_per_epoch"] != second.costs["train_s_per_epoch"]
        assert first.result_digest() == second.result_digest()

    def test_ends_when_asked_and_lets_the_claim_go(self, store: Store) -> None:
        with pytest.raises(Interrupted):
            self.run(store, Watcher(after=0))
        assert names(store) == []
        assert self.run(store).costs


def test_a_training_has_no_costs(store: Store) -> None:
    record = run(store, trial(epochs=1), trial_data())
    assert record.costs == {} and not record.measures_cost
