"""What a GPU has to show: the operator at real sizes, steps without a wait, recorded ones, packs that do not fit, trainings.

`make test-gpu` runs these and the other tests marked `gpu` on one. With FOD_BENCH_TEST_DEVICE=cpu most run on a CPU, to try the
tests themselves. This file, without `conftest.py`, needs neither Ray nor an S3 server.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from fod_bench.evaluation.evaluate import Truth, evaluate
from fod_bench.evaluation.maps import ScoreMaps
from fod_bench.features.extract import extract
from fod_bench.features.truth import make_truth
from fod_bench.job import load_job
from fod_bench.methods.fod.correlation import VARIABLE
from fod_bench.methods.fod.method import FodMethod
from fod_bench.methods.fod.precision import matrix_products
from fod_bench.methods.fod.recorded import VARIABLE as GRAPHS
from fod_bench.methods.fod.references.build import build_references
from fod_bench.methods.fod.references.specs import reference_spec
from fod_bench.methods.fod.score import upsample, upsample_smoothed
from fod_bench.plan import TrialJob, make_plan
from fod_bench.records.record import Record
from fod_bench.store import open_store
from fod_bench.trials import cost as measurement
from fod_bench.trials.data import TrialData
from fod_bench.trials.scores import TestImages
from tests.helpers.correlation_cases import HERE, TOLERANCE, Case, compare, outcome, written_down
from tests.helpers.trial_builders import (
    CPU,
    DEVICE,
    SIZE,
    STEPS,
    Watcher,
    claim,
    feature_data,
    run_trial,
    score_maps,
    setting,
    trial_data,
)

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif("FOD_BENCH_TEST_DEVICE" not in os.environ, reason="`make test-gpu` runs it"),
]
on_a_gpu = pytest.mark.skipif(DEVICE.type == "cpu", reason="a CPU has nothing of the kind")
implementations = pytest.mark.parametrize("implementation", HERE[1:])
JOBS = Path(__file__).parents[2] / "jobs"


@contextmanager
def chosen(**variables: str) -> Iterator[None]:
    """With these environment variables."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        yield


def method(seed: int = 3407, data: TrialData | None = None, device: torch.device = DEVICE, **changes: Any) -> FodMethod:
    data = data or trial_data()
    return FodMethod(setting(**{"learning_rate": 1e-3} | changes), data.train, data.context, seed, device)


def losses(made: FodMethod, first: int, last: int) -> list[torch.Tensor]:
    """Of the steps from `first` to before `last`, counted through all epochs."""
    return [made.step(*divmod(step, STEPS)).cpu() for step in range(first, last)]


@implementations
@pytest.mark.parametrize(("side", "depth"), [(16, 64), (32, 32), (64, 16), (24, 128)])
def test_the_operator_at_the_papers_sizes(implementation: str, side: int, depth: int) -> None:
    """N = 256, 1024 and 4096 of strides 16, 8 and 4, and 576."""
    inputs = [tensor.float().to(DEVICE) for tensor in Case(1, 2, side * side, side, side, depth, 1.0, 0.0, 8).inputs()]
    truth = outcome([tensor.double() for tensor in inputs], written_down)
    with chosen(**{VARIABLE: implementation}), matrix_products("float32", DEVICE):
        compare(outcome(inputs), truth, TOLERANCE)


@on_a_gpu
@pytest.mark.parametrize(
    ("implementation", "precision", "tolerance"),
    [("tiled", "tf32", 5e-3), ("triton", "tf32", 5e-3), ("triton", "bfloat16", 5e-2)],
)
def test_less_precise_products_are_as_precise_as_they_can_be(
    implementation: str, precision: Any, tolerance: float
) -> None:
    inputs = [tensor.float().to(DEVICE) for tensor in Case(1, 8, 1024, 32, 32, 32, 1.0, 0.0, 8).inputs()]
    truth = outcome([tensor.double() for tensor in inputs], written_down)
    with chosen(**{VARIABLE: implementation}), matrix_products(precision, DEVICE):
        found = outcome(inputs)
    compare(found, truth, tolerance)
    assert float((found[0] - truth[0]).abs().max()) > TOLERANCE, "the setting had no effect"


@implementations
@pytest.mark.parametrize("views", ["patch", "intra", "inter", "full"])
def test_steps_are_a_cpus(implementation: str, views: str) -> None:
    """The first steps of a training; later ones lie apart as any two roundings do."""
    with chosen(**{VARIABLE: implementation}):
        found = losses(method(views=views), 0, 2 * STEPS)
    expected = losses(method(device=CPU, views=views), 0, 2 * STEPS)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


@on_a_gpu
@implementations
@pytest.mark.parametrize("graphs", ["0", "1"])
def test_a_step_does_not_wait_for_the_device(implementation: str, graphs: str) -> None:
    data = trial_data(train=40)
    with chosen(**{VARIABLE: implementation, GRAPHS: graphs}):
        made = method(data=data)
        for step in range(10):
            made.step(0, step)
        torch.cuda.set_sync_debug_mode("error")
        try:
            for step in range(10, 20):
                made.step(0, step)
        finally:
            torch.cuda.set_sync_debug_mode("default")


@on_a_gpu
@implementations
@pytest.mark.parametrize("changes", [{}, {"views": "patch"}, {"zero_gradient_step": True}, {"optimization": "direct"}])
def test_recorded_steps_are_those_taken_one_by_one(implementation: str, changes: dict[str, Any]) -> None:
    """The last batch of an epoch is smaller, and so recorded by itself."""
    found = {}
    for graphs in ("1", "0"):
        with chosen(**{VARIABLE: implementation, GRAPHS: graphs}):
            made = method(**changes)
            taken = losses(made, 0, 8 * STEPS)
            found[graphs] = taken, [scores.pixels.cpu() for scores in score_maps(made)]
    torch.testing.assert_close(found["1"], found["0"], rtol=1e-4, atol=1e-5)


@implementations
@pytest.mark.parametrize("graphs", ["0", "1"])
def test_a_training_goes_on_to_the_bit(implementation: str, graphs: str) -> None:
    with chosen(**{VARIABLE: implementation, GRAPHS: graphs}):
        undisturbed, interrupted, resumed = method(), method(), method()
        expected = losses(undisturbed, 0, 20)
        assert torch.equal(torch.stack(losses(interrupted, 0, 10)), torch.stack(expected[:10]))
        losses(resumed, 0, 7)  # it is somewhere else, with steps recorded or not
        resumed.load_state(interrupted.state())
        assert torch.equal(torch.stack(losses(resumed, 10, 20)), torch.stack(expected[10:]))
    for name, array in undisturbed.state().items():
        assert np.array_equal(array, resumed.state()[name]), name


@implementations
def test_a_pack_takes_the_steps_of_its_members(implementation: str) -> None:
    with chosen(**{VARIABLE: implementation}):
        together, apart = ([method(seed, lambda1=0.1 * seed) for seed in range(4)] for _ in range(2))
        pack = FodMethod.pack(together)
        for step in range(STEPS):
            found = torch.stack([taken for taken in pack.step([(0, step)] * 4) if isinstance(taken, torch.Tensor)])
            expected = torch.stack([member.step(0, step) for member in apart])
            torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
    assert pack.together == 4


@on_a_gpu
def test_a_pack_that_does_not_fit_goes_on_in_parts() -> None:
    """The device is made small: there is room for half of what a pack of eight needs."""
    rng = np.random.default_rng(0)
    levels = {8: rng.normal(size=(4, 32, 32, 16)).astype(np.float32)}
    masks, labels = np.zeros((4, 256, 256), np.uint8), np.array([0, 0, 1, 1], np.uint8)
    data = feature_data(levels, levels, masks, labels, build_references(reference_spec("mean"), levels, levels, CPU))
    changes = {"levels": [8], "d_model": {"8": 256}, "heads": 8, "layers": 3, "batch_size": 1}

    def pack_of_eight() -> Any:
        return FodMethod.pack([method(seed, data, **changes) for seed in range(8)])

    def step(pack: Any, number: int) -> torch.Tensor:
        taken = pack.step([(0, number)] * 8)
        assert all(isinstance(each, torch.Tensor) for each in taken), taken
        return torch.stack(taken).cpu()

    roomy = pack_of_eight()
    expected = [step(roomy, number) for number in range(2)]
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    expected.append(step(roomy, 2))
    needed = torch.cuda.max_memory_allocated() - before
    del roomy
    cramped = pack_of_eight()
    found = [step(cramped, number) for number in range(2)]
    torch.cuda.empty_cache()
    room = torch.cuda.memory_reserved() + needed // 2
    torch.cuda.set_per_process_memory_fraction(room / torch.cuda.get_device_properties(0).total_memory)
    try:
        found.append(step(cramped, 2))
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert 1 <= cramped.together < 8
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_metrics_are_a_cpus() -> None:
    """From one set of maps, with ties."""
    rng = np.random.default_rng(3)
    masks = np.zeros((6, 128, 128), np.uint8)
    masks[3:, 20:50, 30:90] = 1
    truth = Truth(np.array([0, 0, 0, 1, 1, 1], np.uint8), masks)
    pixels = torch.from_numpy(np.round(rng.normal(size=masks.shape) + masks, 2).astype(np.float32))
    images = pixels.flatten(1).amax(1)
    found, expected = (
        evaluate([ScoreMaps("rec@8", pixels.to(device), images.to(device))], truth)[0]["rec@8"]
        for device in (DEVICE, CPU)
    )
    assert found == pytest.approx(expected, rel=1e-12)
    assert found["pixel_auroc"] == expected["pixel_auroc"]


@on_a_gpu
def test_an_evaluation_waits_for_the_device_once() -> None:
    data = trial_data()
    made, test = method(data=data), TestImages(data.test, DEVICE)

    def evaluated() -> None:
        evaluate(FodMethod.scorings(setting(), test.parts(made.detector()), SIZE), data.truth)

    evaluated()  # what is made once
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            evaluated()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    waits = [str(each.message) for each in caught if "called a synchronizing" in str(each.message)]
    assert len(waits) == 1, waits


@pytest.mark.parametrize("side", [16, 32, 64])
def test_smoothing_is_scipys(side: int) -> None:
    grids = torch.from_numpy(np.random.default_rng(0).normal(size=(3, side, side)).astype(np.float32))
    expected = np.stack([gaussian_filter(image.numpy(), 4.0) for image in upsample(grids.double(), 256)])
    smoothed = upsample_smoothed(grids.to(DEVICE), 256).cpu().numpy()
    np.testing.assert_allclose(smoothed, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


@implementations
def test_costs_are_measured(implementation: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Operations are those that a CPU counts, by whatever kernels the time is taken."""
    monkeypatch.setattr(measurement, "SECONDS", 0.1)
    (job,) = (trial for trial in quickstart("measure=cost", "views=full") if trial.category == "weave")
    costs = {}
    for place, device, name in (("here", DEVICE, implementation), ("cpu", CPU, "plain")):
        with chosen(**{VARIABLE: name}):
            claimed = claim(open_store(str(tmp_path / place)), job.key)
            record = measurement.measure_trial(job.trial(1.0), data_of(job, CPU), claimed, Watcher(), device)
        assert record.run.correlation == name
        assert all(value > 0 for value in record.costs.values())
        costs[place] = [record.costs[count] for count in ("gflops", "gflops_all", "learnable_params_m")]
    assert costs["here"] == costs["cpu"]


@pytest.mark.parametrize("backbone", ["resnet18", "mobilenetv2_100"])
def test_features_are_a_cpus(backbone: str) -> None:
    job = next(iter(quickstart(f"backbone={backbone}", "d_model={8: 64, 16: 64}")))
    assert job.wanted is not None
    found, expected = (extract([job.wanted.sets[0]], device)[0] for device in (DEVICE, CPU))
    for level, array in expected.train.items():
        assert np.abs(found.train[level] - array).max() <= 1e-3 * np.abs(array).max()


@implementations
def test_a_trainings_record_is_a_cpus(implementation: str, tmp_path: Path) -> None:
    """FOD of the quickstart, from the images on: mean AUROC of its categories within 0.005."""
    found: dict[str, list[tuple[float, float]]] = {"here": [], "cpu": []}
    for job in quickstart():
        for place, device, name in (("here", DEVICE, implementation), ("cpu", CPU, "")):
            with chosen(**{VARIABLE: name}):
                store = open_store(str(tmp_path / place))
                record = run_trial(job.trial(1e9), data_of(job, device), claim(store, job.key), Watcher(), device)
            found[place].append(auroc(record))
            print(place, job.category, *found[place][-1])
    np.testing.assert_allclose(np.mean(found["here"], 0), np.mean(found["cpu"], 0), rtol=0, atol=0.005)


def auroc(record: Record) -> tuple[float, float]:
    """Best over the epochs, of images and of pixels."""
    best = [record.best(record.primary_score, metric)[0] for metric in ("image_auroc", "pixel_auroc")]
    assert best[0] is not None and best[1] is not None
    return best[0], best[1]


def quickstart(*settings: str) -> list[TrialJob]:
    """FOD's trainings of the quickstart."""
    job = load_job(JOBS / "quickstart.yaml", [f"settings.{each}" for each in settings])
    return [trial for trial in make_plan(job, download=False).trials.values() if trial.rows[0] == "FOD"]


def data_of(job: TrialJob, device: torch.device) -> TrialData:
    assert job.wanted is not None
    made = extract([job.wanted.sets[0]], device)[0]
    references = build_references(job.settings.reference, made.train, made.test, device, job.category)
    truth = make_truth(job.wanted.truth).truth
    return feature_data(made.train, made.test, truth.masks, truth.labels, references)
