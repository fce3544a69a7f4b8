"""A detector from outside: how far each patch is from the nearest of normal ones, in features and in colour."""

from typing import ClassVar

import torch
from torch.nn.functional import interpolate

from fod_bench.evaluation.maps import ScoreMaps
from fod_bench.methods.base import Method
from fod_bench.methods.settings import BackboneSettings, Needs


class Settings(BackboneSettings):
    """Distance to the nearest normal patch."""

    implementation: ClassVar[str] = "nearest_patch:NearestPatch"
    summary: ClassVar[str] = "distance to the nearest normal patch, in features and in colour"
    works_on: ClassVar[str] = "features as the backbone gives them, images"
    method: str = "nearest_patch"
    colour: float = 0.1
    """Weight of the difference in colour."""
    scored_levels: ClassVar[tuple[int, ...]] = ()

    def training(self):
        return {key: getattr(self, key) for key in ("method", "backbone", "image_size", "levels", "colour")}

    def needs(self):
        return Needs((self.features(pooled=False),), images=True)


class NearestPatch(Method):
    primary_score = "score"

    def __init__(self, setting, train, context, seed, device):
        self.setting, self.train, self.device, self.steps_per_epoch = setting, train, device, len(train)
        self.bank = torch.empty(0, 0)  # (patches, C + 3) of the images seen

    def patches(self, images):
        features = images.unpooled[self.setting["levels"][-1]]  # (n, H, W, C)
        colours = interpolate(images.images.permute(0, 3, 1, 2) / 255, features.shape[1:3], mode="area")
        return torch.cat([features, self.setting["colour"] * colours.permute(0, 2, 3, 1)], -1)

    def step(self, epoch, step):
        seen = self.patches(self.train.batch(slice(step, step + 1), self.device)).flatten(0, 2)
        self.bank = torch.cat([self.bank, seen]) if step else seen
        return torch.empty(0)

    def detector(self):
        return self

    @classmethod
    def load_detector(cls, setting, weights, context, device):
        loaded = cls(setting, (), context, 0, device)
        loaded.load_state(weights)
        return loaded

    def parts(self, images):
        patches = self.patches(images)
        return {"distance": torch.cdist(patches.flatten(1, 2), self.bank[None]).amin(2).view(patches.shape[:3])}

    @classmethod
    def scorings(cls, setting, parts, image_size, only=""):
        maps = interpolate(parts["distance"][:, None], (image_size, image_size), mode="bilinear")[:, 0]
        yield ScoreMaps("score", maps, parts["distance"].flatten(1).amax(1))

    def state(self):
        return {"bank": self.bank.cpu().numpy().copy()}

    def load_state(self, state):
        if state.keys() != {"bank"}:
            raise ValueError("the state is of another method")
        self.bank = torch.from_numpy(state["bank"].copy()).to(self.device)
