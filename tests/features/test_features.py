"""Features: the same as a slow loop over the images gives, from the weights that were asked for and no others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from threading import Event

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from fod_bench.datasets import Category, Sample, SyntheticSettings, open_category
from fod_bench.errors import DatasetError, JobError, TrialError, WeightsError
from fod_bench.features import extract as extraction
from fod_bench.features.backbone import Backbone
from fod_bench.features.extract import extract, read_images
from fod_bench.features.request import FeatureRequest, ImageRequest
from fod_bench.features.truth import make_truth
from fod_bench.features.weights import Weights, resolve_weights
from tests.helpers import trial_builders  # noqa: F401  sets the number of threads
from tests.helpers.dataset_builders import folder_category

CPU = torch.device("cpu")
SIZE = 64


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A category `nut` of images of noise, of different sizes and one of them grey, and weights of three backbones."""
    root = tmp_path_factory.mktemp("features")
    rng = np.random.default_rng(0)
    for index, path in enumerate(sorted(folder_category(root / "set").glob("t*/*/*.png"))):
        size = (40 + 7 * index, 90 - 5 * index)
        grey = index == 1
        values = rng.integers(0, 256, (size[1], size[0]) if grey else (size[1], size[0], 3), dtype=np.uint8)
        Image.fromarray(values).save(path)
        mask = root / "set/nut/ground_truth" / path.parent.name / f"{path.stem}_mask.png"
        if mask.exists():
            marked = np.zeros((size[1], size[0]), np.uint8)
            marked[5:30, 10 : 20 + index] = 255
            Image.fromarray(marked).save(mask)
    torch.manual_seed(0)
    for name in ("resnet18", "resnet34", "mobilenetv2_100"):
        state = timm.create_model(name, pretrained=False).state_dict()
        for key, tensor in state.items():
            if key.endswith(("running_mean", "running_var", "bias")):  # not all zeros and ones
                tensor += 0.3 * torch.rand_like(tensor)
        save_file(state, root / f"{name}.safetensors")
    return root


@pytest.fixture(scope="module")
def category(folder: Path) -> Category:
    return open_category("folder", folder / "set", "nut")


def request(category: Category, weights: Weights | None = None, levels: tuple[int, ...] = (8, 16)) -> FeatureRequest:
    found = weights or resolve_weights("resnet18", "random", 0, download=False)
    return FeatureRequest(category, category.fingerprint(), found, SIZE, levels)


def from_file(folder: Path, backbone: str, name: str | None = None) -> Weights:
    return resolve_weights(backbone, str(folder / f"{name or backbone}.safetensors"), 0, download=False)


def image_tensor(path: Path) -> torch.Tensor:
    """(1, 3, SIZE, SIZE), step by step as the authors' transforms do it."""
    with Image.open(path) as image:
        square = image.convert("RGB").resize((SIZE, SIZE), Image.Resampling.LANCZOS)
    channels = []
    for channel, mean, std in zip(square.split(), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), strict=True):
        channels.append((torch.from_numpy(np.array(channel)).double() / 255 - mean) / std)
    return torch.stack(channels)[None].float()


def resnet_levels(model: torch.nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    """Strides 8 and 16 of the whole network."""
    m: object = model
    x = m.layer1(m.maxpool(m.act1(m.bn1(m.conv1(x)))))  # type: ignore[attr-defined]
    fine = m.layer2(x)  # type: ignore[attr-defined]
    return [fine, m.layer3(fine)]  # type: ignore[attr-defined]


def mobilenet_levels(model: torch.nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    """Strides 8 and 16: the deepest stage with each, the third and the fifth."""
    m: object = model
    x = m.bn1(m.conv_stem(x))  # type: ignore[attr-defined]
    outputs = []
    for stage in m.blocks:  # type: ignore[attr-defined]
        x = stage(x)
        outputs.append(x)
    return [outputs[2], outputs[4]]


def pooled(level: torch.Tensor) -> np.ndarray:
    """3×3 mean with zeros beyond the border, (1, C, H, W) to (H, W, C)."""
    array = level[0].numpy().transpose(1, 2, 0).astype(np.float64)
    padded = np.pad(array, ((1, 1), (1, 1), (0, 0)))
    height, width = array.shape[:2]
    return sum((padded[y : y + height, x : x + width] for y in range(3) for x in range(3)), np.zeros(())) / 9


class TestExtraction:
    @pytest.mark.parametrize(
        ("backbone", "levels"), [("resnet18", resnet_levels), ("mobilenetv2_100", mobilenet_levels)]
    )
    def test_equals_one_image_after_the_other(
        self, folder: Path, category: Category, monkeypatch: pytest.MonkeyPatch, backbone: str, levels: Callable
    ) -> None:
        monkeypatch.setattr(extraction, "BATCH", 2)  # several batches, the last one smaller
        found = extract([request(category, from_file(folder, backbone))], CPU)[0]
        model = timm.create_model(backbone, pretrained=False).eval()
        model.load_state_dict(load_file(folder / f"{backbone}.safetensors"))
        for split, features in (("train", found.train), ("test", found.test)):
            names = [sample.name for sample in getattr(category, split)]
            assert names == sorted(names) == found.manifest[split]
            for index, name in enumerate(names):
                with torch.no_grad():
                    expected = levels(model, image_tensor(folder / "set/nut" / name))
                for stride, level in zip((8, 16), expected, strict=True):
                    twin = pooled(level)
                    assert features[stride].dtype == np.float32 and features[stride][index].shape == twin.shape
                    scale = np.abs(twin).max()
                    np.testing.assert_allclose(features[stride][index], twin, atol=1e-5 * scale, rtol=1e-5)

    def test_test_images_are_read_while_the_backbone_works_on_the_last_training_images(
        self, category: Category, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(extraction, "BATCH", len(category.train))  # one batch of the training images
        test_image_read, seen = Event(), []
        read, maps_of = type(category).read_image, Backbone.maps_of

        def watched(self: Category, sample: Sample) -> Image.Image:
            if sample in category.test:
                test_image_read.set()
            return read(self, sample)

        def waiting(self: Backbone, images: torch.Tensor) -> list[torch.Tensor]:
            seen.append(test_image_read.wait(10))
            return maps_of(self, images)

        monkeypatch.setattr(type(category), "read_image", watched)
        monkeypatch.setattr(Backbone, "maps_of", waiting)
        extract([request(category)], CPU)
        assert all(seen)

    def test_masks_and_labels_stand_in_the_order_of_the_images(self, folder: Path, category: Category) -> None:
        truth = make_truth(request(category).truth).truth
        assert truth.labels.tolist() == [sample.label for sample in category.test] == [1, 1, 1, 0, 0]
        for sample, mask in zip(category.test, truth.masks, strict=True):
            assert mask.shape == (SIZE, SIZE) and mask.dtype == np.uint8
            if not sample.label:
                assert not mask.any()
                continue
            place, stem = folder / "set/nut/ground_truth" / sample.defect, Path(sample.name).stem
            drawn = np.array(Image.open(place / f"{stem}_mask.png"))
            height, width = drawn.shape
            for row, column in np.ndindex(SIZE, SIZE):  # the pixel whose area holds the centre of the new one
                y, x = int((row + 0.5) * height / SIZE), int((column + 0.5) * width / SIZE)
                assert mask[row, column] == (drawn[y, x] > 0)

    def test_manifest_tells_what_the_features_are_made_of(self, category: Category) -> None:
        asked = request(category)
        found = extract([asked], CPU)[0]
        assert found.key == asked.key
        expected = {
            "key": asked.key,
            "backbone": "resnet18",
            "weights": "random:0",
            "image_size": SIZE,
            "levels": [8, 16],
        }
        assert expected.items() <= found.manifest.items()
        assert (
            found.manifest["channels"] == {"8": 128, "16": 256} and found.manifest["fingerprint"] == asked.fingerprint
        )
        assert (found.manifest["layout"], found.manifest["category"]) == ("folder", "nut")
        parts = [*found.train.values(), *found.test.values()]
        assert found.nbytes() == sum(part.size * part.itemsize for part in parts)

    def test_a_lower_precision_is_another_feature_set_near_the_exact_one(self, category: Category) -> None:
        exact = request(category)
        rough = replace(exact, precision="bfloat16")
        assert rough.key != exact.key == replace(exact, precision="float32").key
        assert "precision" not in exact.describe() and rough.describe()["precision"] == "bfloat16"
        expected, found = extract([exact], CPU)[0], extract([rough], CPU)[0]
        assert found.manifest["precision"] == "bfloat16"
        for level, features in found.train.items():
            assert features.dtype == np.float32
            error = np.linalg.norm(features - expected.train[level]) / np.linalg.norm(features)
            assert 1e-4 < error < 0.03, level

    def test_a_precision_that_the_device_lacks_is_refused(self, category: Category) -> None:
        with pytest.raises(TrialError, match="backbone_precision tf32: this processor does not multiply in it"):
            extract([replace(request(category), precision="tf32")], CPU)[0]

    def test_random_weights_follow_their_seed_alone(self, category: Category) -> None:
        def digest(seed: int) -> bytes:
            torch.rand(seed + 3)
            weights = resolve_weights("resnet18", "random", seed, download=False)
            return extract([request(category, weights, (8,))], CPU)[0].train[8].tobytes()

        before = torch.random.get_rng_state()
        assert digest(0) == digest(0) != digest(1)
        torch.random.set_rng_state(before)
        expected = torch.rand(3)
        torch.random.set_rng_state(before)
        Backbone(resolve_weights("resnet18", "random", 0, download=False), [8])
        assert torch.equal(torch.rand(3), expected), "the global generator moved"

    def test_synthetic_images_need_no_files(self) -> None:
        settings = SyntheticSettings(train=2, test_good=1, test_defect_per_type=1, size=SIZE)
        asked = request(open_category("synthetic", None, "weave", synthetic=settings), levels=(16,))
        found, truth = extract([asked], CPU)[0], make_truth(asked.truth).truth
        assert found.train[16].shape == (2, 4, 4, 256) and truth.masks[truth.labels == 1].any((1, 2)).all()

    def test_a_broken_image_or_mask_is_named(self, tmp_path: Path) -> None:
        root = folder_category(tmp_path)
        opened = open_category("folder", tmp_path, "nut")
        broken = root / "train/good/001.png"
        kept = broken.read_bytes()
        asked = FeatureRequest(opened, "f0", resolve_weights("resnet18", "random", 0, download=False), SIZE, (16,))
        broken.write_bytes(kept[:50])
        with pytest.raises(DatasetError, match=r"train/good/001\.png cannot be read"):
            extract([asked], CPU)[0]
        broken.write_bytes(kept)
        Image.new("L", (3, 4)).save(root / "ground_truth/dent/000_mask.png")
        with pytest.raises(DatasetError, match=r"000_mask\.png is 3×4, its image .*000\.png is 12×10"):
            make_truth(asked.truth)

    @pytest.mark.parametrize("split", ["training", "test"])
    def test_an_empty_split_is_named(self, category: Category, split: str) -> None:
        limited = category.limited(SampleLimits(*(0 if split == name else None for name in ("training", "test"))))
        with pytest.raises(DatasetError, match=f"category nut: no {split} image"):
            extract([request(limited)], CPU)[0]


class TestForms:
    def test_one_pass_gives_pooled_and_unpooled_features(
        self, category: Category, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        smooth = request(category)
        plain = replace(smooth, pooled=False)
        assert plain.key != smooth.key and plain.made_with == smooth.made_with and plain.truth.key == smooth.truth.key
        passes: list[int] = []
        forward = Backbone.maps_of
        monkeypatch.setattr(
            Backbone, "maps_of", lambda self, images: (passes.append(len(images)), forward(self, images))[1]
        )
        both = extract([smooth, plain], CPU)
        assert sum(passes) == len(category.samples), "every image went through the network once"
        assert [found.key for found in both] == [smooth.key, plain.key]
        assert [found.manifest["pooling"] for found in both] == ["mean3x3", "none"]
        for level, array in both[0].train.items():
            expected = np.stack(
                [pooled(torch.from_numpy(image.transpose(2, 0, 1))[None]) for image in both[1].train[level]]
            )
            np.testing.assert_allclose(array, expected, atol=1e-5 * np.abs(expected).max())
            assert np.array_equal(extract([smooth], CPU)[0].train[level], array)

    def test_images_are_those_that_features_are_made_of(self, folder: Path, category: Category) -> None:
        asked = ImageRequest(category, category.fingerprint(), SIZE)
        found = read_images(asked)
        assert found.key == asked.key and found.train.shape == (len(category.train), SIZE, SIZE, 3)
        assert found.manifest["test"] == [sample.name for sample in category.test]
        for sample, image in zip(category.test, found.test, strict=True):
            expected = image_tensor(folder / "set/nut" / sample.name)[0].numpy()  # normalised
            values = (image / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
            np.testing.assert_allclose(values.transpose(2, 0, 1), expected, atol=1e-5)


class SampleLimits:
    """How many images of each split."""

    def __init__(self, train: int | None, test: int | None) -> None:
        self.train, self.test = train, test


class TestWeights:
    @pytest.mark.parametrize(("backbone", "file"), [("resnet18", "mobilenetv2_100"), ("mobilenetv2_100", "resnet18")])
    def test_a_file_of_another_architecture_is_refused(self, folder: Path, backbone: str, file: str) -> None:
        with pytest.raises(WeightsError, match=rf"{file}\.safetensors do not fit {backbone}: \d+ of \d+ tensors"):
            Backbone(from_file(folder, backbone, file), [8, 16])

    def test_a_deeper_sibling_is_refused_though_all_its_tensors_fit(self, folder: Path) -> None:
        with pytest.raises(WeightsError, match=r"resnet34.* do not fit resnet18: it holds \d+ tensors .* layer1\.2"):
            Backbone(from_file(folder, "resnet18", "resnet34"), [8])
        with pytest.raises(WeightsError, match=r"resnet18.* do not fit resnet34: \d+ of \d+ .* layer1\.2"):
            Backbone(from_file(folder, "resnet34", "resnet18"), [8])

    @pytest.mark.parametrize("content", [b"", b"x" * 5000, None], ids=["empty", "noise", "cut short"])
    def test_a_damaged_file_is_refused(self, folder: Path, tmp_path: Path, content: bytes | None) -> None:
        whole = (folder / "resnet18.safetensors").read_bytes()
        path = tmp_path / "broken.safetensors"
        path.write_bytes(whole[:-1000] if content is None else content)
        with pytest.raises(WeightsError, match=r"broken\.safetensors cannot be read as safetensors"):
            Backbone(resolve_weights("resnet18", str(path), 0, download=False), [8])

    def test_half_precision_and_a_missing_classifier_are_taken(self, folder: Path, tmp_path: Path) -> None:
        state = load_file(folder / "resnet18.safetensors")
        save_file(
            {name: value.half() for name, value in state.items() if not name.startswith("fc.")},
            tmp_path / "h.safetensors",
        )
        half = Backbone(resolve_weights("resnet18", str(tmp_path / "h.safetensors"), 0, download=False), [8])
        given = half.network.state_dict()["conv1.weight"]
        assert given.dtype == torch.float32 and torch.equal(given, state["conv1.weight"].half().float())

    def test_files_that_are_no_safetensors_or_missing_are_refused(self, tmp_path: Path) -> None:
        pickled = tmp_path / "weights.pth"
        torch.save({"conv1.weight": torch.zeros(1)}, pickled)
        with pytest.raises(WeightsError, match=r"resnet18: .*weights\.pth is not a \.safetensors file.*can run code"):
            resolve_weights("resnet18", str(pickled), 0, download=False)
        with pytest.raises(WeightsError, match=r"resnet18: no file .*nowhere\.safetensors"):
            resolve_weights("resnet18", str(tmp_path / "nowhere.safetensors"), 0, download=False)

    def test_pretrained_weights_that_are_not_here_come_with_three_ways_out(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: None)
        with pytest.raises(WeightsError, match=r"(?s)resnet18\.a1_in1k cannot be had .*network.*local file.*random"):
            resolve_weights("resnet18.a1_in1k", "pretrained", 0, download=False)

    def test_a_stride_the_backbone_lacks_comes_with_those_it_has(self) -> None:
        with pytest.raises(JobError, match="backbone resnet18 has no level of stride 3; it has 2, 4, 8, 16, 32"):
            Backbone(resolve_weights("resnet18", "random", 0, download=False), [8, 3])

    def test_levels_come_finest_first_whatever_the_order_asked(self) -> None:
        backbone = Backbone(resolve_weights("resnet18", "random", 0, download=False), [16, 4, 8])
        shapes = [tuple(level.shape) for level in backbone(torch.zeros(1, 3, SIZE, SIZE))]
        assert backbone.levels == [4, 8, 16] and shapes == [(1, 16, 16, 64), (1, 8, 8, 128), (1, 4, 4, 256)]

    @pytest.mark.parametrize(
        ("architecture", "level", "stages"),
        [
            ("mobilenetv2_100", 16, 5),
            ("mobilenetv2_100", 2, 1),
            ("mobilenetv3_small_050", 8, 2),
            ("efficientnet_b0", 32, 7),
        ],
    )
    def test_stages_that_no_level_needs_are_left_out_and_change_nothing(
        self, architecture: str, level: int, stages: int
    ) -> None:
        backbone = Backbone(Weights(architecture, "random:0", None, 0), [level])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            whole = timm.create_model(architecture, features_only=True, pretrained=False).eval()
        whole.to(memory_format=torch.channels_last)
        assert len(backbone.network.blocks) == stages
        images = torch.rand(2, 3, SIZE, SIZE).to(memory_format=torch.channels_last)
        with torch.inference_mode():
            (found,), expected = backbone.network(images), whole(images)
        assert torch.equal(found, expected[whole.feature_info.reduction().index(level)])
