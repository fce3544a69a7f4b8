"""Codebook features: for each position of an image the nearest code of a learned codebook (Eqs. 22 and 23)."""

from __future__ import annotations

import logging
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from fod_bench.features.arrays import as_tensor
from fod_bench.methods.fod.references.base import Built, ChosenReference, LevelFeatures
from fod_bench.methods.fod.references.specs import CodebookReference

_LOG = logging.getLogger(__name__)

_BLOCK_ELEMENTS = 1 << 22
"""Distances held at once."""
_FEW = 0.5
"""Share of codes in use below which a person is told."""


def codebook_reference(spec: CodebookReference, level: LevelFeatures) -> Built:
    """The codebook, learned from the training features, and the code of every position of every image.

    Facts: `codes`, how many there are; `codes_used`, how many some training feature is nearest to; `cosine`, how well the
    decoder gives the training features back from their codes.
    """
    train, test = (as_tensor(features).to(level.device) for features in (level.train, level.test))
    scale = float(torch.stack([image.square().mean() for image in train]).mean().sqrt()) or 1.0
    codebook = _learn(spec, train, scale, level)
    with torch.no_grad():
        table = codebook.codes * scale  # (N_e, C)
        chosen, found = (
            torch.stack([quantise(codebook.encode(image / scale), codebook.codes) for image in images]).int()
            for images in (train, test)
        )
        cosine = torch.stack(
            [
                functional.cosine_similarity(codebook.decoder(codebook.codes[code]), image / scale, dim=-1).mean()
                for code, image in zip(chosen.long(), train, strict=True)
            ]
        ).mean()
    used = len(chosen.unique())
    if used < _FEW * len(table):
        _LOG.warning(
            "codebook  %s, level %d: only %d of %d codes are in use", level.name, level.stride, used, len(table)
        )
    encoder = None
    if isinstance(codebook.encode, nn.Linear):
        encoder = torch.cat([codebook.encode.weight, codebook.encode.bias[:, None]], 1).detach().cpu().numpy()
    reference = ChosenReference(
        chosen.cpu().numpy(), found.cpu().numpy(), table.cpu().numpy(), np.array([scale], np.float32), encoder
    )
    return reference, {"codes": len(table), "codes_used": used, "cosine": float(cosine)}


def quantise(features: Tensor, codes: Tensor) -> Tensor:
    """argmin_j ‖x − e_j‖ (Eq. 22): features (..., C) and codes (N_e, C) to places in the codebook (...)."""
    # Distances are taken from the codes' mean, since far from the origin their small differences would be rounded away.
    centre = codes.mean(0)
    centred = codes - centre
    lengths = centred.square().sum(1).mul(-0.5)  # ‖x − e‖² = ‖x‖² − 2 (x·e − ‖e‖²/2)
    blocks = (features.reshape(-1, features.shape[-1]) - centre).split(max(1, _BLOCK_ELEMENTS // len(codes)))
    return torch.cat([torch.addmm(lengths, block, centred.T).argmax(1) for block in blocks]).view(features.shape[:-1])


class Objective(NamedTuple):
    """The parts of Eq. 23, each a mean over positions."""

    cosine: Tensor
    """cos(o, x), to be maximised."""
    code_commitment: Tensor
    """‖sg[x] − e‖, which moves the codes."""
    feature_commitment: Tensor
    """‖x − sg[e]‖, which moves what is quantised."""

    def loss(self) -> Tensor:
        """What a step descends: minus Eq. 23."""
        return self.code_commitment + self.feature_commitment - self.cosine


class Codebook(nn.Module):
    """Codes e_1 … e_Ne, a decoder of each quantised feature by itself, and, where asked for, a map before quantisation."""

    def __init__(self, codes: Tensor, encoder: Literal["none", "linear"]) -> None:
        """Begin with `codes` (N_e, C)."""
        super().__init__()
        channels = codes.shape[1]
        self.codes = nn.Parameter(codes.clone())
        self.encode: nn.Module = nn.Identity()
        if encoder == "linear":
            self.encode = nn.Linear(channels, channels)
            nn.init.eye_(self.encode.weight)
            nn.init.zeros_(self.encode.bias)
        self.decoder = nn.Sequential(nn.Linear(channels, 2 * channels), nn.GELU(), nn.Linear(2 * channels, channels))

    def objective(self, features: Tensor) -> Objective:
        """Eq. 23 for features (..., C)."""
        encoded = self.encode(features)
        with torch.no_grad():
            nearest = quantise(encoded, self.codes)
        code = functional.embedding(nearest, self.codes)  # (..., C)
        straight_through = encoded + (code - encoded).detach()  # z in value, x as far as gradients go
        cosine = functional.cosine_similarity(self.decoder(straight_through), features, dim=-1)
        return Objective(
            cosine.mean(),
            torch.linalg.vector_norm(encoded.detach() - code, dim=-1).mean(),
            torch.linalg.vector_norm(encoded - code.detach(), dim=-1).mean(),
        )


def _learn(spec: CodebookReference, train: Tensor, scale: float, level: LevelFeatures) -> Codebook:
    """A codebook that begins with some of the training features (n, H, W, C) divided by `scale`, each drawn at most once."""
    generator = level.generator(spec.seed)
    drawn = torch.randperm(train.shape[:3].numel(), generator=generator)[: spec.codes]
    image, place = drawn // train.shape[1:3].numel(), drawn % train.shape[1:3].numel()
    first = train[
        image.to(train.device), (place // train.shape[2]).to(train.device), (place % train.shape[2]).to(train.device)
    ]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(generator.initial_seed())
        codebook = Codebook((first / scale).cpu(), spec.encoder).to(train.device)
    optimizer = torch.optim.Adam(codebook.parameters(), lr=spec.learning_rate)
    for _ in range(spec.epochs):
        for batch in torch.randperm(len(train), generator=generator).split(spec.batch_size):
            optimizer.zero_grad()
            codebook.objective(train[batch.to(train.device)] / scale).loss().backward()
            optimizer.step()
    return codebook
