"""Reads what Weights & Biases' library has left in an offline run's file, whose frame is that of LevelDB's log."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_HEAD, _BLOCK = 7, 32 * 1024
"""Bytes of the file's own head and of each piece's; bytes of a block, across whose end no piece reaches."""


def run_of(place: Path) -> dict[str, Any]:
    """The run in a folder: `id`, `name`, `project`, `config`, `history` (a list of dicts) and `summary`."""
    from wandb.proto.wandb_internal_pb2 import Record

    (file,) = place.glob("run-*.wandb")
    found: dict[str, Any] = {"config": {}, "history": [], "summary": {}, "ended": False}
    for content in _records(file.read_bytes()):
        record = Record.FromString(content)
        kind = record.WhichOneof("record_type")
        if kind == "run":
            found |= {"id": record.run.run_id, "name": record.run.display_name, "project": record.run.project}
            found["config"] |= _values(record.run.config.update)
        elif kind == "config":
            found["config"] |= _values(record.config.update)
        elif kind == "history":
            found["history"].append(_values(record.history.item))
        elif kind == "summary":
            found["summary"] |= _values(record.summary.update)
        elif kind == "exit":
            found["ended"] = record.exit.exit_code == 0
    return found


def _values(items: Any) -> dict[str, Any]:
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}


def _records(content: bytes) -> Iterator[bytes]:
    at, parts = _HEAD, []
    while at + _HEAD <= len(content):
        left = _BLOCK - at % _BLOCK
        if left < _HEAD:
            at += left
            continue
        size, kind = int.from_bytes(content[at + 4 : at + 6], "little"), content[at + 6]
        parts.append(content[at + _HEAD : at + _HEAD + size])
        at += _HEAD + size
        if kind in (1, 4):  # whole, or the last piece
            yield b"".join(parts)
            parts = []
