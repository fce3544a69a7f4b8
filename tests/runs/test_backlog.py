"""The order in which work is handed out, what waits, and what is left alone while a worker has it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from fod_bench.features.request import FeatureRequest, ImageRequest, SetRequest, Wanted
from fod_bench.methods.fod.references.specs import MeanReference
from fod_bench.methods.settings import Reference
from fod_bench.plan import Plan, TrialJob
from fod_bench.plan.durations import Durations
from fod_bench.runs.backlog import Backlog
from fod_bench.runs.order import Order
from fod_bench.runs.queues import Seat
from fod_bench.runs.resources import Share, Shares
from fod_bench.runs.simulate import SimulatedClock

ONE = Share(1, 0)


@pytest.fixture
def clock() -> SimulatedClock:
    return SimulatedClock()


@pytest.fixture
def trials(plan_of: Callable[..., Plan]) -> list[TrialJob]:
    """Two trainings on each of two feature sets."""
    return list(plan_of(["weave", "board"], seeds=[1, 2]).trials.values())


@pytest.fixture
def backlog(trials: list[TrialJob], clock: SimulatedClock) -> Backlog:
    made = Backlog(clock, Order(Durations()), Shares(lambda trial: ONE))
    made.add(trials)
    return made


def key(trial: TrialJob) -> str:
    assert trial.wanted is not None
    return trial.wanted.key


def left(backlog: Backlog) -> int:
    return sum(backlog.needed().values())


def next_trial(backlog: Backlog, holds: str | None) -> TrialJob | None:
    """The training that is next for a worker that holds these sets."""
    return next(iter(backlog.next_trials(Seat(ONE, holds))), None)


def next_set(backlog: Backlog) -> tuple[SetRequest, list[Reference]] | None:
    """The one set that is next to be prepared, if there is one."""
    found = backlog.next_sets()
    assert len(found) <= 1
    return found[0] if found else None


def test_trainings_begin_when_their_features_are_there(backlog: Backlog, trials: list[TrialJob]) -> None:
    assert left(backlog) == 4 and next_trial(backlog, None) is None
    first, second = next_set(backlog), next_set(backlog)
    assert first is not None and second is not None and next_set(backlog) is None
    assert {first[0].key, second[0].key} == {key(trial) for trial in trials} and first[1] == [MeanReference()]
    backlog.prepared(second[0].key, True)
    begun = next_trial(backlog, None)
    assert begun is not None and key(begun) == second[0].key
    backlog.prepared(first[0].key, True)
    for _ in range(2):  # a worker goes on with the features it has, as long as there is work on them
        other = next_trial(backlog, first[0].key)
        assert other is not None and key(other) == first[0].key
    last = next_trial(backlog, first[0].key)
    assert last is not None and key(last) == second[0].key
    assert next_trial(backlog, None) is None and left(backlog) == 4
    for trial in trials:
        assert backlog
        backlog.close(trial)
    assert not backlog


def test_features_that_were_not_to_be_had_are_tried_again_later(backlog: Backlog, clock: SimulatedClock) -> None:
    (request, _), other = next_set(backlog) or pytest.fail(), next_set(backlog)
    assert other is not None
    backlog.prepared(request.key, False, pause=1000)
    clock.sleep(999)
    assert next_set(backlog) is None
    clock.sleep(1)
    assert next_set(backlog) == (request, [MeanReference()])
    backlog.prepared(request.key, False)
    assert next_set(backlog) == (request, [MeanReference()])


def test_what_fails_with_its_features_is_what_waits_and_not_what_is_at_work(
    backlog: Backlog, trials: list[TrialJob]
) -> None:
    request, _ = next_set(backlog) or pytest.fail()
    backlog.prepared(request.key, True)
    at_work = next_trial(backlog, None)
    assert at_work is not None
    backlog.spoilt(at_work)
    (waiting,) = backlog.waiting(request.key)
    assert at_work is not None and waiting != at_work
    backlog.put_off(at_work, 1000)
    assert len(backlog.waiting(request.key)) == 2
    for trial in backlog.waiting(request.key):
        backlog.close(trial)
    backlog.prepared(request.key, True)  # of features that nobody needs any more
    assert left(backlog) == 2 and backlog.waiting(request.key) == []


def test_what_was_put_off_comes_back_first(backlog: Backlog, clock: SimulatedClock) -> None:
    request, _ = next_set(backlog) or pytest.fail()
    backlog.prepared(request.key, True)
    one = next_trial(backlog, None)
    assert one is not None
    backlog.put_off(one, 1000, elsewhere=True)
    clock.sleep(999)
    assert backlog.due() == []
    clock.sleep(1)
    ((_, trial, elsewhere),) = backlog.due()
    assert trial == one and elsewhere and backlog.due() == []
    backlog.put_back(one)
    assert next_trial(backlog, None) == one


def ready(backlog: Backlog) -> None:
    while (found := next_set(backlog)) is not None:
        backlog.prepared(found[0].key, True)


def test_those_of_one_kind_are_handed_out_together(plan_of: Callable[..., Plan], clock: SimulatedClock) -> None:
    variants = {"FOD": {}, "heavy": {"lambda1": 3.0}, "wide": {"heads": 4}, "cost": {"measure": "cost"}}
    mixed = list(plan_of(["weave", "board"], seeds=[1, 2], variants=variants).trials.values())
    backlog = Backlog(clock, Order(Durations()), Shares(lambda trial: ONE))
    backlog.add(mixed)
    assert backlog.next_trials(Seat(ONE), 8) == []
    ready(backlog)
    packs: list[list[TrialJob]] = []
    while more := backlog.next_trials(Seat(ONE), 3 if all(pack[0].rows == ["cost"] for pack in packs) else 8):
        packs.append(more)
    rows = sorted(
        (len(pack), len({key(trial) for trial in pack}), *sorted({trial.rows[0] for trial in pack})) for pack in packs
    )
    assert rows == [
        *[(1, 1, "cost")] * 4,  # measured alone
        (3, 1, "FOD", "heavy"),  # best on the same features
        (4, 2, "wide"),
        (5, 2, "FOD", "heavy"),  # then on others
    ]


def test_what_lost_a_worker_together_goes_on_alone(backlog: Backlog) -> None:
    ready(backlog)
    pack = backlog.next_trials(Seat(ONE), 2)
    backlog.keep_alone(pack)
    for trial in pack:
        backlog.put_back(trial)
    assert [len(backlog.next_trials(Seat(ONE), 8)) for _ in range(3)] == [1, 1, 2]


def test_a_training_waits_for_all_its_sets_and_those_of_one_pass_are_made_together(
    trials: list[TrialJob], clock: SimulatedClock
) -> None:
    (weave, _), (board, _) = trials[:2], trials[2:]
    assert weave.wanted is not None
    pooled = weave.wanted.sets[0]
    assert isinstance(pooled, FeatureRequest)
    plain = replace(pooled, pooled=False)
    images = ImageRequest(pooled.category, pooled.fingerprint, pooled.image_size)
    both = replace(weave, key="both", wanted=Wanted((pooled, plain, images)))
    backlog = Backlog(clock, Order(Durations()), Shares(lambda trial: ONE))
    backlog.add([weave, both, board])
    given = [backlog.next_sets() for _ in range(3)]
    first, second, third = sorted(given, key=len, reverse=True)
    assert [request for request, _ in first] == [pooled, plain] and [wanted for _, wanted in first] == [
        [MeanReference()],
        [],
    ]
    assert {second[0][0].key, third[0][0].key} == {images.key, key(board)}
    backlog.prepared(plain.key, True)
    assert next_trial(backlog, None) is None
    backlog.prepared(pooled.key, True)
    assert next_trial(backlog, None) is weave and next_trial(backlog, None) is None
    backlog.prepared(images.key, True)
    assert next_trial(backlog, None) is both
    assert {one.key for one in backlog.waiting(images.key)} == set()
    backlog.put_back(both)
    backlog.spoilt(both)  # and with it what the other stands on
    assert next_trial(backlog, None) is None and backlog.waiting(images.key) == [both]
    backlog.close(both)
    backlog.prepared(images.key, True)  # which nobody needs any more
    assert left(backlog) == 2
