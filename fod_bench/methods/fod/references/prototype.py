"""Prototype features: several per position, written like a memory from the training features there (Eqs. 18 to 21)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from fod_bench.features.arrays import as_tensor
from fod_bench.methods.fod.references.base import Built, FixedReference, LevelFeatures
from fod_bench.methods.fod.references.specs import PrototypeReference


def prototype_reference(spec: PrototypeReference, level: LevelFeatures) -> Built:
    """M prototypes per position. The first are the features of M images; then every pass writes all images, in batches.

    Similarities are cosines, so features are taken as unit vectors throughout. Prototypes come out as such; the network is
    given them with the length of features (`rescale`).
    """
    images = len(level.train)
    generator = level.generator(spec.seed)

    def features(chosen: Tensor) -> Tensor:  # (N, K, C)
        return as_tensor(level.train[chosen.numpy()]).to(level.device).flatten(1, 2).transpose(0, 1)

    first = torch.randperm(images, generator=generator)[: spec.per_position]
    prototypes = functional.normalize(features(first), dim=-1)  # (N, M, C)
    for _ in range(spec.passes):
        for batch in torch.randperm(images, generator=generator).split(spec.batch_size):
            prototypes = write(prototypes, functional.normalize(features(batch), dim=-1))
    if spec.rescale:
        batches = torch.arange(images).split(spec.batch_size)
        prototypes = prototypes * _lengths(prototypes, [features(batch) for batch in batches])
    grid = prototypes.cpu().numpy().reshape(*level.train.shape[1:3], spec.per_position, -1)
    return FixedReference(np.ascontiguousarray(grid)), {}


def write(prototypes: Tensor, features: Tensor) -> Tensor:
    """One update of the prototypes (N, M, C) of N positions by K features at each, (N, K, C); all are unit vectors.

    A feature goes to the prototype with the largest weight of Eq. 18, its nearest. The weights of Eq. 20, a softmax over the
    K features, lose their common denominator in Eq. 21, which divides them by the largest: what is left is e to the cosine's
    distance from the largest of those that go to the prototype.
    """
    cosine = features @ prototypes.transpose(1, 2)  # (N, K, M)
    own = functional.one_hot(cosine.argmax(-1), prototypes.shape[1]).bool()
    largest = cosine.masked_fill(~own, -torch.inf).amax(1, keepdim=True)  # (N, 1, M); −inf where nothing goes
    weight = (cosine - largest).exp().where(own, 0.0)  # (N, K, M), Eq. 21
    return functional.normalize(prototypes + weight.transpose(1, 2) @ features, dim=-1)  # Eq. 19


def _lengths(prototypes: Tensor, batches: list[Tensor]) -> Tensor:
    """Mean length of the features (N, K, C) whose nearest prototype each is, or of all there where none is: (N, M, 1)."""
    count = prototypes.new_zeros(prototypes.shape[:2])
    total = torch.zeros_like(count)
    for features in batches:
        nearest = (features @ prototypes.transpose(1, 2)).argmax(-1)  # (N, K); lengths do not change which is largest
        own = functional.one_hot(nearest, prototypes.shape[1]).to(features)  # (N, K, M)
        count += own.sum(1)
        total += (own * features.norm(dim=-1, keepdim=True)).sum(1)
    overall = (total.sum(1, keepdim=True) / count.sum(1, keepdim=True)).expand_as(total)
    return torch.where(count > 0, total / count.clamp(min=1), overall)[..., None]
