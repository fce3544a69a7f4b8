"""Trials from their data to their records: resume, train, evaluate, keep checkpoints. Knows nothing of Ray.

A trial is worked on under a claim, which the caller holds. What it stores on its way carries the claim's name; its record, which
comes last, is taken only while the claim stands. Several trials train in lock-step, and those of one kind share their steps; all
else each does for itself, and how one ends is nothing to the others.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Generator, Iterator, Sequence
from typing import NamedTuple, Protocol

import torch

from fod_bench.errors import DivergedError
from fod_bench.machine.provenance import now
from fod_bench.methods.base import Pack, Packable
from fod_bench.records.claims import Claim, LostClaimError
from fod_bench.records.names import record_name
from fod_bench.records.record import Record, Trial
from fod_bench.records.tidy import tidy_trial
from fod_bench.store import Store
from fod_bench.trials.data import TrialData
from fod_bench.trials.progress import TrialProgress


class Control(Protocol):
    """The trial's line to whoever started it."""

    def report(self, epoch: int, epochs: int, step: int, steps: int, loss: float | None) -> None:
        """Told after every step; `epoch` and `step` count what is done, `loss` is the last finished epoch's."""
        ...

    def should_stop(self) -> bool:
        """Asked after every step; True ends the trial with a checkpoint."""
        ...


class Interrupted(Exception):
    """The trial was asked to stop and has left a checkpoint."""


class Assignment(NamedTuple):
    """A trial to be done, with what it is done from."""

    trial: Trial
    data: TrialData
    claim: Claim
    control: Control


def run_trials(asked: Sequence[Assignment], device: torch.device) -> Iterator[tuple[int, Record | Exception]]:
    """Train and evaluate trials in lock-step, each going on from its newest checkpoint; records are stored.

    As each ends, its number in `asked` is given with its record, or with what ended it; its claim is gone unless said otherwise:

        Interrupted: its `control` asked to stop; there is a checkpoint.
        LostClaimError: another worker has taken over; nothing of this one's is left.
        DivergedError: a loss or score is not finite; its checkpoints are gone too.
        StoreError: the store failed; the claim stands.
        others, such as memory that ran out: the claim stands.

    A record that is there already is given as it stands: a trial can be handed out twice. Which trials share their steps follows
    from their methods' kinds; the others take turns. One that has ended leaves its pack, which goes on without it. What is no
    `Exception` ends them all on the spot.
    """
    courses = {number: _course(*each, device) for number, each in enumerate(asked)}
    waiting: dict[int, TrialProgress] = {}
    failed: dict[int, Exception] = {}
    steps = _Steps(device)
    while courses:
        for number, course in list(courses.items()):
            came = _advance(course, failed.pop(number, None))
            if isinstance(came, TrialProgress):
                waiting[number] = came
                continue
            del courses[number]
            waiting.pop(number, None)
            yield number, came
            del came  # and with it what the frames of an error hold
        failed = steps.take(waiting)


Course = Generator[TrialProgress, None, Record]
"""A trial under way: it gives its progress whenever it is to be taken one step further, and returns its record."""


def _advance(course: Course, failure: Exception | None) -> TrialProgress | Record | Exception:
    """Up to the next step, or the end; `failure` is what the step that was asked for came to."""
    try:
        return course.throw(failure) if failure else next(course)
    except StopIteration as end:
        record: Record = end.value
        return record
    except Exception as error:
        traceback.clear_frames(error.__traceback__)  # one that did not fit the memory would stay there with them
        return error


def _course(trial: Trial, data: TrialData, claim: Claim, control: Control, device: torch.device) -> Course:
    if claim.store.exists(record_name(trial.key)):
        record = stored_record(trial, claim.store)
        tidy_trial(claim.store, trial.key, record.run.claim)
        return record
    progress = TrialProgress(trial, data, claim, device)
    try:
        started = now()
        progress.resume()
        yield from _train(progress, control)
        progress.finish(started)
    except LostClaimError:
        progress.withdraw()
        raise
    return stored_record(trial, claim.store)


def _train(progress: TrialProgress, control: Control) -> Iterator[TrialProgress]:
    epochs, steps = progress.method.epochs, progress.method.steps_per_epoch
    while progress.epoch < epochs:
        while progress.step < steps:
            yield progress
            control.report(progress.epoch, epochs, progress.step, steps, progress.headline())
            if control.should_stop():
                progress.save()
                progress.claim.release()
                raise Interrupted(progress.trial.key)
            progress.save_if_due()
        try:
            progress.finish_epoch()
        except DivergedError:
            progress.claim.check()
            tidy_trial(progress.claim.store, progress.trial.key, progress.claim.name)
            raise
        control.report(progress.epoch, epochs, 0, steps, progress.headline())
        progress.save_if_due()


class _Steps:
    """Takes the steps of trials that are at work together."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._members: list[int] = []
        self._groups: list[list[int]] = []
        self._packs: dict[tuple[int, ...], Pack] = {}

    def take(self, waiting: dict[int, TrialProgress]) -> dict[int, Exception]:
        """One step of each; those that could not be taken, and why."""
        if self._members != list(waiting):
            self._members, self._groups = list(waiting), _by_kind(waiting)
            there = {tuple(group) for group in self._groups}
            self._packs = {members: pack for members, pack in self._packs.items() if members in there}
        failed: dict[int, Exception] = {}
        for group in self._groups:
            try:
                outcomes = self._step(group, [waiting[number] for number in group])
            except Exception as error:
                outcomes = [error] * len(group)
            failed |= {n: outcome for n, outcome in zip(group, outcomes, strict=True) if outcome is not None}
        return failed

    def _step(self, group: list[int], members: list[TrialProgress]) -> list[Exception | None]:
        start, together = time.perf_counter(), 1
        moves = [(progress.epoch, progress.step) for progress in members]
        taken: Sequence[torch.Tensor | Exception]
        if len(members) == 1:
            taken = [members[0].method.step(*moves[0])]
        else:
            methods = [progress.method for progress in members]
            pack = self._packs.get(tuple(group))
            if pack is None:
                first = methods[0]
                assert isinstance(first, Packable)
                pack = self._packs[tuple(group)] = type(first).pack(methods)
            taken, together = pack.step(moves), pack.together
            if self._device.type == "cuda" and any(m.step + 1 == m.method.steps_per_epoch for m in members):
                torch.cuda.synchronize(self._device)  # or the first to average its losses would be charged for all
        seconds = (time.perf_counter() - start) / len(members)
        for progress, losses in zip(members, taken, strict=True):
            if isinstance(losses, torch.Tensor):
                progress.stepped(losses, seconds, together)
        return [each if isinstance(each, Exception) else None for each in taken]


def _by_kind(waiting: dict[int, TrialProgress]) -> list[list[int]]:
    """Numbers of those that can share a step, in groups; one that cannot be packed is a group by itself."""
    groups: dict[object, list[int]] = {}
    for number, progress in waiting.items():
        method = progress.method
        kind = (type(method), method.kind) if isinstance(method, Packable) else number
        groups.setdefault(kind, []).append(number)
    return list(groups.values())


def stored_record(trial: Trial, store: Store) -> Record:
    """The record that the trial has."""
    return Record.model_validate_json(store.get(record_name(trial.key)))
