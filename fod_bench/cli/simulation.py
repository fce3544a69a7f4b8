"""`fod-bench plan --simulate`: what is asked for, checked before anything is planned, and what is shown of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from fod_bench.errors import UsageError
from fod_bench.machine.files import write_whole
from fod_bench.machine.terminal import say, show
from fod_bench.plan import Plan
from fod_bench.plan.durations import recorded_durations
from fod_bench.records.index.trials import Trials
from fod_bench.records.names import FEATURES, IMAGES, is_first, key_of, record_name
from fod_bench.runs.budget import Budget, parse_budget
from fod_bench.runs.choice import is_open
from fod_bench.runs.prices import PriceList, read_prices
from fod_bench.runs.simulate.cluster_form import Group, parse_cluster
from fod_bench.runs.simulate.simulate import Simulated, simulate, supposed
from fod_bench.runs.simulate.timeline import timeline_svg
from fod_bench.schema.hidden import hidden
from fod_bench.store import Store
from fod_bench.text import counted, format_seconds


@dataclass(frozen=True)
class SimulationRequest:
    """A simulation as the command line asks for it."""

    form: str
    groups: list[Group]
    prices: PriceList
    timeline: Path | None
    budget: Budget | None

    def run(self, plan: Plan, store: Store) -> Simulated:
        """Simulate what the store does not have, and draw it. Raises `FodBenchError`, `StoreError`."""
        sets = (info.name for prefix in (FEATURES, IMAGES) for info in store.list(prefix))
        stored = frozenset(key_of(name) for name in sets if is_first(name))
        recorded = Trials(store)
        there = recorded.names(plan.trials.keys())
        left = [trial for trial in plan.trials.values() if record_name(trial.key) not in there]
        durations = recorded_durations(left, recorded, plan.trials.keys())
        found = simulate(plan, left, stored, durations, self.groups, budget=self.budget)
        if self.timeline is not None:
            drawing = timeline_svg(found, f"{plan.job.name} on {self.form}: {_summary(found)}")
            write_whole(self.timeline, [drawing], "the timeline")
        return found

    def as_json(self, plan: Plan, store: Store) -> dict[str, Any]:
        """What it comes to as plain data."""
        found = self.run(plan, store)
        nodes = Counter[str]()
        for group in found.groups:  # several may be of one machine
            nodes[group.machine] += group.nodes
        return {
            "cluster": self.form,
            "nodes": dict(nodes),
            "trainings": found.trainings,
            "trainings_uncounted": found.uncounted,
            "trainings_measured": found.measured,
            "left_out": found.left_out,
            "seconds": round(found.seconds, 1),
            "bound_seconds": round(found.bound, 1),
            "use": round(found.use, 4),
            "use_of_needed": round(found.use_of_needed, 4),
            "dollars": round(found.dollars, 2),
            "dollars_given_back": round(found.dollars_given_back, 2),
        }

    def print(self, plan: Plan, store: Store) -> None:
        """Show what it comes to."""
        found = self.run(plan, store)
        table = Table(
            title=f"Simulated on {self.form}", title_justify="left", title_style="bold", show_header=False, box=None
        )
        table.add_column(style="dim")
        table.add_column()
        nodes = ", ".join(f"{group.nodes} {group.machine} ({_has(group)})" for group in found.groups)
        table.add_row("nodes", Text(hidden(nodes)))
        uncounted = f"; {counted(found.uncounted, 'training')} left out, whose images are not counted" * (
            found.uncounted > 0
        )
        table.add_row("trainings", f"{found.trainings}, {found.measured} of a time that records tell{uncounted}")
        table.add_row(
            "time", f"{format_seconds(found.seconds)}; no order takes less than {format_seconds(found.bound)}"
        )
        units = "GPUs" if found.gpus else "CPUs"
        of_needed = f"{found.use_of_needed:.1%} of those that trainings were left for"
        table.add_row("use", f"{found.use:.1%} of the {units} until the last tenth of the time; {of_needed}")
        idle = f"${found.dollars_given_back:,.2f} where idle ones are given back"
        table.add_row("cost", f"${found.dollars:,.2f} for all nodes to the end; {idle}")
        table.add_row("", Text(hidden(f"prices of {self._priced()}")))
        if is_open(plan.job.resources, plan.job.pack):
            resources, pack = supposed(plan.job)
            text = f"{resources.cpus:g} CPU a trial and packs of {pack}; a run measures what is best"
            table.add_row("supposed", text)
        show(table)
        for line in found.left_out:
            say(hidden(f"left out  {line}"))
        if self.timeline is not None:
            say(hidden(str(self.timeline)), err=True)

    def _priced(self) -> str:
        """Where the prices are from."""
        used = [self.prices.machines[group.machine] for group in self.groups]
        return "; ".join(dict.fromkeys(f"{machine.source}, read on {machine.date}" for machine in used))


def simulation_request(
    form: str | None, timeline: Path | None, budget: str | None, prices: Path | None, force: bool
) -> SimulationRequest | None:
    """What the options of `plan` ask for; None without a simulation. Raises `UsageError`, `FodBenchError`."""
    if force and timeline is None:
        raise UsageError("--force replaces the file of a timeline; give --timeline FILE too")
    if form is None:
        for name, given in (("--timeline", timeline), ("--budget", budget), ("--prices", prices)):
            if given is not None:
                raise UsageError(f"{name} is for a simulation; give --simulate too, such as --simulate 64x8")
        return None
    if timeline is not None and not timeline.absolute().parent.is_dir():
        raise UsageError(f"--timeline {timeline}: there is no folder {timeline.parent}")
    if timeline is not None and (timeline.exists() or timeline.is_symlink()) and not force:
        raise UsageError(f"--timeline {timeline}: is there already; --force replaces it")
    listed = read_prices(prices)
    return SimulationRequest(
        form, parse_cluster(form, listed), listed, timeline, parse_budget(budget) if budget else None
    )


def _has(group: Group) -> str:
    gpus = f"{group.node.gpus:g} {group.node.gpu}, " if group.node.gpus else ""
    return f"{gpus}{group.node.cpus:g} CPUs"


def _summary(found: Simulated) -> str:
    what = "GPUs" if found.gpus else "CPUs"
    return f"{counted(found.trainings, 'training')}, {format_seconds(found.seconds)}, {what} at work {found.use:.0%}"
