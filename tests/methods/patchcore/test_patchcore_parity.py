"""PatchCore against numbers of the official code, and anomalib's of the same embeddings, through the code that fits and scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn import functional

from fod_bench.methods.base import Context, Split
from fod_bench.methods.maps import gaussian, upsample
from fod_bench.methods.patchcore import method as fitting
from fod_bench.methods.patchcore.embedding import Embedding
from fod_bench.methods.patchcore.memory import Memory
from fod_bench.methods.patchcore.method import PatchCore
from fod_bench.methods.patchcore.settings import PatchCoreSettings
from tests.helpers.fitting import CPU, fit, score_maps
from tests.helpers.rival_fixtures import fixture_files, read_fixture

torch.set_num_threads(1)
STRIDES = (4, 8, 16, 32)
TOLERANCE = 1e-4
"""Of the largest magnitude."""


class Case:
    """A fixture, and the method with its settings."""

    def __init__(self, path: Path) -> None:
        meta, self.arrays = read_fixture(path)
        self.given = meta["settings"]
        self.levels = STRIDES[: len(self.given["levels"])]
        self.context = Context(self.given["map_size"])

    def split(self, name: str, pooled: bool) -> Split:
        found = {}
        for number, level in enumerate(self.levels):
            values = torch.from_numpy(self.arrays[f"{name}/level{number}"])  # (n, C, H, W)
            values = functional.avg_pool2d(values, 3, 1, 1) if pooled else values
            found[level] = values.permute(0, 2, 3, 1).contiguous().numpy()
        return Split(pooled=found) if pooled else Split(unpooled=found)

    def settings(self, embedding: str, **changes: Any) -> PatchCoreSettings:
        sizes = {}
        if embedding == "official":
            sizes = {f"{name}_dimension": self.given[f"{name}_embed_dimension"] for name in ("pretrain", "target")}
        own = {"levels": list(self.levels), "image_size": self.given["map_size"], "embedding": embedding}
        selected = {"coreset_ratio": self.given["percentage"], "coreset": "exact", "projection": "none"}
        return PatchCoreSettings.complete({"method": "patchcore", **own, **selected, **sizes, **changes})

    def fitted(self, settings: PatchCoreSettings) -> PatchCore:
        pooled = settings.embedding == "concat"
        made = fit(settings, self.split("train", pooled), self.context)
        assert isinstance(made, PatchCore)
        return made

    def embedded(self, embedding: str, name: str) -> torch.Tensor:
        """All patches (n·H·W, D) of a split."""
        pooled = embedding == "concat"
        split, embed = self.split(name, pooled), Embedding(self.settings(embedding).training())
        batch = split.batch(slice(None), CPU)
        levels = batch.pooled if pooled else batch.unpooled
        return torch.cat([embed({level: levels[level][at] for level in self.levels}) for at in range(len(split))])

    def places(self, rows: NDArray[np.float32], embedding: str) -> list[int]:
        """Where the memory's rows are among the training patches."""
        known = {row.tobytes(): at for at, row in enumerate(self.embedded(embedding, "train").numpy())}
        return [known[row.tobytes()] for row in rows]


@pytest.fixture(params=fixture_files("patchcore"), ids=lambda path: path.stem)
def case(request: pytest.FixtureRequest) -> Case:
    return Case(request.param)


def close(found: Any, expected: NDArray[Any]) -> None:
    found = np.asarray(found)
    assert found.shape == expected.shape
    difference = float(np.abs(found - expected).max() / np.abs(expected).max())
    print(f"largest relative difference {difference:.1e}")
    assert difference <= TOLERANCE


@pytest.mark.parametrize("embedding", ["official", "concat"])
@pytest.mark.parametrize("split", ["train", "test"])
def test_patches_are_embedded_as_published(case: Case, embedding: str, split: str) -> None:
    close(case.embedded(embedding, split), case.arrays[f"embed/{embedding}/{split}"])


def test_levels_are_averaged_one_by_one_before_they_are_merged(case: Case) -> None:
    expected = case.arrays["embed/official/preprocessed_first_image"]  # (H·W, levels, P)
    levels, numbers = expected.shape[1:]
    settings = case.settings("official", target_dimension=levels * numbers)  # of so many means each is of one number
    split = case.split("train", pooled=False).batch(slice(0, 1), CPU)
    found = Embedding(settings.training())({level: values[0] for level, values in split.unpooled.items()})
    close(found.view(expected.shape), expected)


@pytest.mark.parametrize("embedding", ["official", "concat"])
def test_the_exact_rule_picks_the_same(case: Case, embedding: str) -> None:
    memory = case.fitted(case.settings(embedding)).weights()["memory"]
    assert len(memory) == case.given["coreset_size"]
    assert case.places(memory, embedding) == case.arrays[f"coreset/exact/{embedding}/indices"].tolist()
    close(memory, case.arrays[f"memory/{embedding}"])


def test_the_approximate_rule_picks_the_same(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    start = torch.from_numpy(case.arrays["coreset/approximate/start"])
    monkeypatch.setattr(fitting, "draw_starts", lambda rows, generator: start)
    memory = case.fitted(case.settings("official", coreset="approximate")).weights()["memory"]
    assert case.places(memory, "official") == case.arrays["coreset/approximate/indices"].tolist()


def test_projected_it_picks_the_same_and_keeps_whole_patches(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    start = torch.from_numpy(case.arrays["coreset/projected/start"])
    matrix = torch.from_numpy(case.arrays["coreset/projected/matrix"])
    monkeypatch.setattr(fitting, "draw_starts", lambda rows, generator: start)
    monkeypatch.setattr(fitting, "draw_projection", lambda dimensions, numbers, generator: matrix)
    settings = case.settings("official", coreset="approximate", projection=case.given["projection_dimension"])
    memory = case.fitted(settings).weights()["memory"]
    assert case.places(memory, "official") == case.arrays["coreset/projected/indices"].tolist()
    close(memory, case.arrays["coreset/projected/memory"])


def test_neighbours_are_the_same(case: Case) -> None:
    expected = case.arrays["score/neighbours/index"]  # (n, H·W, k)
    memory = Memory(torch.from_numpy(case.arrays["memory/official"]))
    squared, numbers = memory.nearest(torch.from_numpy(case.arrays["embed/official/test"]), expected.shape[-1])
    assert np.array_equal(numbers.view(expected.shape), expected)
    close(squared.view(expected.shape), case.arrays["score/neighbours/squared_distance"])


def test_scores_of_patches_images_and_pixels_are_the_same(case: Case) -> None:
    test = case.split("test", pooled=False)
    for count in case.given["numbers_of_neighbours"]:
        settings = case.settings("official", neighbours=count)
        method = case.fitted(settings)
        parts = method.detector().parts(test.batch(slice(None), CPU))
        close(parts["patches"], case.arrays[f"score/k{count}/patch"])
        (scored,) = score_maps(method, settings, test, case.context)
        assert scored.score == settings.score == method.primary_score
        close(scored.images, case.arrays[f"score/k{count}/image"])
        close(scored.pixels, case.arrays[f"score/k{count}/map"])
        if count == 1:
            unsmoothed = upsample(parts["patches"], case.given["map_size"], align_corners=False)
            close(unsmoothed, case.arrays["score/k1/upsampled"])
            close(gaussian(unsmoothed, case.given["map_sigma"]), case.arrays["score/k1/map"])


@pytest.mark.parametrize("embedding", ["official", "concat"])
def test_reweighted_images_score_as_anomalib_has_it(case: Case, embedding: str) -> None:
    settings = case.settings(embedding, reweight=case.given["b"])
    method, test = case.fitted(settings), case.split("test", pooled=embedding == "concat")
    parts = method.detector().parts(test.batch(slice(None), CPU))
    expected = {name: case.arrays[f"anomalib/{embedding}/{name}"] for name in ("patch", "weight", "nearest")}
    close(parts["patches"].sqrt(), expected["patch"])
    close(parts["images"], case.arrays[f"anomalib/{embedding}/image_reweighted"])
    close(parts["images"] / parts["patches"].amax((1, 2)).sqrt(), expected["weight"])
    (scored,) = score_maps(method, settings, test, case.context)
    assert torch.equal(scored.images, parts["images"])
    memory = Memory(torch.from_numpy(case.arrays[f"memory/{embedding}"]))
    _, numbers = memory.nearest(case.embedded(embedding, "test"), 1)
    assert np.array_equal(numbers.view(expected["nearest"].shape), expected["nearest"])
