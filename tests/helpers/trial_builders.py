"""Small networks, trial data and trials for the tests below the scheduler."""

from __future__ import annotations

import os
import re
from typing import Any, Literal

import numpy as np
import torch

from fod_bench.evaluation.evaluate import Truth
from fod_bench.evaluation.maps import ScoreMaps
from fod_bench.methods.base import Context, Split
from fod_bench.methods.fod.method import FodMethod
from fod_bench.methods.fod.network import FODNetwork, NetworkShape, View
from fod_bench.methods.fod.references.base import References
from fod_bench.methods.fod.references.build import build_references
from fod_bench.methods.fod.references.maker import rows
from fod_bench.methods.fod.references.specs import reference_spec
from fod_bench.records.claims import Claim, take
from fod_bench.records.curves import Curves, EpochResult, read_curves
from fod_bench.records.names import checkpoints_prefix
from fod_bench.records.record import Record, Trial
from fod_bench.store import Store
from fod_bench.trials.data import TrialData
from fod_bench.trials.scores import TestImages
from fod_bench.trials.trial import Assignment, Control, run_trials

torch.set_num_threads(1)  # tensors are tiny, and bits are compared

CPU = torch.device("cpu")
DEVICE = torch.device(os.environ.get("FOD_BENCH_TEST_DEVICE", "cpu"))
"""What tests marked `gpu` run on: a CPU, and a GPU too by `make test-gpu`."""
EPOCHS, STEPS = 4, 3
"""Epochs of the small trial and steps of each: five images by two."""
VIEWS: tuple[View, ...] = ("patch", "intra", "inter", "full")
SIZE = 32
CHANNELS = {8: 6, 16: 8}


def network(view: View, height: int = 3, width: int = 4, layers: int = 2, seed: int = 0) -> FODNetwork:
    """A float64 network of 5 channels with kernels of clearly different widths."""
    torch.manual_seed(seed)
    made = FODNetwork(NetworkShape(height, width, channels=5, d_model=8, heads=2, layers=layers, view=view)).double()
    return made.requires_grad_()


def features(batch: int = 2, height: int = 3, width: int = 4, seed: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """Features (batch, N, 5) and a reference (1, N, 5) for `network`, in float64."""
    generator = torch.Generator().manual_seed(seed)
    shape = (height * width, 5)
    made = torch.randn(batch, *shape, generator=generator), torch.randn(1, *shape, generator=generator)
    return made[0].double(), made[1].double()


def trial_data(train: int = 5, good: int = 3, defective: int = 4, seed: int = 2, reference: Any = "mean") -> TrialData:
    """Random features of levels 8 and 16 for 32-pixel images; the first patches of defective ones differ. Read only."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.array([0, 1], np.uint8), [good, defective])
    masks = np.zeros((good + defective, SIZE, SIZE), np.uint8)
    masks[good:, :16, :16] = 1
    learnt, tested = {}, {}
    for level, channels in CHANNELS.items():
        side = SIZE // level
        usual = rng.normal(size=(side, side, channels))
        learnt[level] = (usual + 0.5 * rng.normal(size=(train, side, side, channels))).astype(np.float32)
        tested[level] = (usual + 0.5 * rng.normal(size=(good + defective, side, side, channels))).astype(np.float32)
        tested[level][good:, : side // 2, : side // 2] += rng.normal(size=channels).astype(np.float32)
    for array in (masks, labels, *learnt.values(), *tested.values()):
        array.flags.writeable = False
    references = build_references(reference_spec(reference), learnt, tested, CPU)
    return feature_data(learnt, tested, masks, labels, references)


def feature_data(
    train: dict[int, np.ndarray],
    test: dict[int, np.ndarray],
    masks: np.ndarray,
    labels: np.ndarray,
    references: References | None,
    masked: np.ndarray | None = None,
) -> TrialData:
    """Data of a trial on pooled features, from their parts."""
    found = ({}, {}) if references is None else rows(references)
    learnt, tested = (Split(pooled=part, reference_rows=found[side]) for side, part in enumerate((train, test)))
    return TrialData(learnt, tested, Truth(labels, masks, masked), Context(masks.shape[-1], references))


def score_maps(trained: FodMethod, data: TrialData | None = None) -> list[ScoreMaps]:
    """Every scoring of the test images."""
    data = data or trial_data()
    given = setting(levels=trained.levels, views=trained.view)
    parts = TestImages(data.test, trained.device).parts(trained.detector())
    return list(FodMethod.scorings(given, parts, data.context.image_size))


def setting(**changes: Any) -> dict[str, Any]:
    """A training setting as a job gives it to a trial."""
    base: dict[str, Any] = {
        "levels": [8, 16],
        "d_model": {"8": 8, "16": 16},
        "heads": 2,
        "layers": 1,
        "views": "full",
        "learning_rate": 1e-2,
        "batch_size": 2,
        "epochs": EPOCHS,
        "evaluate_every": 1,
        "optimization": "two_phase",
        "lambda1": 0.5,
        "lambda2": 0.5,
        "reference": {"kind": "mean"},
        "zero_gradient_step": False,
    }
    return base | changes


def method(data: TrialData | None = None, seed: int = 3407, **changes: Any) -> FodMethod:
    """The method on small data."""
    data = data or trial_data()
    return FodMethod(setting(**changes), data.train, data.context, seed, CPU)


def trial(checkpoint_seconds: float = 1e9, key: str = "a1", **changes: Any) -> Trial:
    """A trial of `setting(**changes)`; by default it leaves a checkpoint only when it is stopped."""
    return Trial(
        key=key,
        method="fod",
        dataset="mine",
        layout="folder",
        category="nut",
        fingerprint="f0",
        seed=3407,
        setting=setting(**changes),
        features={"key": "b2", "backbone": "resnet18", "image_size": SIZE},
        reference={"kind": "mean", "key": "c3"},
        checkpoint_seconds=checkpoint_seconds,
    )


class Watcher:
    """Control of a trial: notes every report, and stops or kills it after `after` steps."""

    def __init__(self, after: int | None = None, how: Literal["stop", "kill"] = "stop") -> None:
        self.after, self.how = after, how
        self.steps = 0
        self.reports: list[tuple[int, int, int, int, float | None]] = []

    def report(self, epoch: int, epochs: int, step: int, steps: int, loss: float | None) -> None:
        self.reports.append((epoch, epochs, step, steps, loss))
        self.steps += step > 0

    def should_stop(self) -> bool:
        if self.how == "kill" and self.steps == self.after:
            raise Killed
        return self.steps == self.after


class Killed(BaseException):
    """Ends a trial on the spot, as SIGKILL would: nothing between here and the test handles it."""


def run(
    store: Store, asked: Trial | None = None, data: TrialData | None = None, watcher: Watcher | None = None
) -> Record:
    """Run a trial, by default the small one, on the CPU, whoever was at work on it before."""
    asked = asked or trial()
    return run_trial(asked, data or trial_data(), claim(store, asked.key), watcher or Watcher())


def run_trial(asked: Trial, data: TrialData, claimed: Claim, control: Control, device: torch.device = CPU) -> Record:
    """A trial by itself: its record; what ended it otherwise is raised."""
    ((_, outcome),) = run_trials([Assignment(asked, data, claimed, control)], device)
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def claim(store: Store, key: str = "a1") -> Claim:
    """A claim that takes over at once from an earlier one of this function."""
    claimed = take(store, key, attempt="test", previous="test", states=checkpoints_prefix(key))
    assert isinstance(claimed, Claim)
    return claimed


def names(store: Store) -> list[str]:
    """Objects in the store but claims and notes; those of the small trial without their folder, and claims' names as `*`."""
    found = (
        info.name.removeprefix("trials/a1/") for info in store.list() if not info.name.startswith(("claims/", "index/"))
    )
    return [re.sub(r"\d{8}-[0-9a-f]{8}", "*", name) for name in found]


def curves(store: Store, record: Record) -> Curves:
    """The curves of a record that must have some."""
    found = read_curves(store, record)
    assert found is not None
    return found


def epochs(store: Store, record: Record) -> list[EpochResult]:
    """The same, epoch by epoch."""
    found = curves(store, record)
    return [
        EpochResult(
            epoch=epoch,
            losses={name: values[epoch - 1] for name, values in found.losses.items()},
            metrics={
                score: {metric: values[found.evaluated.index(epoch)] for metric, values in metrics.items()}
                for score, metrics in found.metrics.items()
            }
            if epoch in found.evaluated
            else None,
        )
        for epoch in range(1, record.epochs + 1)
    ]


def weights_name(store: Store, part: str) -> str:
    """Store name of weights that the small trial's record stands for."""
    record = Record.model_validate_json(store.get("trials/a1/record.json"))
    return f"trials/a1/{record.run.claim}/{part}.safetensors"
