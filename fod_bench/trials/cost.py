"""What a method costs on this machine: the numbers of Table 5, as a trial that is measured instead of trained to its end.

It needs what a training needs, a category's features, and leaves a record with `costs` and no epochs. It takes a minute, so it is
not resumed but begun anew. Weights and pictures are random: neither changes what is counted or timed.
"""

from __future__ import annotations

import math
import socket
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from fod_bench.features.backbone import Backbone
from fod_bench.features.weights import Weights
from fod_bench.machine.provenance import device_name, now, versions
from fod_bench.methods.base import Method, TrialData
from fod_bench.methods.registry import method_class
from fod_bench.records.claims import Claim
from fod_bench.records.names import record_name
from fod_bench.records.record import COST_SCORE, Record, RunInfo, Trial
from fod_bench.records.tidy import tidy_trial
from fod_bench.trials.trial import Control, Interrupted, stored_record

WARM_UP = 2
"""Calls before the clock is started."""
ROUNDS = (5, 25)
"""At least and at most so many rounds are timed,"""
SECONDS = 10.0
"""and within these bounds as many as take so long."""
ROUND_SECONDS = 0.05
"""A round of training steps lasts at least so long, since waiting for a GPU after each step would slow it down."""


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
        costs = measure(
            method, counted, trial.setting["batch_size"], trial.features, device, lambda: _pause(claim, control)
        )
        record = Record(
            **trial.model_dump(exclude={"checkpoint_seconds"}),
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
                correlation=method.correlation,
                host=socket.gethostname(),
                claim=claim.name,
                versions=versions(),
            ),
        )
        claim.commit(name, record.model_dump_json().encode())
    record = stored_record(trial, claim.store)
    tidy_trial(claim.store, trial.key, record.run.claim)
    return record


def _method(trial: Trial, data: TrialData, device: torch.device, **changes: Any) -> Method:
    return method_class(trial.method)({**trial.setting, **changes}, data, trial.seed, device)


def _pause(claim: Claim, control: Control) -> None:
    """Between two calls that are timed: end here if that was asked for. Raises `Interrupted`, `LostClaimError`."""
    if claim.lost:
        claim.check()
    if control.should_stop():
        claim.release()
        raise Interrupted(claim.key)


def measure(
    method: Method,
    counted: Method,
    batch_size: int,
    features: dict[str, Any],
    device: torch.device,
    pause: Callable[[], None] = lambda: None,
) -> dict[str, float]:
    """The costs of `method` on `device`.

    Args:
        counted: the same on the CPU, see `Method.countable`.
        batch_size: pictures of a training step.
        features: what a trial says of its features: backbone, levels, picture size.
        pause: called between two calls that are timed; what it raises ends the measurement.
    """
    size = features["image_size"]
    backbone = Backbone(Weights(features["backbone"], "random:0", None, 0), features["levels"], image_size=size)
    pictures = torch.randn(batch_size, 3, size, size, generator=torch.Generator().manual_seed(0))

    layers, everything = count_flops(backbone, counted, pictures[:1])

    backbone.precision = features.get("precision", "float32")  # which the CPU need not have
    backbone, pictures = backbone.to(device), pictures.to(device)
    steps = method.steps_per_epoch
    done = iter(range(1 << 62))

    def step() -> None:
        number = next(done)
        method.step(number // steps, number % steps)

    def infer() -> Any:
        maps, scores = method.score_pictures(dict(zip(backbone.levels, backbone(pictures[:1]), strict=True)))
        return maps, scores.cpu()

    step_seconds = median_seconds(step, device, pause, ROUND_SECONDS)
    return {
        "gflops": layers / 2 / 1e9,
        "learnable_params_m": sum(p.numel() for network in method.networks for p in network.parameters()) / 1e6,
        "train_s_per_epoch": step_seconds * steps,
        "inference_fps": 1 / median_seconds(infer, device, pause),
        "gflops_all": everything / 1e9,
        "backbone_s_per_epoch": median_seconds(lambda: backbone(pictures), device, pause) * steps,
    }


def count_flops(backbone: Backbone, method: Method, picture: Tensor) -> tuple[int, int]:
    """Floating-point operations of backbone and networks for `picture` (1, 3, s, s), by torch's counter: those of the layers
    with weights, and all, the products of attention included. A multiply-add counts as two.

    Neither includes what comes after the networks, nor element-wise operations, which the counter leaves out.
    """
    # The fused kernels of plain attention have no formula on every device; the products that they stand for have. The counter
    # sees one thread.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
            method.score_pictures(dict(zip(backbone.levels, backbone(picture), strict=True)))
    finally:
        torch.set_num_threads(threads)
    counts = counter.get_flop_counts()  # {module: {operation: count}}; a module's are named by its class
    roots = {type(module).__name__ for module in (backbone, *method.networks)}
    found = [(operation, count) for root in roots for operation, count in counts[root].items()]
    batched = (torch.ops.aten.bmm, torch.ops.aten.baddbmm)
    return sum(count for operation, count in found if operation not in batched), sum(count for _, count in found)


def median_seconds(
    call: Callable[[], object], device: torch.device, pause: Callable[[], None], round_seconds: float = 0.0
) -> float:
    """Median wall time of `call` when warm, over rounds of as many calls as last `round_seconds`."""

    def timed(calls: int) -> float:
        start = time.perf_counter()
        for _ in range(calls):
            call()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds = time.perf_counter() - start
        pause()
        return seconds / calls

    once = [timed(1) for _ in range(WARM_UP)][-1]
    calls = max(1, math.ceil(round_seconds / once))
    least, most = ROUNDS
    rounds = min(most, max(least, math.ceil(SECONDS / (once * calls))))
    return statistics.median(timed(calls) for _ in range(rounds))
