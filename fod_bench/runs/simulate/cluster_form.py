"""What `--simulate` takes: a cluster in a few words, such as `64x8` or `2xp5.48xlarge+4xc7i.8xlarge`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from fod_bench.errors import UsageError
from fod_bench.runs.prices import PriceList
from fod_bench.runs.resources import NodeResources

MOST_NODES = 10_000
_GROUP = re.compile(r"(?P<count>\d{1,6})[x×](?P<kind>[A-Za-z0-9][\w.-]*)")


@dataclass(frozen=True)
class Group:
    """Nodes of one kind."""

    nodes: int
    """How many."""
    machine: str
    """Its name in the price list."""
    node: NodeResources
    per_hour: float
    """Dollars of one."""


def parse_cluster(text: str, prices: PriceList) -> list[Group]:
    """The groups that a `+` joins, each `NODESxGPUS`, which is the first machine of the price list with so many GPUs, or
    `NODESxMACHINE`.

    Raises:
        UsageError: the text has another form.
        FodBenchError: there is no price for such a machine.
    """
    groups = []
    for part in text.split("+"):
        found = _GROUP.fullmatch(part.strip())
        count = int(found["count"]) if found else 0
        if found is None or not 1 <= count <= MOST_NODES:
            raise UsageError(
                f"--simulate {text!r}: should be NODESxGPUS, such as 64x8, or NODESxMACHINE with a machine of the price list, "
                f"such as 2xp5.48xlarge, several joined by +, of at most {MOST_NODES} nodes each"
            )
        kind = found["kind"]
        name = prices.with_gpus(int(kind)) if kind.isdecimal() else kind
        machine = prices.machine(name)
        groups.append(Group(count, name, machine.node, machine.per_hour))
    return groups
