"""The jobs of a store's runs: which run is of a given job, and what tells runs of one job apart."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fod_bench.errors import DamagedObjectError, FodBenchError, JobError
from fod_bench.job import Job, content_digest, dump_job, parse_job, parse_job_data, run_id
from fod_bench.job.differences import differences, in_words, job_values
from fod_bench.records.names import job_name
from fod_bench.records.run import RunPlan
from fod_bench.store import ObjectMissingError, Store


class RunJobs:
    """Reads the jobs that runs left in one store, each once: a run's name follows from its job."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._jobs: dict[str, Job | None] = {}
        self._data: dict[str, Any] = {}

    def job(self, name: str) -> Job | None:
        """The job of the run `name`; None where it is not there, or cannot be read by this version."""
        if name not in self._jobs:
            text = self._text(name)
            self._jobs[name] = None if text is None else _parsed(text, name)
        return self._jobs[name]

    def of_job(self, job: Job, plans: Iterable[RunPlan]) -> list[RunPlan]:
        """Those of `plans` that are of exactly this job: its own run, or else runs that have their data in other folders."""
        named = [plan for plan in plans if plan.job == job.name]
        own = [plan for plan in named if plan.run_id == run_id(job)]
        if own or not named:
            return own
        stored = ((plan, self.job(plan.run_id)) for plan in named)
        return [plan for plan, other in stored if other is not None and content_digest(other) == content_digest(job)]

    def differences(self, plans: Iterable[RunPlan]) -> dict[str, dict[str, str]]:
        """`{run id: {key: value}}`: in what each run differs from others of a job of its name, the oldest from all of them."""
        named: dict[str, list[RunPlan]] = {}
        for plan in sorted(plans, key=lambda plan: (plan.created, plan.run_id)):
            named.setdefault(plan.job, []).append(plan)
        found: dict[str, dict[str, str]] = {}
        for runs in named.values():
            values = {run.run_id: job_values(self._plain(run.run_id)) for run in runs} if len(runs) > 1 else {}
            readable = {name: own for name, own in values.items() if own}
            found |= {run.run_id: {} for run in runs}
            found |= dict(zip(readable, differences(list(readable.values())), strict=True))
        return found

    def not_run(self, job: Job, command: str, plans: Iterable[RunPlan]) -> str:
        """The line for a store without a run of exactly this job, which `command` runs; what `plans` there are instead."""
        plans = list(plans)
        others = [plan.run_id for plan in plans if plan.job == job.name]
        own = parse_job_data(dump_job(job), job.name)  # with variables by name, as stored jobs have them
        values = [job_values(own), *(job_values(self._plain(name)) for name in others)]
        told = (
            f"{name} ({in_words(own) or 'other values of variables'})"
            for name, own in zip(others, differences(values)[1:], strict=True)
        )
        there = ", ".join(told) or ", ".join(dict.fromkeys(plan.job for plan in plans)) or "none"
        return (
            f"no run of job {job.name!r} as it is given here ({run_id(job)}) in store {self._store.uri}: `{command}` makes "
            f"one; {'it has run there otherwise' if others else 'there are'}: {there}"
        )

    def _plain(self, name: str) -> Any:
        """The job of a run as plain data, None where it cannot be read. Not checked, which for some backbones takes torch."""
        if name not in self._data:
            text = self._text(name)
            try:
                self._data[name] = None if text is None else parse_job_data(text, job_name(name))
            except JobError:
                self._data[name] = None
        return self._data[name]

    def _text(self, name: str) -> str | None:
        try:
            return self._store.get(job_name(name)).decode()
        except (ObjectMissingError, DamagedObjectError, UnicodeDecodeError):
            return None


def _parsed(text: str, name: str) -> Job | None:
    """The job of the run `name`, with the environment's variables in it where they still have the values that it ran with.

    Elsewhere variables stay as they are written, so that the content can be told at least where only folders are named by them.
    """
    try:
        filled = parse_job(text, job_name(name), fill=True)
        if not filled.written or run_id(filled) == name:
            return filled
    except FodBenchError:
        pass
    try:
        return parse_job(text, job_name(name))
    except FodBenchError:
        return None
