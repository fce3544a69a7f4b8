"""PatchSVDD as a method: trained on crops, scored by the embeddings of the training images."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fod_bench.errors import TrialError
from fod_bench.evaluation.maps import ScoreMaps
from fod_bench.features.arrays import as_tensor
from fod_bench.methods.base import Context, Split
from fod_bench.methods.patchsvdd.cost import PATCHES, RULES
from fod_bench.methods.patchsvdd.detector import Banks, PatchSvddDetector, bank_of, exact_convolutions
from fod_bench.methods.patchsvdd.network import build_networks
from fod_bench.methods.patchsvdd.sampling import draw, mean_image, order, patches_of
from fod_bench.methods.patchsvdd.score import score_maps
from fod_bench.methods.patchsvdd.state import (
    MOMENTS,
    as_array,
    bank_arrays,
    bank_shapes,
    banks_from,
    check,
    images_of,
    moment_shapes,
    network_shapes,
)
from fod_bench.methods.patchsvdd.train import Losses, Trainer
from fod_bench.records.checkpoints import State
from fod_bench.records.record import score_name

_LOG = logging.getLogger(__name__)

COLLAPSED = 1e-5
"""Spread of embeddings, as a part of their size, below which float32 hardly tells one from another. It is 1e-4 and more before
the first step, with torch's initial weights."""


class PatchSvddMethod:
    """See `fod_bench.methods.base.Method`. `setting` is what `PatchSvddSettings.training` gives."""

    loss_names: Sequence[str] = Losses._fields
    primary_score = score_name(RULES[-1], ())

    def __init__(
        self, setting: dict[str, Any], train: Split, context: Context, seed: int, device: torch.device
    ) -> None:
        if train.images is None or len(train) < 2:
            found = 0 if train.images is None else len(train)
            raise TrialError(
                f"patchsvdd takes the mean of the training images from each, which leaves nothing of {found}; "
                "at least 2 training images"
            )
        self.seed = seed
        self.device = device
        self.batch_size: int = setting["batch_size"]
        self.image_size = context.image_size
        self.embedding: int = setting["embedding"]
        self.epochs: int = setting.get("epochs", 1)  # a measurement of cost leaves out what its cost does not depend on
        self._evaluate_every: int = setting.get("evaluate_every", 1)
        self.images = as_tensor(train.images).to(device, copy=True)  # (N, s, s, 3), uint8
        self.mean = mean_image(train.images).to(device)  # (s, s, 3)
        self.samples = len(train) * setting["repeats"]
        self.steps_per_epoch = -(-self.samples // self.batch_size)
        networks = build_networks(self.embedding, seed).to(device)
        self.trainer = Trainer(networks, setting.get("learning_rate", 1e-4), setting.get("svdd_weight", 1e-3))
        self.networks: Sequence[nn.Module] = [networks]
        self._ordered = -1, np.empty(0, np.int64)  # an epoch and its order of the samples
        self._banks: Banks | None = None  # of the encoder as it is; None after a step

    def step(self, epoch: int, step: int) -> Tensor:
        """One step on the next batch of samples; the losses (5,) from before it."""
        if epoch != self._ordered[0]:
            self._ordered = epoch, order(self.seed, epoch, self.samples)
        samples = self._ordered[1][step * self.batch_size : (step + 1) * self.batch_size]
        draws = draw(self.seed, epoch, samples, self.image_size)
        which = torch.from_numpy(samples % len(self.images)).to(self.device)
        patches = {patch: patches_of(self.images, self.mean, which, draws[patch], patch) for patch in PATCHES}
        self._banks = None
        with exact_convolutions():
            return torch.stack(self.trainer.step(patches))

    def evaluates_after(self, epoch: int) -> bool:
        """See `Method`."""
        return epoch % self._evaluate_every == 0 or epoch == self.epochs

    def detector(self) -> PatchSvddDetector:
        """See `Method`. The training images are embedded here, and once more where it is used after a further step."""
        self._current_banks()
        return PatchSvddDetector(self.trainer.networks.encoder, self.mean, self._current_banks)

    def _current_banks(self) -> Banks:
        """The training images' embeddings by the encoder as it is."""
        if self._banks is None:
            self._banks = bank_of(self.trainer.networks.encoder, self.images, self.mean)
            for patch, bank in self._banks.items():
                if (spread := bank.spread()) < COLLAPSED:
                    _LOG.warning(
                        "patchsvdd: the embeddings of patches of %d pixels have collapsed to nearly one point (they spread by "
                        "%.1e of their size), so that distances say little; a smaller svdd_weight than %g or learning_rate than "
                        "%g may help",
                        patch,
                        spread,
                        self.trainer.svdd_weight,
                        self.trainer.optimizer.param_groups[0]["lr"],
                    )
        return self._banks

    @classmethod
    def load_detector(
        cls, setting: dict[str, Any], weights: State, context: Context, device: torch.device
    ) -> PatchSvddDetector:
        """See `Method`."""
        networks = build_networks(setting["embedding"], 0)
        train = images_of(weights, context.image_size)
        check(weights, network_shapes(networks) | bank_shapes(train, context.image_size, setting["embedding"]))
        networks.load_state_dict({name: as_tensor(weights[name]) for name in networks.state_dict()})
        banks = banks_from(weights, device)
        mean = as_tensor(weights["mean"]).to(device, copy=True)
        return PatchSvddDetector(networks.encoder.to(device), mean, lambda: banks)

    @classmethod
    def scorings(
        cls, setting: dict[str, Any], parts: Mapping[str, Tensor], image_size: int, only: str = ""
    ) -> Iterator[ScoreMaps]:
        """Maps of each patch size, their sum and their product; image scores are their maxima."""
        for rule, pixels, images in score_maps(parts, (image_size, image_size)):
            yield ScoreMaps(score_name(rule, ()), pixels, images)

    def countable(self) -> PatchSvddMethod:
        """See `Costed`: all that is computed is plain convolutions and products."""
        return self

    def weights(self) -> State:
        """The networks, the mean image, and the embeddings of the training images: at 256 pixels 0.88 MB for each of these."""
        return self._network_arrays() | bank_arrays(self.mean, self._current_banks())

    def state(self) -> State:
        """The networks, and Adam's moments and step as `<parameter>/<moment>`; the embeddings are made anew."""
        state = self._network_arrays()
        for name, parameter in self.trainer.networks.named_parameters():
            moments = self.trainer.optimizer.state.get(parameter, {})  # none before the first step
            state |= {f"{name}/{moment}": as_array(moments[moment]) for moment in moments}
        return state

    def _network_arrays(self) -> State:
        return {name: as_array(tensor) for name, tensor in self.trainer.networks.state_dict().items()}

    @torch.no_grad()
    def load_state(self, state: State) -> None:
        """See `Method`. From weights the networks are taken; the embeddings are made anew of the training images."""
        networks, optimizer = self.trainer.networks, self.trainer.optimizer
        shapes = network_shapes(networks)
        trained = any(name.endswith("/step") for name in state)
        if trained:
            shapes |= moment_shapes(networks)
        elif "mean" in state:
            shapes |= bank_shapes(len(self.images), self.image_size, self.embedding)
        check(state, shapes)
        for name, tensor in networks.state_dict().items():
            tensor.copy_(as_tensor(state[name]))
        for name, parameter in networks.named_parameters():
            moments = optimizer.state[parameter]
            moments.clear()
            if trained:
                for moment in MOMENTS:
                    moments[moment] = as_tensor(state[f"{name}/{moment}"]).to(self.device, copy=True)
        self._banks = None
