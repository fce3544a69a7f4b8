"""CFLOW-AD against numbers of its authors' code, through the same flow, trainer and method that train and score."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from fod_bench.methods.base import Context, Split
from fod_bench.methods.cflow.method import CflowMethod
from fod_bench.methods.cflow.network import Flow, FlowShape, log_likelihood, losses, position_code
from fod_bench.methods.cflow.score import anomaly_maps, likely
from fod_bench.methods.cflow.train import LevelTrainer, Rates
from fod_bench.records.checkpoints import State
from tests.helpers.rival_fixtures import fixture_files, read_fixture

CPU = torch.device("cpu")
BOUND = 1e-4
FILES = fixture_files("cflow")
FLOWS = [(path, number) for path in FILES for number in range(len(read_fixture(path)[0]["settings"]["flows"]))]

files = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
flows = pytest.mark.parametrize(("path", "number"), FLOWS, ids=lambda value: getattr(value, "stem", str(value)))


def near(found: Any, expected: NDArray[Any], bound: float = BOUND) -> None:
    found = found.detach().numpy() if isinstance(found, torch.Tensor) else np.asarray(found)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= bound * np.abs(expected).max()


def ours(name: str) -> str:
    """The name of a parameter, `block3.hidden.weight` in the file."""
    return name.replace("block", "blocks.", 1)


class Case:
    """One flow of a file, with what goes in and what its authors' code makes of it."""

    def __init__(self, path: Path, number: int) -> None:
        meta, arrays = read_fixture(path)
        about = meta["settings"]
        self.arrays = {name.removeprefix(f"flow{number}/"): array for name, array in arrays.items()}
        self.flow = flow_of(arrays, f"flow{number}/param/", about["flows"][number]["blocks"], about)
        self.rate = about["adam_rate_of_flows"]
        self.rows = torch.from_numpy(self.arrays["x"])
        self.condition = torch.from_numpy(self.arrays["condition"])


def flow_of(arrays: dict[str, NDArray[Any]], prefix: str, blocks: int, about: dict[str, Any]) -> Flow:
    found = {ours(name.removeprefix(prefix)): array for name, array in arrays.items() if name.startswith(prefix)}
    made = Flow(FlowShape(len(found["blocks.0.scale"]), about["condition_vector"], blocks, about["clamp"]))
    made.load_state_dict({name: torch.from_numpy(array) for name, array in found.items()})
    return made


@files
def test_position_codes(path: Path) -> None:
    for name, expected in read_fixture(path)[1].items():
        if name.startswith("position/"):
            length, height, width = expected.shape
            near(position_code(length, height, width, CPU).T.reshape(expected.shape), expected)


@files
def test_learning_rates(path: Path) -> None:
    meta, arrays = read_fixture(path)
    about = meta["settings"]["schedule"]
    rates = Rates(about["rate"], 0.1, about["meta_epochs"], 2)
    subs, batches = about["sub_epochs"], about["batches"]
    found = np.zeros((about["meta_epochs"], subs, batches))
    for epoch, sub, batch in product(*map(range, found.shape)):
        found[epoch, sub, batch] = rates.at(epoch, sub * batches + batch, subs * batches)
    near(found, arrays["schedule/rates"], 1e-12)


@files
def test_a_fresh_block(path: Path) -> None:
    arrays = read_fixture(path)[1]
    [block] = Flow(FlowShape(len(arrays["initial/scale"]), 4, 1, 1.9)).blocks
    near(block.scale, arrays["initial/scale"], 1e-7)
    assert not block.offset.any() and not arrays["initial/offset"].any()


@flows
def test_forward(path: Path, number: int) -> None:
    case = Case(path, number)
    z, log_jacobian = case.flow(case.rows, case.condition)
    per_dimension = log_likelihood(z, log_jacobian)
    near(z, case.arrays["z"])
    near(log_jacobian, case.arrays["log_jacobian"])
    near(per_dimension, case.arrays["per_dimension"])
    near(per_dimension * z.shape[1], case.arrays["log_likelihood"])
    near(losses(per_dimension), case.arrays["loss_rows"])
    near(losses(per_dimension).mean(), case.arrays["loss"])


@flows
def test_gradients(path: Path, number: int) -> None:
    case = Case(path, number)
    losses(log_likelihood(*case.flow(case.rows, case.condition))).mean().backward()
    expected = {ours(name.removeprefix("grad/")): case.arrays[name] for name in case.arrays if name.startswith("grad/")}
    found = {name: parameter.grad for name, parameter in case.flow.named_parameters()}
    assert found.keys() == expected.keys()
    for name, gradient in found.items():
        near(gradient, expected[name])


@flows
def test_losses_of_some_steps(path: Path, number: int) -> None:
    case = Case(path, number)
    trainer = LevelTrainer(case.flow)
    expected = case.arrays["losses"]
    near([float(trainer.step(case.rows, case.condition, case.rate)) for _ in expected], expected)


class Run:
    """A whole training of a file's, its images and rows taken in the file's order."""

    def __init__(self, path: Path, zero_gradient_step: bool) -> None:
        meta, self.arrays = read_fixture(path)
        about, run = meta["settings"], meta["settings"]["run"]
        self.levels = [8 << number for number in range(len(run["levels"]))]
        self.size = run["map_size"]
        self.setting = {
            "levels": self.levels,
            "blocks": run["blocks"],
            "condition": about["condition_vector"],
            "clamp": about["clamp"],
            "fiber": run["fiber"],
            "batch_size": run["batch_size"],
            "learning_rate": run["rate"],
            "decay": run["decay"],
            "warm_epochs": run["warm_epochs"],
            "epochs": run["meta_epochs"],
            "sub_epochs": run["sub_epochs"],
            "zero_gradient_step": zero_gradient_step,
        }
        self.method = CflowMethod(self.setting, self.split("train"), Context(self.size), 0, CPU)
        initial: State = {}
        for number, level in enumerate(self.levels):
            prefix = f"run/level{number}/param/"
            for name, array in self.arrays.items():
                if name.startswith(prefix):
                    initial[f"{level}/{ours(name.removeprefix(prefix))}"] = array
        self.method.load_state(initial)
        self.losses: dict[tuple[int, int], list[float]] = {}
        """By batch and level."""
        self.rates: list[float] = []

    def split(self, name: str) -> Split:
        found = {level: self.arrays[f"run/{name}/level{number}"] for number, level in enumerate(self.levels)}
        arrays = {level: np.ascontiguousarray(array.transpose(0, 2, 3, 1)) for level, array in found.items()}
        return Split(unpooled=arrays)

    def train(self, monkeypatch: pytest.MonkeyPatch) -> None:
        method, order = self.method, self.arrays["run/order"]
        batches, size = method._cut.batches, method._cut.batch
        assert order.shape == (method.epochs * method._sub_epochs * batches, size)

        def images(passed: int) -> torch.Tensor:
            return torch.from_numpy(order[passed * batches : (passed + 1) * batches].reshape(-1))

        def shuffle(passed: int, batch: int, level: int) -> torch.Tensor:
            given = self.arrays[f"run/permutation/level{self.levels.index(level)}"]
            return torch.from_numpy(given[passed * batches + batch].astype(np.int64))

        monkeypatch.setattr(method, "_order", images)
        monkeypatch.setattr(method, "_shuffle", shuffle)
        move = method._move

        def watched(level: int, fiber: torch.Tensor, rate: float) -> torch.Tensor:
            loss = move(level, fiber, rate)
            self.losses.setdefault((len(self.rates), level), []).append(float(loss))
            self.rate = rate
            return loss

        monkeypatch.setattr(method, "_move", watched)
        for epoch in range(method.epochs):
            for step in range(method.steps_per_epoch):
                method.step(epoch, step)
                if (step + 1) % method._cut.pieces == 0:
                    self.rates.append(self.rate)

    def in_order(self) -> list[float]:
        """Losses as the authors' loop takes them: batch by batch, level by level, fiber by fiber."""
        return [loss for batch in range(len(self.rates)) for level in self.levels for loss in self.losses[batch, level]]

    @cached_property
    def parts(self) -> dict[str, torch.Tensor]:
        return self.method.detector().parts(self.split("test").batch(slice(None), CPU))


@pytest.fixture(
    scope="module", params=list(product(FILES, [False, True])), ids=lambda case: f"{case[0].stem}-{case[1]}"
)
def trained(request: pytest.FixtureRequest) -> Iterator[tuple[Run, str]]:
    """A training, and what its arrays end in."""
    path, zero_gradient_step = request.param
    with pytest.MonkeyPatch.context() as monkeypatch:
        run = Run(path, zero_gradient_step)
        run.train(monkeypatch)
        yield run, "_torch1" if zero_gradient_step else ""


def test_rates_of_a_run(trained: tuple[Run, str]) -> None:
    run, _ = trained
    near(run.rates, run.arrays["run/rates"], 1e-12)


def test_losses_of_a_run(trained: tuple[Run, str]) -> None:
    run, suffix = trained
    near(run.in_order(), run.arrays[f"run/losses{suffix}"])


def test_likelihoods_after_a_run(trained: tuple[Run, str]) -> None:
    run, suffix = trained
    for number, level in enumerate(run.levels):
        expected = run.arrays[f"run/test_per_dimension{suffix}/level{number}"]
        near(run.parts[f"{level}/likelihood"].flatten(), expected)


@pytest.mark.parametrize("trained", [(path, False) for path in FILES], indirect=True)
def test_maps_and_image_scores_after_a_run(trained: tuple[Run, str]) -> None:
    run, _ = trained
    *_, scores = CflowMethod.scorings(run.setting, run.parts, run.size)
    assert scores.score == run.method.primary_score
    expected = run.arrays["run/map"]
    span = np.ptp(expected) / np.abs(expected).max()
    near(scores.pixels, expected, 1e-3 * span)
    near(scores.images, run.arrays["run/image"], 1e-3 * span)


@files
def test_maps_from_given_likelihoods(path: Path) -> None:
    meta, arrays = read_fixture(path)
    about = meta["settings"]["aggregate"]
    grids = list(enumerate(about["levels"]))
    given = {
        number: arrays[f"aggregate/per_dimension/level{number}"].reshape(about["n"], *grid) for number, grid in grids
    }
    found = {number: likely(torch.from_numpy(array), about["map_size"]) for number, array in given.items()}
    maps = anomaly_maps(found, list(found))
    near(maps, arrays["aggregate/map"])
    near(maps.flatten(1).amax(1), arrays["aggregate/image"])
