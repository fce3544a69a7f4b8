"""Whether a weights file can be used at all, told before anything runs: it is whole, finite, and of the backbone."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fod_bench.errors import WeightsError
from fod_bench.features.weights import Weights
from fod_bench.machine.cache_folder import cache_folder

_FLOATS = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}  # numpy has no bfloat16: its bits are looked at
_BFLOAT16_EXPONENT = 0x7F80
_HEADER_BYTES = 100 << 20  # as the safetensors library has it
_PIECE = 1 << 22  # values looked at at once

KNOWN_FORMS = {
    "tf_efficientnet_b6": "6b0cfb83788a2d83",
    "wide_resnet50_2": "e017736c35d8d063",
    "mobilenetv2_100": "dc478e3a8c605c3b",
    "resnet18": "efcc90900c7214aa",
    "resnet50": "138c8c8ccc17d9f2",
    "efficientnet_b0": "df08a1fa16a4f2c4",
}
"""Architecture to the `form_digest` of the whole backbone in timm: such a file is known to fit."""


class Entry(NamedTuple):
    """A tensor in a safetensors file."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    """In the file, in bytes."""
    end: int


def check_weights(weights: Weights, levels: Sequence[int], image_size: int | None = None) -> None:
    """Raise `WeightsError` unless the file holds finite numbers and fits the backbone as far as `levels` of such images need it.

    What was found good is remembered by the file's digest. Torch is imported only for a file whose names and shapes are not
    those that are known.
    """
    if weights.path is None:
        return
    needed = "-".join(map(str, [*sorted(levels), *([f"of{image_size}"] if image_size else [])]))
    mark = cache_folder() / "weights" / f"{weights.digest.partition(':')[2]}-{weights.backbone}-{needed}"
    if mark.exists():
        return
    entries = read_header(weights.path)
    _refuse_what_is_not_finite(weights.path, entries)
    if form_digest({name: entry.shape for name, entry in entries.items()}) != KNOWN_FORMS.get(
        weights.backbone.partition(".")[0]
    ):
        from fod_bench.features.backbone import Backbone

        Backbone(weights, levels, image_size=image_size)
    with contextlib.suppress(OSError):  # it is looked at again
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.touch()


def read_header(path: Path) -> dict[str, Entry]:
    """`{name: entry}` of the tensors in a safetensors file. Raises `WeightsError` for a file that is none, or cut short."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = 8 + int.from_bytes(file.read(8), "little")
            if not 8 < start <= min(size, _HEADER_BYTES):
                raise ValueError("its header is longer than the file" if start > size else "it has no header")
            header = json.loads(file.read(start - 8))
        entries = {}
        for name, entry in header.items():
            if name == "__metadata__":
                continue
            (begin, end), shape = entry["data_offsets"], tuple(entry["shape"])
            if not 0 <= begin <= end <= size - start:
                raise ValueError(f"the end of tensor {name!r} is missing")
            if any(type(side) is not int or side < 0 for side in shape):
                raise ValueError(f"the shape of tensor {name!r} is {shape}")
            entries[name] = Entry(str(entry["dtype"]), shape, start + begin, start + end)
        return entries
    except OSError as error:
        raise WeightsError(f"weights {path} cannot be read: {error.strerror or error}") from error
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise WeightsError(f"weights {path} cannot be read as safetensors: {error}") from error


def form_digest(shapes: Mapping[str, Sequence[int]]) -> str:
    """16 hex digits over names and shapes of tensors, without counters of batches, which some files leave out."""
    lines = sorted(
        f"{name} {list(shape)}\n" for name, shape in shapes.items() if not name.endswith("num_batches_tracked")
    )
    return hashlib.sha256("".join(lines).encode()).hexdigest()[:16]


def _refuse_what_is_not_finite(path: Path, entries: Mapping[str, Entry]) -> None:
    for name, entry in entries.items():
        if entry.dtype not in _FLOATS:
            continue
        dtype: np.dtype[Any] = np.dtype(_FLOATS[entry.dtype])
        count = math.prod(entry.shape)
        if entry.end - entry.begin != count * dtype.itemsize:
            raise WeightsError(
                f"weights {path} cannot be read as safetensors: tensor {name!r} is not as long as its shape says"
            )
        with path.open("rb") as file:
            file.seek(entry.begin)
            for first in range(0, count, _PIECE):
                values = np.fromfile(file, dtype, min(_PIECE, count - first))
                finite = (
                    (values & _BFLOAT16_EXPONENT) != _BFLOAT16_EXPONENT
                    if entry.dtype == "BF16"
                    else np.isfinite(values)
                )
                if not finite.all():
                    raise WeightsError(
                        f"weights {path}: tensor {name!r} holds NaN or infinity, so no feature would be a number; "
                        "take the file from its source again"
                    )
