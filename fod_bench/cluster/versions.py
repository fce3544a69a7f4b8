"""Whether all nodes of a cluster have the program that the run has: another one would fail late, or make other numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fod_bench.errors import ClusterError

ANSWER_SECONDS = 60.0
"""Time in which a node has to say what it has; one that is too busy is not held up to the run."""
PACKAGES = ("ray", "torch", "timm")
"""Beside fod-bench and Python: what the results and the talk between nodes rest on."""


def require_one_version(note: Callable[[str], None]) -> None:
    """Ask every node of the cluster that this process has joined. `note` is told how many have what the run has.

    Raises:
        ClusterError: one has another version; names it.
    """
    import ray

    here, told = own_versions(), _told()
    for address, there in told.items():
        fault = difference(address, here, there)
        if fault is not None:
            raise ClusterError(fault)
    silent = sum(node["Alive"] for node in ray.nodes()) - len(told)
    line = (
        f"{len(told)} {'node has' if len(told) == 1 else 'nodes have'} fod-bench {here['fod-bench']}, Ray {here['ray']}"
    )
    note(f"joined    {line}" + (f"; {silent} did not say in {ANSWER_SECONDS:.0f} s" if silent > 0 else ""))


def difference(address: str, here: Mapping[str, str | None], there: Mapping[str, str | None]) -> str | None:
    """What is wrong with the versions of one node, `there`; None where nothing is."""
    for name, wanted in here.items():
        found = there.get(name)
        if found != wanted:
            return (
                f"node {address} has {f'{name} {found}' if found else f'no {name}'}, the run has {wanted}; every node needs the "
                "same, by one image or environment (docs/clusters.md)"
            )
    return None


def own_versions() -> dict[str, str | None]:
    """Of this process. A node need not have what the head lacks."""
    return {name: version for name, version in _teller(PACKAGES)().items() if version is not None}


def _teller(packages: tuple[str, ...]) -> Callable[[], dict[str, str | None]]:
    """What tells the versions of the process in which it is called.

    Ray sends it as it is here, not by name: a node may have another fod-bench, which lacks it, or none.
    """

    def versions() -> dict[str, str | None]:
        import platform
        from importlib.metadata import PackageNotFoundError, version

        found: dict[str, str | None] = {}
        try:
            import fod_bench

            found["fod-bench"] = str(fod_bench.__version__)
        except ImportError:
            found["fod-bench"] = None
        found["Python"] = ".".join(platform.python_version_tuple()[:2])
        for name in packages:
            try:
                found[name] = version(name).partition("+")[0]  # what tells builds for a CPU from others
            except PackageNotFoundError:
                found[name] = None
        return found

    return versions


def _told() -> dict[str, dict[str, str | None]]:
    """Address of each node that answers to the versions there."""
    import ray
    from ray.exceptions import RayError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    remote: Any = ray.remote(num_cpus=0, max_retries=0)(_teller(PACKAGES))
    asked = {
        remote.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)).remote(): node
        for node in ray.nodes()
        if node["Alive"]
    }
    answered, _ = ray.wait(list(asked), num_returns=len(asked), timeout=ANSWER_SECONDS)
    told = {}
    for reference in answered:
        try:
            told[str(asked[reference]["NodeManagerAddress"])] = ray.get(reference)
        except RayError:  # it is gone: the run finds that, too
            continue
    return told
