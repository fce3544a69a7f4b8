"""Scores of a model whose maps depend on the images that are scored together.

anomalib's CFLOW subtracts from every level the largest likelihood of the batch, so an image's map depends on those that are scored
with it. Here the test set is one batch: the likelihoods of every level are kept, and made maps together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from fod_bench.methods.anomalib.build import Model


def level_parts(model: Model, images: Tensor) -> dict[str, Tensor]:
    """Log-likelihoods `level-<number>` (n, h, w) of prepared images (n, 3, s, s)."""
    seen: dict[str, Any] = {}

    def noted(**given: Any) -> Tensor:
        seen.update(given)
        return images.new_zeros(len(images), *images.shape[2:])

    with patch.object(model.module.model.anomaly_map_generator, "forward", noted):
        model.module.model(images)
    grids = zip(seen["distribution"], seen["height"], seen["width"], strict=True)
    return {f"level-{number}": values.float().view(-1, h, w) for number, (values, h, w) in enumerate(grids)}


def maps_of_all(parts: Mapping[str, Tensor], image_size: int) -> Tensor:
    """anomalib's maps (n, s, s) of all images of which there are parts."""
    from anomalib.models.image.cflow.anomaly_map import AnomalyMapGenerator

    levels = [parts[name] for name in sorted(parts)]
    maps: Tensor = AnomalyMapGenerator(pool_layers=[str(number) for number in range(len(levels))])(
        distribution=[level.flatten() for level in levels],
        height=[level.shape[1] for level in levels],
        width=[level.shape[2] for level in levels],
        image_size=torch.Size((image_size, image_size)),
    )
    return maps


def deciding(parts: Mapping[str, Tensor], image_size: int) -> dict[str, Tensor]:
    """The parts of the images that decide what all are compared with: those with the largest likelihood of a level, and the one
    with the largest sum of what is likely, whose map reaches 0."""
    chosen = {int(part.flatten(1).amax(1).argmax()) for part in parts.values()}
    chosen.add(int(maps_of_all(parts, image_size).flatten(1).amin(1).argmin()))
    rows = torch.tensor(sorted(chosen))
    return {name: part[rows.to(part.device)] for name, part in parts.items()}


def each(parts: Mapping[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """The parts of one image after the other."""
    for number in range(len(next(iter(parts.values())))):
        yield {name: part[number : number + 1] for name, part in parts.items()}


def maps_beside(image: Mapping[str, Tensor], kept: Mapping[str, Tensor], image_size: int) -> Tensor:
    """The map (1, s, s) of an image that is scored together with those of `deciding`."""
    return maps_of_all({name: torch.cat([image[name], part]) for name, part in kept.items()}, image_size)[:1]
