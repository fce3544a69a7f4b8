"""What machines cost: the price list, and which of its machines a node is."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import Field, ValidationError, field_validator

from fod_bench.errors import FodBenchError, plain_message
from fod_bench.runs.resources import NodeResources
from fod_bench.schema.fields import Frozen
from fod_bench.schema.problems import suggest

OWN = Path(__file__).with_name("prices.yaml")
"""The list that comes with the program; `clusters/prices.yaml` is a link to it."""
_MAX_BYTES = 1 << 20
_GIB = float(1 << 30)


class Machine(Frozen):
    """A kind of machine."""

    cpus: Annotated[float, Field(gt=0)]
    memory: Annotated[float, Field(gt=0)]
    """GiB."""
    gpus: Annotated[int, Field(ge=0)] = 0
    gpu: str = ""
    """Kind of its GPUs."""
    gpu_memory: Annotated[float, Field(ge=0)] = 0.0
    """GiB of one."""
    per_hour: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    """US dollars."""
    source: str
    """Address of the page or file that the price was read from."""
    date: date
    """Day on which it was read there."""

    @property
    def node(self) -> NodeResources:
        """What a node of this kind has."""
        return NodeResources(self.cpus, self.gpus, self.memory * _GIB, self.gpu_memory * _GIB, self.gpu)


class PriceList(Frozen):
    """See `prices.yaml`."""

    currency: Literal["USD"]
    machines: dict[str, Machine]

    @field_validator("machines")
    @classmethod
    def _some(cls, machines: dict[str, Machine]) -> dict[str, Machine]:
        if not machines:
            raise ValueError("holds no machine")
        return machines

    def machine(self, name: str) -> Machine:
        """The machine of this name. Raises `FodBenchError`."""
        if name not in self.machines:
            raise FodBenchError(
                f"no price for a machine {name!r}; {suggest(name, self.machines)}; --prices FILE gives another list"
            )
        return self.machines[name]

    def with_gpus(self, gpus: int) -> str:
        """The first machine that has so many GPUs. Raises `FodBenchError`."""
        found = next((name for name, machine in self.machines.items() if machine.gpus == gpus), None)
        if found is None:
            there = ", ".join(str(count) for count in sorted({machine.gpus for machine in self.machines.values()}))
            raise FodBenchError(
                f"no price for a machine with {gpus} GPUs; the list has machines with {there}: take one of them, or give a list "
                "that has yours by --prices FILE"
            )
        return found

    def per_hour(self, node: NodeResources) -> float:
        """Dollars of a node that is known by what it has: of several such machines the dearest. Raises `FodBenchError`."""
        if not node.cpus and not node.gpus:
            return 0.0  # a head, which trains nothing
        fitting = [
            machine.per_hour
            for machine in self.machines.values()
            if (machine.cpus, machine.gpus) == (node.cpus, node.gpus) and node.gpu in ("", machine.gpu)
        ]
        if not fitting:
            gpus = f"{node.gpus:g} GPUs" + (f" ({node.gpu})" if node.gpu else "")
            raise FodBenchError(
                f"no price for a machine of the cluster, with {node.cpus:g} CPUs and {gpus}, so a budget of money cannot be kept; "
                "give a list that has it by --prices FILE (clusters/prices.yaml shows the form), or a time (--budget 3h)"
            )
        return max(fitting)


def read_prices(path: Path | None = None) -> PriceList:
    """The price list in a file, or the program's own. Raises `FodBenchError`."""
    file = path or OWN
    try:
        with file.open("rb") as opened:
            content = opened.read(_MAX_BYTES + 1)
    except OSError as error:
        raise FodBenchError(f"--prices {file}: cannot be read: {error.strerror or error}") from None
    if len(content) > _MAX_BYTES:
        raise FodBenchError(f"--prices {file}: is larger than {_MAX_BYTES >> 20} MiB, so it is no price list")
    try:
        return PriceList.model_validate(yaml.safe_load(content))
    except yaml.YAMLError as error:
        raise FodBenchError(f"--prices {file}: is not YAML: {str(error).splitlines()[0]}") from None
    except ValidationError as error:
        told = error.errors(include_url=False)[0]
        place = ".".join(map(str, told["loc"])) or "the file"
        raise FodBenchError(
            f"--prices {file}: {place}: {plain_message(told)}; clusters/prices.yaml shows the form"
        ) from None
