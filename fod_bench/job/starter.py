"""A first job file for somebody's own images: commented, small enough for the machine at hand, and taken as it stands."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from fod_bench.datasets.folder import FolderSettings
from fod_bench.datasets.recognise import Proposal
from fod_bench.job.schema import RESERVED_NAMES
from fod_bench.methods.registry import DEFAULT, settings_class
from fod_bench.methods.settings import PAPER_BACKBONE, SMALL_BACKBONE
from fod_bench.text import escaped

_SETTINGS = """\
settings:
  # {remark}
  # Any timm backbone with feature maps will do; docs/backbones.md lists over sixty.
  backbone: {backbone}
{weights}
  image_size: 256         # every image becomes a square of so many pixels; a multiple of 32
  levels: [8, 16]         # feature maps at an eighth and a sixteenth of that

# Rows of the table: name -> what each sets differently. `fod-bench methods` lists the methods, and their keys.
variants:
{rows}
"""
_METHODS = ("patchcore", "fod")
"""What a first job compares: something that trains nothing, and the paper's."""
_SMALL_REMARK = f"A small backbone, since no GPU was found. With one, the paper's is {PAPER_BACKBONE}."
_FULL_REMARK = (
    f"The paper's backbone, for the GPU of this machine. On a processor {SMALL_BACKBONE} takes minutes, not hours."
)


@dataclass(frozen=True)
class Starter:
    """What a first job is to be like."""

    name: str
    full: bool
    """Published sizes; else small ones."""
    backbone: str | None = None
    weights: str = "pretrained"
    epochs: int | None = None


def job_name(text: str) -> str:
    """A name that a job can have, as near to a folder's as may be."""
    name = re.sub(r"[^a-z0-9_-]+", "-", text.casefold()).strip("-")[:60] or "images"
    return f"job-{name}" if name in RESERVED_NAMES or name.isdecimal() else name


def starter_job(starter: Starter, proposal: Proposal, found: Sequence[str], command: str) -> str:
    """The text of the job file. `found` are lines on what lies in the folder, `command` is what to type to run it."""
    settings = _SETTINGS.format(
        remark=_FULL_REMARK if starter.full else _SMALL_REMARK,
        backbone=starter.backbone or (PAPER_BACKBONE if starter.full else SMALL_BACKBONE),
        weights=_weights(starter.weights),
        rows="\n".join(_row(method, starter) for method in _METHODS),
    )
    plan = command.replace("fod-bench run", "fod-bench plan", 1)
    report = command.replace("fod-bench run", "fod-bench report", 1)
    comments = [
        f"A first job for the images of {escaped(str(proposal.root))}. To be changed at will; docs/job.md says how, and",
        "docs/job-reference.md lists every key.",
        "",
        f"  {plan}     # how many trainings, and how long they will take",
        f"  {command}      # trains, tests, and shows the table",
        f"  {report}   # the table again; --explain CELL tells where a number comes from",
        "",
        "Found:",
        *(f"  {line}" for line in found),
    ]
    head = "\n".join(f"# {line}".rstrip() for line in comments)
    return (
        f"{head}\n\nname: {starter.name}\n\n{_dataset(proposal)}\n{settings}\n"
        "# Several seeds show how much of a difference is luck, at that many times the cost: [3407, 1, 2].\nseeds: [3407]\n"
    )


def _row(method: str, starter: Starter) -> str:
    row = settings_class(method).first_row(starter.full, starter.epochs)
    keys = row.keys if method == DEFAULT else {"method": method, **row.keys}
    return f"  # {row.remark}\n  {row.name}: {_inline(keys)}"


def _dataset(proposal: Proposal) -> str:
    name = proposal.layout if proposal.layout != "folder" else "images"
    lines = [
        "datasets:",
        f"  {name}:                  # the name that tables show",
        f"    layout: {proposal.layout}",
        f"    root: {_text(str(proposal.root.absolute()))}",
    ]
    if proposal.categories:
        lines.append(f"    categories: [{', '.join(map(_text, proposal.categories))}]")
    else:
        lines.append("    categories: all      # or a list of some")
    own, usual = proposal.own, FolderSettings()
    if own.good != usual.good:
        lines.append(f"    good: [{', '.join(map(_text, own.good))}]   # folders of normal images")
    if own.bad is not None:
        lines.append(f"    bad: [{', '.join(map(_text, own.bad))}]   # folders of defective ones")
    if own.masks == "optional":
        lines.append(
            "    masks: optional      # some defective images have none: they count for the image metrics only"
        )
    lines.append("    # A first try on fewer images; good for a look, not for a number:")
    lines.append("    # limit: {train: 40, test: 20}")
    return "\n".join(lines) + "\n"


def _weights(weights: str) -> str:
    if weights == "pretrained":
        return "  weights: pretrained     # fetched once; without a network the path of a .safetensors file, or `random` for a look"
    if weights == "random":
        return "  weights: random         # finds coarse defects only; `pretrained` fetches real ones once"
    return f"  weights: {_text(str(Path(weights).expanduser().absolute()))}"


def _inline(value: Mapping[str, Any]) -> str:
    """A mapping as YAML has it within a line."""
    return yaml.safe_dump(dict(value), default_flow_style=True, sort_keys=False, width=1000).strip()


def _text(value: str) -> str:
    """A text as YAML has it, never taken for a number or a variable."""
    return json.dumps(value.replace("${", "$${"), ensure_ascii=False)
