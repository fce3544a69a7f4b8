"""Features of images that are not square: cropped as the authors did with BTAD, or stretched; and what a crop leaves out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from fod_bench.cli.app import app
from fod_bench.datasets import open_category
from fod_bench.features.backbone import Backbone
from fod_bench.features.extract import extract
from fod_bench.features.request import FeatureRequest
from fod_bench.features.truth import make_truth
from fod_bench.features.weights import resolve_weights
from tests.helpers import trial_builders  # noqa: F401  sets the number of threads
from tests.helpers.commands import Bench
from tests.helpers.dataset_builders import WIDE_DEFECTS, wide_btad_category

CPU = torch.device("cpu")
SIZE = 64


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A category of wide images, of which one lies on its side and says so."""
    root = tmp_path_factory.mktemp("wide")
    category = wide_btad_category(root)
    upright = Image.open(category / "train/ok/0001.bmp")
    exif = Image.Exif()
    exif[0x0112] = 6  # a viewer turns it clockwise
    upright.transpose(Image.Transpose.ROTATE_90).save(category / "train/ok/0001.png", exif=exif)
    (category / "train/ok/0001.bmp").unlink()
    return root


def request(root: Path, shorter_side: int | None) -> FeatureRequest:
    category = open_category("btad", root, "03")
    weights = resolve_weights("resnet18", "random", 0, download=False)
    return FeatureRequest(category, category.fingerprint(), weights, SIZE, (8,), shorter_side=shorter_side)


@pytest.mark.parametrize("shorter_side", [SIZE, 72])
def test_features_are_those_of_the_upright_images_centre(root: Path, shorter_side: int) -> None:
    transforms = pytest.importorskip("torchvision.transforms")
    chain = transforms.Compose(
        [
            transforms.Resize(shorter_side, transforms.InterpolationMode.LANCZOS),
            transforms.CenterCrop(SIZE),
            transforms.ToTensor(),
            transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ]
    )
    asked = request(root, shorter_side)
    found = extract([asked], CPU)[0]
    backbone = Backbone(asked.weights, [8])
    for sample, features in zip(asked.category.train, found.train[8], strict=True):
        image = Image.open(root / "03" / sample.name)
        if sample.name.endswith(".png"):
            image = image.transpose(Image.Transpose.ROTATE_270)
        assert image.size == (96, 64)
        (expected,) = backbone(chain(image.convert("RGB"))[None])
        np.testing.assert_allclose(features, expected[0].numpy(), atol=1e-4)


def test_a_defect_that_is_cropped_away_keeps_its_label_and_is_named(root: Path) -> None:
    asked = request(root, SIZE)
    found = make_truth(asked.truth)
    assert found.truth.labels.tolist() == [1, 1, 1, 1, 0, 0]
    for (start, end), mask in zip(WIDE_DEFECTS.values(), found.truth.masks, strict=False):
        expected = np.zeros((SIZE, SIZE), np.uint8)
        expected[20:50, max(start - 16, 0) : max(end - 16, 0)] = 1
        assert np.array_equal(mask, expected)
    assert found.about["left_out"] == {
        "defects": 4,
        "wholly": ["test/ko/0001.bmp", "test/ko/0003.bmp"],
        "partly": ["test/ko/0002.bmp"],
    }
    assert "shorter side of 64, centre crop" in found.about["preprocessing"]
    assert any("of 4 defects the centre crop leaves out 2 wholly and 1 partly" in line for line in found.told())
    stretched = make_truth(request(root, None).truth)
    assert stretched.key != found.key and stretched.truth.masks[:4].any((1, 2)).all()
    assert "left_out" not in stretched.about and not any("crop" in line for line in stretched.told())


def test_a_check_names_what_a_crop_leaves_out_and_finds_no_fault(root: Path) -> None:
    def check(*options: str, code: int = 0) -> list[str]:
        done = CliRunner().invoke(app, ["data", "check", str(root), "--categories", "03", *options])
        assert done.exit_code == code, done.output
        return [line for line in done.stdout.splitlines() if "published" not in line]

    told = [
        "03: test/ko/0001.bmp: the centre crop leaves its defect out wholly",
        "03: test/ko/0003.bmp: the centre crop leaves its defect out wholly",
        "03: test/ko/0002.bmp: the centre crop leaves its defect out partly",
        "03: of 4 defects the centre crop leaves out 2 wholly and 1 partly; their images keep their label",
    ]
    assert check("--layout", "btad", code=1) == told, "the numbers of images are not the published ones"
    assert check("--layout", "btad", "--resize", "stretch", code=1) == []
    narrower = check("--layout", "btad", "--resize", "crop", "--image-size", "64", "--resize-size", "160", code=1)
    assert narrower[-1].startswith("03: of 4 defects the centre crop leaves out 2 wholly and 2 partly")
    check("--layout", "btad", "--resize-size", "300", code=2)
    check("--layout", "btad", "--resize", "crop", "--resize-size", "100", code=2)


def test_a_run_tells_it_once_for_a_category(bench: Bench) -> None:
    wide_btad_category(bench.folder / "data")
    job = bench.job(
        "wide",
        {"epochs": 1},
        datasets={"own": {"layout": "btad", "root": "data", "categories": ["03"]}},
        variants={"FOD": {}, "Fine": {"levels": [8]}, "Stretched": {"resize": "stretch"}},
    )
    done = bench.run("run", job)
    (line,) = (line for line in done.err.splitlines() if line.startswith("cropped"))
    assert (
        line
        == "cropped   03: of 4 defects the centre crop leaves out 2 wholly and 1 partly; their images keep their label"
    )
    assert len(bench.stored("features/*/manifest.json")) == 3 and len(bench.records()) == 3
    shown = bench.run("report", job, "--explain", "FOD/own/03").out
    assert "a shorter side of 64, centre crop" in " ".join(shown.split())
