"""What a person, and `fod-bench status`, see of workers."""

from __future__ import annotations

import io
from collections.abc import Callable

from rich.console import Console

from fod_bench.plan import Plan
from fod_bench.runs.messages import Status
from fod_bench.runs.progress import Progress, stderr_console
from tests.helpers.report_builders import record
from tests.helpers.store_builders import cell


def test_a_person_sees_each_of_those_that_share_steps(plan_of: Callable[..., Plan]) -> None:
    plan = plan_of(seeds=[1, 2, 3, 4])
    trials = list(plan.trials.values())
    progress = Progress(trials, stderr_console(), quiet=True)

    def shown() -> dict[str, int]:
        return {task.key: task.step for task in progress.state(plan.run, "d", "2024-05-01T10:00:00+00:00").tasks}

    progress.status(
        0, trials[:3], [Status("trial", trial.key, epochs=2, step=at) for at, trial in enumerate(trials[:2])]
    )
    progress.status(1, trials[3:], [Status("trial", trials[3].key, epochs=2, step=7)])
    assert shown() == {trials[0].key: 0, trials[1].key: 1, trials[2].key: 0, trials[3].key: 7}
    progress.status(0, [])
    assert shown() == {trials[3].key: 7}


def test_a_training_that_is_done_is_told_with_its_number_and_its_time(plan_of: Callable[..., Plan]) -> None:
    trials = list(plan_of(seeds=[1, 2, 3]).trials.values())
    records = {
        trials[0].key: record(trials[0].key, cell(trials[0].key), [(0.5, 0.5), (0.98765, 0.5)]),
        trials[1].key: record(trials[1].key, cell(trials[1].key), [(None, 0.5)]),
    }
    said = io.StringIO()
    progress = Progress(trials, Console(file=said, width=40), record_of=records.get)
    progress.done(trials[0])
    progress.elsewhere(trials[1])
    progress.done(trials[2])
    assert said.getvalue().splitlines() == [
        f"done      {trials[0].name}: image AUROC 0.988, 5 min   [1/3]",
        f"done      {trials[1].name} by another run: 5 min   [2/3]",
        f"done      {trials[2].name}   [3/3]",
    ]


def test_what_is_measured_is_told_by_its_costs(plan_of: Callable[..., Plan]) -> None:
    (trial,) = plan_of(variants={"Cost": {"measure": "cost"}}).trials.values()
    costs = {"gflops": 1.25, "learnable_params_m": 2.0, "train_s_per_epoch": 3.0, "inference_fps": 4.0}
    made = record(trial.key, cell(trial.key), [], costs=costs, primary_score="cost")
    said = io.StringIO()
    Progress([trial], Console(file=said, width=200), record_of={trial.key: made}.get).done(trial)
    assert "FLOPs 1.2, parameters 2.0, training time 3.0, inference speed 4.0, 5 min" in said.getvalue()
