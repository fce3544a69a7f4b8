"""On which nodes workers are started, and which are let go: the one place that decides it, for a cluster and a simulated one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from fod_bench.runs.resources import NodeResources, Share
from fod_bench.runs.slot import Slot

_ROUNDING = 1e-9


class Room:
    """What is free on a node: CPUs, and how much of each GPU."""

    def __init__(self, node: NodeResources) -> None:
        self.cpus = node.cpus
        whole = int(node.gpus + _ROUNDING)
        self.gpus = [1.0] * whole + ([node.gpus - whole] if node.gpus - whole > _ROUNDING else [])

    def take(self, share: Share) -> bool:
        """Take the share, if it is free; a part of a GPU from the one that is fullest, as Ray does."""
        if share.cpus > self.cpus + _ROUNDING:
            return False
        if share.gpus >= 1:
            free = [number for number, left in enumerate(self.gpus) if left >= 1 - _ROUNDING]
            if len(free) < share.gpus:
                return False
            for number in free[: int(share.gpus)]:
                self.gpus[number] = 0.0
        elif share.gpus:
            fitting = [number for number, left in enumerate(self.gpus) if left >= share.gpus - _ROUNDING]
            if not fitting:
                return False
            self.gpus[min(fitting, key=self.gpus.__getitem__)] -= share.gpus
        self.cpus -= share.cpus
        return True


def workers_to_start(
    nodes: Mapping[str, NodeResources], slots: Iterable[Slot], needed: Mapping[Share, int], most: int | None
) -> list[tuple[Share, str]]:
    """Share and node of workers to start.

    Those with GPUs come first, on the nodes that have most of them free, so that those without never take the CPUs that a GPU
    needs; these go to nodes without GPUs first.

    Args:
        slots: the workers there are, on their nodes.
        needed: how many workers of each share the work that is left keeps busy.
        most: workers in all; None: as many as the nodes hold.
    """
    rooms = {name: Room(node) for name, node in nodes.items()}
    there = Counter[Share]()
    for slot in slots:
        there[slot.share] += 1
        if slot.node in rooms:
            rooms[slot.node].take(slot.share)
    left = float("inf") if most is None else most - there.total()
    found: list[tuple[Share, str]] = []
    for share in sorted(needed, key=lambda share: (-share.gpus, -share.cpus)):
        for _ in range(needed[share] - there[share]):
            if len(found) >= left:
                return found
            name = _best(rooms, nodes, share)
            if name is None:
                break
            found.append((share, name))
    return found


def _best(rooms: Mapping[str, Room], nodes: Mapping[str, NodeResources], share: Share) -> str | None:
    """The node that a worker goes to, whose room it takes; None where none has room."""

    def preference(name: str) -> tuple[float, float]:
        room = rooms[name]
        return (-sum(room.gpus), -room.cpus) if share.gpus else (nodes[name].gpus, -room.cpus)

    for name in sorted(rooms, key=preference):
        if rooms[name].take(share):
            return name
    return None


def at_most(needed: Mapping[Share, int], most: int | None) -> dict[Share, int]:
    """As many workers as are needed, those with GPUs first, but not more than that in all."""
    left, requested = most, dict[Share, int]()
    for share in sorted(needed, key=lambda share: (-share.gpus, -share.cpus)):
        requested[share] = needed[share] if left is None else min(left, needed[share])
        left = None if left is None else left - requested[share]
    return requested


def workers_to_end(slots: Iterable[Slot], needed: Mapping[Share, int]) -> list[Slot]:
    """Workers that nothing is left for: those that have not started first, then idle ones of the nodes that have least to do, so
    that whole nodes fall idle and the cluster can give them back."""
    slots = list(slots)
    busy = Counter(slot.node for slot in slots if slot.work)
    by_share: dict[Share, list[Slot]] = {}
    for slot in slots:
        by_share.setdefault(slot.share, []).append(slot)
    ended = []
    for share, members in by_share.items():
        free = sorted((slot for slot in members if not slot.work), key=lambda slot: (slot.started, busy[slot.node]))
        ended += free[: max(0, len(members) - needed.get(share, 0))]
    return ended
