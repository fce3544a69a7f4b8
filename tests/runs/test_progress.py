"""What a person, and `fod-bench status`, see of workers."""

from __future__ import annotations

from collections.abc import Callable

from fod_bench.plan import Plan
from fod_bench.runs.messages import Status
from fod_bench.runs.progress import Progress, stderr_console


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
