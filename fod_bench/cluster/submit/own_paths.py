"""Folders and files that a job names: a cluster elsewhere does not see those of the machine that it is submitted from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from fod_bench.job import Job
from fod_bench.job.document import Template
from fod_bench.job.variables import defaults
from fod_bench.schema.problems import KeyPath
from fod_bench.store.address import is_bucket

_WORDS = ("pretrained", "random")
"""Of `weights`: anything else is a file."""


class OwnPath(NamedTuple):
    """A folder or file that a job names without a variable of the cluster's."""

    key: str
    """Of the job file."""
    path: str
    kind: str
    """`data`, `weights` or `store`."""


def own_paths(job: Job) -> list[OwnPath]:
    """The paths in a job, but for places in a bucket and for what the machine that it runs on says by variables."""
    found = []
    for at, key, value, kind in _named(job):
        written = job.written.get(at)
        text: str | None = value
        if written is not None:  # results in a folder that nobody named would be lost, data that are not there are told
            text = defaults(written.text) if kind == "store" and isinstance(written, Template) else None
        if text is None or is_bucket(text) or (kind == "weights" and text in _WORDS):
            continue
        found.append(OwnPath(key, text, kind))
    return list(dict.fromkeys(found))


def unseen(job: Job, cluster: str, on_nodes: bool) -> list[str]:
    """What of a job a cluster elsewhere would not find, a line each with what would be right.

    `on_nodes`: every node has absolute paths under the same name.
    """
    return [
        f"{own.key}: {own.path} {_BECAUSE[own.kind]}, which the cluster of {cluster} does not see: {_remedy(own)}"
        for own in own_paths(job)
        if not (on_nodes and Path(own.path).is_absolute())
    ]


_BECAUSE = {
    "data": "is a folder of this machine",
    "weights": "is a file of this machine",
    "store": "is a folder of this machine",
}


def _remedy(own: OwnPath) -> str:
    name = Path(own.path).name or "data"
    there = "; --paths-on-nodes if all nodes have it under this path" if Path(own.path).is_absolute() else ""
    if own.kind == "store":
        return f"give --store s3://BUCKET/PREFIX{there or ', or an absolute path that all nodes share, with --paths-on-nodes'}"
    if own.kind == "weights":
        return f"put the file on every node, and write its path with a variable of theirs, as in ${{FOD_DATA}}/{name}{there}"
    return (
        f"bring it into a bucket, `fod-bench data push {own.path} s3://BUCKET/{name}`, and give that as root, or write a folder of "
        f"the nodes with a variable of theirs, as in ${{FOD_DATA}}/{name}{there}"
    )


def _named(job: Job) -> Iterator[tuple[KeyPath, str, str, str]]:
    """Place in the document, key, value and kind of every path."""
    yield ("store",), "store", job.store, "store"
    for at, part in _parts(job, ()):
        for name, data in part.datasets.items():
            if data.root is not None:
                yield (*at, "datasets", name, "root"), f"datasets.{name}.root", data.root, "data"
        holders: list[tuple[KeyPath, Any]] = [(("settings",), part.settings)]
        holders += [(("variants", name), given) for name, given in part.variants.items()]
        for where, given in holders:
            if isinstance(given.get("weights"), str):
                key = ".".join(map(str, (*where, "weights")))
                yield (*at, *where, "weights"), key, given["weights"], "weights"
        for value in part.grid.get("weights", ()):
            yield (*at, "grid", "weights"), "grid.weights", str(value), "weights"


def _parts(job: Job, at: KeyPath) -> Iterator[tuple[KeyPath, Job]]:
    yield at, job
    for index, included in enumerate(job.include):
        yield from _parts(included, (*at, "include", index))
