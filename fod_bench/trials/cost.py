"""What a method costs on this machine: the numbers of Table 5, as a trial that is measured instead of trained to its end.

It needs what a training needs, a category's features, and leaves a record with `costs` and no epochs. It takes a minute, so it is
not resumed but begun anew. Images are random: they change nothing of what is counted or timed.
"""

from __future__ import annotations

import math
import socket
import statistics
import time
from collections.abc import Callable
from itertools import count
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from fod_bench.features.backbone import Backbone
from fod_bench.features.weights import Weights
from fod_bench.machine.provenance import device_name, now, versions
from fod_bench.methods.base import Batch, Split
from fod_bench.methods.registry import method_class
from fod_bench.records.claims import Claim
from fod_bench.records.index.changes import note_change
from fod_bench.records.names import record_name
from fod_bench.records.record import COST_SCORE, Record, RunInfo, Training, Trial
from fod_bench.records.tidy import tidy_trial
from fod_bench.trials.data import TrialData
from fod_bench.trials.scores import scorings
from fod_bench.trials.timing import ROUND_SECONDS, seconds_each
from fod_bench.trials.trial import Control, Interrupted, stored_record

WARM_UP = 2
"""Calls before the clock is started."""
ROUNDS = (5, 25)
"""At least and at most so many rounds are timed,"""
SECONDS = 10.0
"""and within these bounds as many as take so long."""
_CONVOLUTIONS = (torch.ops.aten.convolution, torch.ops.aten.convolution_backward)
_NO_LAYER = (torch.ops.aten.bmm, torch.ops.aten.baddbmm, torch.ops.aten.convolution_backward)
"""Operations that are no layer's pass: products of attention or of distances, and gradients."""


def measure_trial(trial: Trial, data: TrialData, claim: Claim, control: Control, device: torch.device) -> Record:
    """Measure what `trial` costs; the record is stored and returned, a record that is there already as it stands.

    Raises:
        Interrupted: `control` asked to stop; the claim has been let go.
        LostClaimError: another worker has taken over.
        StoreError: the store failed; the claim stands.
    """
    name = record_name(trial.key)
    if not claim.store.exists(name):
        started, clock = now(), time.perf_counter()
        method = _method(trial, data, device)
        counted = _method(trial, data, torch.device("cpu"), precision="float32").countable()
        costs = measure(method, counted, trial, data, device, lambda: _pause(claim, control))
        record = Record(
            **trial.training(),
            counts=data.counts(),
            primary_score=COST_SCORE,
            costs=costs,
            run=RunInfo(
                started=started,
                finished=now(),
                train_seconds=time.perf_counter() - clock,
                evaluate_seconds=0.0,
                seconds_per_step=costs["train_s_per_epoch"] / method.steps_per_epoch,
                device=device_name(device),
                threads=torch.get_num_threads(),
                correlation=getattr(method, "correlation", ""),
                host=socket.gethostname(),
                claim=claim.name,
                versions=versions(),
            ),
        )
        note_change(claim.store, trial.key)
        claim.commit(name, record.model_dump_json().encode())
    record = stored_record(trial, claim.store)
    tidy_trial(claim.store, trial.key, record.run.claim)
    return record


def _method(trial: Trial, data: TrialData, device: torch.device, **changes: Any) -> Any:
    """A `Method` that is `Costed`, too."""
    setting = {**trial.setting, **{key: value for key, value in changes.items() if key in trial.setting}}
    return method_class(trial.method)(setting, data.train, data.context, trial.seed, device)


def _pause(claim: Claim, control: Control) -> None:
    """Between two calls that are timed: end here if that was asked for. Raises `Interrupted`, `LostClaimError`."""
    if claim.lost:
        claim.check()
    if control.should_stop():
        claim.release()
        raise Interrupted(claim.key)


def measure(
    method: Any,
    counted: Any,
    trial: Trial,
    data: TrialData,
    device: torch.device,
    pause: Callable[[], None] = lambda: None,
) -> dict[str, float]:
    """The costs of `method`, which is `Costed`, on `device`.

    Args:
        counted: the same on the CPU, see `Costed.countable`.
        pause: called between two calls that are timed; what it raises ends the measurement.
    """
    epoch_seconds = _epoch_seconds(method, device, pause)
    if not counted.networks and counted is not method:
        _fit(counted, pause)
    inference = Inference(trial, data.test, device, method.batch_size)
    of_one = Inference(trial, data.test, torch.device("cpu"), 1)
    of_one.parts(counted)  # what is made once for all images, such as embeddings of those trained on, is not counted
    layers, everything = count_flops(of_one, counted)
    costs = {
        "gflops": layers / 2 / 1e9,
        "learnable_params_m": sum(p.numel() for network in method.networks for p in network.parameters()) / 1e6,
        "train_s_per_epoch": epoch_seconds,
        "inference_fps": 1 / median_seconds(lambda: inference.score(method), device, pause),
        "gflops_all": everything / 1e9,
    }
    if inference.backbone is not None:
        steps = -(-len(data.train) // method.batch_size)
        costs["backbone_s_per_epoch"] = median_seconds(inference.backbone_pass, device, pause) * steps
    return costs


def _epoch_seconds(method: Any, device: torch.device, pause: Callable[[], None]) -> float:
    """Time of an epoch: of a step, when warm, times the steps; where no network is trained, and steps differ, that of the whole
    fitting."""
    if not method.networks:
        start = time.perf_counter()
        _fit(method, pause)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - start
    steps, done = method.steps_per_epoch, count()

    def step() -> None:
        epoch, number = divmod(next(done), steps)
        method.step(epoch % method.epochs, number)

    return median_seconds(step, device, pause, ROUND_SECONDS) * float(steps)


def _fit(method: Any, pause: Callable[[], None]) -> None:
    for epoch in range(method.epochs):
        for step in range(method.steps_per_epoch):
            method.step(epoch, step)
            pause()


class Inference:
    """From random images to maps and scores, by a method's own scoring."""

    def __init__(self, trial: Training, test: Split, device: torch.device, batch_size: int) -> None:
        """`test`: tells which forms of images the method works on. `batch_size`: images of `backbone_pass`."""
        features, self._trial = trial.features, trial
        size = features["image_size"]
        generator = torch.Generator().manual_seed(0)
        self._images = torch.randn(batch_size, 3, size, size, generator=generator).to(device)
        pixels = torch.randint(0, 256, (1, size, size, 3), generator=generator, dtype=torch.uint8)
        self._pixels = pixels.to(device) if test.images is not None else None
        self.backbone: Backbone | None = None
        self._forms = [form for form in ("pooled", "unpooled") if getattr(test, form)]
        if self._forms:
            weights = Weights(features["backbone"], "random:0", None, 0)
            self.backbone = Backbone(weights, features["levels"], image_size=size).to(device)
            if device.type != "cpu" or features.get("precision") != "tf32":  # which a CPU does not have
                self.backbone.precision = features.get("precision", "float32")

    def score(self, method: Any) -> Any:
        """One image's map and score; the score is on the CPU in the end."""
        scored = next(scorings(self._trial, self.parts(method), method.primary_score))
        return scored.pixels, scored.images.cpu()

    def parts(self, method: Any) -> Any:
        """One image's raw scores, the backbone's pass included."""
        forms: dict[str, Any] = {}
        if self.backbone is not None:
            maps = self.backbone.maps_of(self._images[:1])
            for form in self._forms:
                found = self.backbone.features(maps, pooled=form == "pooled")
                forms[form] = dict(zip(self.backbone.levels, found, strict=True))
        return method.detector().parts(Batch(**forms, images=self._pixels))

    def backbone_pass(self) -> None:
        """The backbone's pass over the images of a step."""
        assert self.backbone is not None
        self.backbone.maps_of(self._images)


def count_flops(inference: Inference, method: Any) -> tuple[int, int]:
    """Floating-point operations from an image to its raw scores, by torch's counter: those of the layers with weights, and all that
    the networks do, the products of attention and the passes of a gradient included; where there is no network, the products of
    distances. A multiply-add counts as two.

    Neither includes element-wise operations, which the counter leaves out.
    """
    # The fused kernels of plain attention have no formula on every device; the products that they stand for have. The counter
    # sees one thread.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    if inference.backbone is not None:
        inference.backbone.precision = "float32"
    try:
        with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
            inference.parts(method)
    finally:
        torch.set_num_threads(threads)
    counts = (
        counter.get_flop_counts()
    )  # {module: {operation: count}}; what was called within another has its name before a dot
    within: dict[Any, int] = {}
    for name, found in counts.items():
        if name != "Global" and "." not in name:
            within = {operation: within.get(operation, 0) + found.get(operation, 0) for operation in {*within, *found}}
    overall = counts.get("Global", {})
    if method.networks:  # a convolution is a network's, be it called as a module or not, and forwards or backwards
        within |= {operation: overall[operation] for operation in _CONVOLUTIONS if operation in overall}
    layers = sum(count for operation, count in within.items() if operation not in _NO_LAYER)
    return layers, sum((within if method.networks else overall).values())


def median_seconds(
    call: Callable[[], object], device: torch.device, pause: Callable[[], None], round_seconds: float = 0.0
) -> float:
    """Median wall time of `call` when warm, over rounds of as many calls as last `round_seconds`."""

    def timed(calls: int) -> float:
        seconds = seconds_each(call, calls, device)
        pause()
        return seconds

    once = [timed(1) for _ in range(WARM_UP)][-1]
    calls = max(1, math.ceil(round_seconds / once))
    least, most = ROUNDS
    rounds = min(most, max(least, math.ceil(SECONDS / (once * calls))))
    return statistics.median(timed(calls) for _ in range(rounds))
