"""Which training goes first, and what corrects it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from fod_bench.job import load_job
from fod_bench.plan import Plan, TrialJob, make_plan
from fod_bench.plan.durations import Durations
from fod_bench.runs.backlog import Backlog
from fod_bench.runs.order import Order, ranks_of
from fod_bench.runs.queues import Seat
from fod_bench.runs.resources import Share, Shares
from fod_bench.runs.simulate import SimulatedClock
from tests.helpers.commands import DRAWN, TINY

ONE = Share(1, 0)


def handed_out(trials: list[TrialJob], order: Order, holds: str | None = None) -> list[TrialJob]:
    """All trainings in the order in which one worker gets them, their sets being there."""
    backlog = Backlog(SimulatedClock(), order, Shares(lambda trial: ONE))
    backlog.add(trials)
    while sets := backlog.next_sets():
        for request, _ in sets:
            backlog.prepared(request.key, True)
    given: list[TrialJob] = []
    while found := backlog.next_trials(Seat(ONE, holds)):
        given += found
    return given


def test_the_longest_is_first(plan_of: Callable[..., Plan]) -> None:
    trials = list(plan_of(grid={"epochs": [10, 400, 100, 20]}).trials.values())
    assert [trial.settings.epochs for trial in handed_out(trials, Order(Durations()))] == [400, 100, 20, 10]


def test_a_worker_goes_on_with_its_features_among_those_that_take_about_the_same(
    plan_of: Callable[..., Plan],
) -> None:
    trials = list(plan_of(["weave", "tray"], seeds=[1, 2], grid={"epochs": [50, 100]}).trials.values())
    holds = next(trial.wanted.key for trial in trials if trial.category == "tray" and trial.wanted is not None)
    given = handed_out(trials, Order(Durations()), holds)
    assert [trial.settings.epochs for trial in given] == [100] * 4 + [50] * 4, "a longer one is not put off for them"
    assert [trial.category for trial in given[:2]] == ["tray", "tray"]


def test_what_has_ended_tells_how_long_the_others_take(plan_of: Callable[..., Plan]) -> None:
    trials = list(plan_of(variants={"short": {"epochs": 40}, "patches": {"method": "padim"}}).trials.values())
    order = Order(Durations())
    before = handed_out(trials, order)
    assert before[0].rows == ["short"] and not order.moved()
    quick = next(trial for trial in trials if trial.rows == ["patches"])
    for _ in range(100):
        order.took(quick, ONE, 3600.0)
    assert order.moved() and not order.moved()
    assert handed_out(trials, order)[0].rows == ["patches"]


def test_trainings_that_share_a_gpu_are_expected_to_take_turns(plan_of: Callable[..., Plan]) -> None:
    (trial,) = plan_of().trials.values()
    order = Order(Durations())
    assert order.seconds(trial, Share(1, 0.25)) == pytest.approx(4 * order.seconds(trial, Share(1, 1)))


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Plan]:
    """A job of two parts, `first` and `second`, which have one training in common."""
    monkeypatch.chdir(tmp_path)

    def made(**keys: object) -> Plan:
        for name, grid in (("first", [1, 2]), ("second", [2, 3])):
            content = {
                "name": name,
                "datasets": {"drawn": DRAWN},
                "settings": TINY,
                "grid": {"epochs": grid},
                "seeds": [1],
            }
            (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(content))
        outer = {"name": "both", "include": ["first.yaml", "second.yaml"], **keys}
        (tmp_path / "both.yaml").write_text(yaml.safe_dump(outer))
        return make_plan(load_job(tmp_path / "both.yaml"), download=False)

    return made


def test_a_part_with_a_higher_priority_goes_first_and_what_it_shares_with_others_too(
    parts: Callable[..., Plan],
) -> None:
    def epochs(plan: Plan) -> list[int]:
        ranks = ranks_of(plan.job, plan.trials.values(), by_value=False)
        return [trial.settings.epochs for trial in handed_out(list(plan.trials.values()), Order(Durations(), ranks))]

    assert epochs(parts()) == [3, 2, 1]
    assert epochs(parts(priorities={"first": 1})) == [2, 1, 3]
    assert epochs(parts(priorities={"second": -5})) == [2, 1, 3]


def test_by_value_a_row_is_filled_before_the_next_and_one_seed_before_another(plan_of: Callable[..., Plan]) -> None:
    plan = plan_of(["weave", "board"], seeds=[5, 6], variants={"A": {"epochs": 1}, "B": {"epochs": 9}})
    ranks = ranks_of(plan.job, plan.trials.values(), by_value=True)
    given = handed_out(list(plan.trials.values()), Order(Durations(), ranks))
    assert [(trial.seed, trial.rows[0]) for trial in given] == [
        *[(5, "A")] * 2,
        *[(5, "B")] * 2,
        *[(6, "A")] * 2,
        *[(6, "B")] * 2,
    ]
