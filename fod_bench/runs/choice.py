"""How a machine is shared out among trials, chosen by what was measured. Knows neither a clock nor a cluster.

A candidate is what a worker gets and how many trials it trains together. Cores, memory and a GPU's memory bound which there are; of
those that are measured the one is chosen under which all that is left is expected to end soonest.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from heapq import heapreplace
from typing import NamedTuple

from fod_bench.job import Resources
from fod_bench.plan import TrialJob
from fod_bench.runs.messages import Speed
from fod_bench.runs.resources import FILLED, LIBRARY_BYTES, MOST_PER_GPU, NodeResources, Share

MOST_PACK = 16
"""Trials that are tried together at most."""
MOST_KINDS = 3
"""Kinds of trainings that are measured at most, those first that most of the time goes to,"""
LEAST_PART = 0.1
"""if each takes such a part of what these take."""
BETTER = 0.97
"""A candidate has to be expected to take at most such a part of another's time to be preferred to it: measurements scatter."""
WORKER_BYTES = 0.75 * 2**30
"""What Python, PyTorch and Ray take of a machine's memory in every worker."""


class Candidate(NamedTuple):
    """A candidate to share a machine out."""

    share: Share
    """What a worker gets."""
    pack: int
    """Most trials that it trains together."""


class Kind(NamedTuple):
    """Trainings that are alike: they share their steps where the method can, or have the very same settings."""

    trial: TrialJob
    """One of them."""
    trainings: int
    steps: int
    """Of all of them."""
    tested: int
    """Test images of all of them."""

    def together(self, most: int) -> int:
        """How many of them a worker trains together, of `most`."""
        return min(most, self.trainings) if self.trial.kind is not None else 1


class Machine(NamedTuple):
    """Nodes of one kind."""

    node: NodeResources
    """With the memory of the smallest of them."""
    names: tuple[str, ...]


class Expected(NamedTuple):
    """How long all trainings of the kinds that were measured take."""

    even: float
    """Seconds, if no worker ever stood idle."""
    whole: float
    """Seconds until the last has ended, when some do."""


NEVER = Expected(math.inf, math.inf)


def is_open(resources: Resources, pack: int | str) -> bool:
    """Whether there is something to choose by measuring; which part of a GPU by itself is reckoned, see `shares_of`."""
    return "auto" in (resources.cpus, pack)


def kinds_of(trials: Collection[TrialJob], seconds_of: Callable[[TrialJob], float]) -> list[Kind]:
    """The kinds that are measured: those that most of the time goes to; none where nothing can be."""
    alike: dict[tuple[str, str], list[TrialJob]] = {}
    for trial in trials:
        if trial.counts is not None and not trial.measures_cost:
            spelled = trial.kind or json.dumps(trial.settings.training(), sort_keys=True)
            alike.setdefault((trial.settings.method, spelled), []).append(trial)
    seconds = {kind: sum(map(seconds_of, members)) for kind, members in alike.items()}
    longest = sorted(alike, key=lambda kind: -seconds[kind])[:MOST_KINDS]
    least = LEAST_PART * sum(seconds[kind] for kind in longest)
    return [_kind(alike[kind]) for kind in longest if seconds[kind] >= least]


def _kind(trials: list[TrialJob]) -> Kind:
    counts = [trial.counts for trial in trials if trial.counts is not None]
    tested = sum(each.test_good + each.test_defect for each in counts)
    return Kind(trials[0], len(trials), sum(trial.steps() or 0 for trial in trials), tested)


def largest_need(trials: Collection[TrialJob], machines: Sequence[Machine], on_gpu: bool) -> float:
    """Bytes that the largest of these trainings takes which some machine, or its GPU, holds; 0 where nothing is known of any."""
    there = [machine.node.gpu_memory if on_gpu else machine.node.memory for machine in machines]
    largest = max(there, default=0.0)
    rows = {
        (id(trial.settings), trial.counts): trial for trial in trials if trial.counts is not None
    }  # they share them
    needs = [trial.settings.work(trial.counts).memory for trial in rows.values() if trial.counts is not None]
    return max((need for need in needs if not largest or need <= largest), default=0.0)


def machines_of(nodes: Mapping[str, NodeResources]) -> list[Machine]:
    """The kinds of nodes that can train."""
    found: dict[tuple[float, float, str], Machine] = {}
    for name, node in nodes.items():
        if node.cpus > 0:
            kind = (node.cpus, node.gpus, node.gpu)
            known = found.get(kind, Machine(node, ()))
            smaller = min(known.node, node, key=lambda one: one.memory or math.inf)
            found[kind] = Machine(smaller, (*known.names, name))
    return list(found.values())


def shares(resources: Resources, machines: Sequence[Machine], on_gpu: bool) -> list[Share]:
    """What a worker may get, in the order in which it is tried: as few cores as can be first, or a whole GPU. What is given as a
    number stays."""
    if on_gpu:
        cpus = 1.0 if resources.cpus == "auto" else float(resources.cpus)
        shared = [1 / workers for workers in _doubling(MOST_PER_GPU)]
        parts = shared if resources.gpus == "auto" else [float(resources.gpus)]
        found = [Share(cpus, part) for part in parts]
    else:
        most = max((int(machine.node.cpus) for machine in machines), default=0)
        cores = [*map(float, _doubling(max(1, most)))] if resources.cpus == "auto" else [float(resources.cpus)]
        found = [Share(number, 0.0) for number in cores]
    return [share for share in found if any(share.fit([machine.node]) for machine in machines)]


def packs(share: Share, given: int | str, machines: Sequence[Machine], need: float, kinds: Sequence[Kind]) -> list[int]:
    """How many trials a worker with this share may train together, in ascending order; none where memory holds not one.

    Args:
        given: the job's `pack`.
        need: bytes that a training takes.
    """
    holding = [machine for machine in machines if share.fit([machine.node])]
    room = min((_in_memory(share, machine.node, need) for machine in holding), default=0)
    if given != "auto":
        return [int(given)] if int(given) <= room else []
    workers = sum(share.fit([machine.node]) * len(machine.names) for machine in holding)
    trainings = sum(kind.trainings for kind in kinds)
    fair = -(-trainings // max(1, workers))  # with more, workers would stand idle
    most = min(MOST_PACK, room, fair, max((kind.together(MOST_PACK) for kind in kinds), default=1))
    return _doubling(most) if most >= 1 else []


def _doubling(most: int) -> list[int]:
    """1, 2, 4, … and `most`."""
    return [*(2**power for power in range((most - 1).bit_length())), most]


def _in_memory(share: Share, node: NodeResources, need: float) -> int:
    """Trainings that a worker has the memory for, when all workers of the node are at work; many where it is not known."""
    if share.gpus:
        if not node.gpu_memory:
            return MOST_PACK if share.gpus >= 1 else 0
        room = FILLED * node.gpu_memory * min(1.0, share.gpus) - LIBRARY_BYTES
    elif node.memory:
        room = node.memory / share.fit([node]) - WORKER_BYTES
    else:
        return MOST_PACK
    return max(0, int(room / need)) if need else MOST_PACK


def crew(share: Share, node: NodeResources, most: int | None) -> int:
    """Workers that are measured at the same time: as many as the node holds, or one of its GPUs."""
    holds = share.fit([node])
    if share.gpus:
        holds = min(holds, max(1, int(1 / share.gpus + 1e-9)))
    return holds if most is None else min(holds, most)


def workers_of(share: Share, machines: Sequence[Machine], most: int | None) -> int:
    """Workers at once, `most` at most."""
    holds = sum(share.fit([machine.node]) * len(machine.names) for machine in machines)
    return holds if most is None else min(holds, most)


def expected(
    candidate: Candidate,
    kinds: Sequence[Kind],
    speeds: Mapping[tuple[int, int], Speed | None],
    machines: Sequence[Machine],
    most: int | None,
) -> Expected:
    """How long the trainings take when the machines are shared out so.

    A worker of machine j takes `s_kj` seconds for all trainings of kind k, steps shared by as many as the pack holds; all workers
    together 1 / Σ_j w_j / s_kj. At the end some stand idle.

    Args:
        speeds: what was measured, by the places of kind and machine; None where the kind does not do there.
        most: workers at once at most; None: as many as the machines hold.
    """
    holds = [candidate.share.fit([machine.node]) * len(machine.names) for machine in machines]
    workers = workers_of(candidate.share, machines, most)
    if not workers:
        return NEVER
    even = 0.0
    for place, kind in enumerate(kinds):
        together = kind.together(candidate.pack)
        rate = 0.0  # of all trainings of the kind, per second
        for number, there in enumerate(holds):
            speed = speeds.get((place, number))
            if there and speed is None:
                return NEVER
            if there and speed is not None:
                seconds = kind.steps * speed.step_seconds / together
                seconds += kind.tested * speed.evaluations * speed.image_seconds
                rate += there * workers / sum(holds) / max(seconds, 1e-9)
        even += 1 / rate
    return Expected(even, even * idling(candidate, kinds, workers))


def idling(candidate: Candidate, kinds: Sequence[Kind], workers: int) -> float:
    """By how much all takes longer, since some of the workers stand idle in the end."""
    trainings = sum(kind.trainings for kind in kinds)
    return last_end(trainings, workers, candidate.pack) * workers / trainings


def last_end(trainings: int, workers: int, pack: int) -> int:
    """When the last of so many trainings ends that take a worker 1 each, packed or not.

    As the scheduler has it: at the beginning all are idle, and none takes what others would stand idle for; later on whoever ends
    takes a pack."""
    ends = [0] * workers  # a heap
    idle, left = workers, trainings
    while left:
        taken = min(pack, -(-left // idle))
        heapreplace(ends, ends[0] + taken)
        idle, left = max(1, idle - 1), left - taken
    return max(ends)


def search(
    shares: Sequence[Share],
    packs_of: Callable[[Share], Sequence[int]],
    expected_of: Callable[[Candidate], Expected],
    idling: Callable[[Candidate], float] = lambda candidate: 1.0,
    enough: Callable[[], bool] = lambda: False,
) -> dict[Candidate, Expected]:
    """What is expected of candidates, in the order tried.

    Packs grow for as long as that makes a training cheaper; larger ones are tried where fewer workers would stand idle in the end.
    Shares follow each other until one is no better than the best so far even if no worker ever stood idle, and the next would
    allow no packs that help: with still more cores a training is no cheaper. Of a GPU all parts are tried.

    Args:
        idling: by how much all takes longer since some stand idle in the end.
        enough: ends it, with one candidate at least that does.
    """
    found: dict[Candidate, Expected] = {}
    best = math.inf
    for place, share in enumerate(shares):
        offered = list(packs_of(share))
        even, largest, grows = math.inf, 0, True
        while offered:
            if best < math.inf and enough():
                return found
            pack = offered.pop(0) if grows else min(offered, key=lambda pack: idling(Candidate(share, pack)))
            candidate = Candidate(share, pack)
            if not grows:
                offered.remove(pack)
                if not even * idling(candidate) < BETTER * best:
                    break
            found[candidate] = told = expected_of(candidate)
            best, largest = min(best, told.whole), max(largest, pack)
            grows = grows and told.even < BETTER * even
            even = min(even, told.even)
            if math.isinf(told.even):
                break
        following = max((packs_of(other)[-1] for other in shares[place + 1 :] if packs_of(other)), default=0)
        if not share.gpus and best < math.inf and even >= best and (not grows or following <= largest):
            break
    return found


def choose(found: Mapping[Candidate, Expected]) -> Candidate | None:
    """The candidate under which all ends soonest, an earlier one where another is hardly better; None where none does."""
    best: Candidate | None = None
    for candidate, told in found.items():
        if math.isfinite(told.whole) and (best is None or told.whole < BETTER * found[best].whole):
            best = candidate
    return best
