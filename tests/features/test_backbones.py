"""Backbones of many families: their levels are right in shape and value, or they are refused before anything runs."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from benchmarks.backbones import FAMILIES, try_backbone
from fod_bench.datasets import SyntheticSettings, open_category
from fod_bench.errors import JobError, TrialError, WeightsError
from fod_bench.features import network
from fod_bench.features.backbone import Backbone
from fod_bench.features.extract import extract
from fod_bench.features.network import level_maps
from fod_bench.features.offered import map_distinction
from fod_bench.features.request import FeatureRequest
from fod_bench.features.weights import Weights, resolve_weights
from fod_bench.job import Job
from fod_bench.methods.fod.settings import FodSettings
from fod_bench.plan import make_plan
from tests.helpers import trial_builders  # noqa: F401  sets the number of threads

CPU = torch.device("cpu")
PAGE = Path(__file__).parents[2] / "docs/backbones.md"


def random_weights(backbone: str, seed: int = 0) -> Weights:
    return resolve_weights(backbone, "random", seed, download=False)


def image(size: int) -> torch.Tensor:
    return torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(3))


def plain_model(name: str, path: Path, **options: Any) -> Any:
    """A whole network in evaluation mode, made by timm, and its weights in a file, none of them 0 or 1 throughout."""
    torch.manual_seed(0)
    model = timm.create_model(name, pretrained=False, **options).eval()
    state = model.state_dict()
    for key, tensor in state.items():
        if tensor.is_floating_point():
            state[key] = tensor + 0.02 * torch.randn(tensor.shape)
        if key.endswith("running_var"):
            state[key] = state[key].abs() + 0.5
    model.load_state_dict(state)
    save_file({key: tensor.contiguous() for key, tensor in state.items()}, path)
    return model


def given_by(module: torch.nn.Module, model: torch.nn.Module, image: torch.Tensor) -> torch.Tensor:
    """What a module inside the model gives while it looks at an image."""
    seen: list[torch.Tensor] = []
    hook = module.register_forward_hook(lambda _module, _given, result: seen.append(result))
    with torch.no_grad():
        model(image)
    hook.remove()
    return seen[-1]


def pooled(values: np.ndarray) -> np.ndarray:
    """3×3 mean with zeros beyond the border of (height, width, channels), one position after the other."""
    height, width, channels = values.shape
    result = np.zeros((height, width, channels))
    for y, x in np.ndindex(height, width):
        for other_y in range(max(0, y - 1), min(height, y + 2)):
            for other_x in range(max(0, x - 1), min(width, x + 2)):
                result[y, x] += values[other_y, other_x].astype(np.float64) / 9
    return result


def channels_first(values: torch.Tensor) -> np.ndarray:
    return values[0].permute(1, 2, 0).numpy()


def channels_last(values: torch.Tensor) -> np.ndarray:
    return values[0].numpy()


def tokens(prefix: int, side: int) -> Callable[[torch.Tensor], np.ndarray]:
    """Of a transformer: its tokens without the first ones, row by row."""
    return lambda values: values[0, prefix:].reshape(side, side, -1).numpy()


class TestLevels:
    @pytest.mark.parametrize(
        ("backbone", "size", "parts"),
        [
            ("test_convnext", 64, {8: ("stages.1", channels_first), 16: ("stages.2", channels_first)}),
            (
                "dla46_c",
                64,
                {4: ("level2", channels_first), 16: ("level4", channels_first)},
            ),  # its first map is not taken
            ("test_mambaout", 64, {8: ("stages.1", channels_last), 16: ("stages.2", channels_last)}),
            ("swin_tiny_patch4_window7_224", 224, {8: ("layers.1", channels_last), 16: ("layers.2", channels_last)}),
            ("test_vit", 160, {16: ("blocks.5", tokens(1, 10))}),
            ("vit_small_patch16_dinov3", 64, {16: ("blocks.11", tokens(5, 4))}),
        ],
    )
    def test_equal_those_of_the_whole_network(
        self, tmp_path: Path, backbone: str, size: int, parts: dict[int, tuple[str, Callable]]
    ) -> None:
        model = plain_model(backbone, tmp_path / "w.safetensors")
        weights = resolve_weights(backbone, str(tmp_path / "w.safetensors"), 0, download=False)
        found = Backbone(weights, list(parts), image_size=size)(image(size))
        for (level, (part, read)), features in zip(parts.items(), found, strict=True):
            twin = pooled(read(given_by(model.get_submodule(part), model, image(size))))
            assert tuple(features.shape) == (1, size // level, size // level, twin.shape[-1])
            np.testing.assert_allclose(features[0].numpy(), twin, atol=1e-4 * np.abs(twin).max(), rtol=1e-4)

    @pytest.mark.parametrize(
        "family",
        [
            "ResNet",
            "RegNet",
            "DenseNet",
            "HRNet",
            "VGG",
            "DLA",
            "MobileNetV3",
            "ConvNeXt",
            "MambaOut",
            "EdgeNeXt",
            "MobileViT v2",
            "LeViT",
            "PVT v2",
            "PoolFormer",
            "MaxViT",
            "CoAtNet",
            "Hiera",
            "Swin",
            "Swin v2",
            "ViT",
            "DINOv2, registers",
            "CrossViT",
            "Xception",
            "HaloNet",
        ],
    )
    def test_are_right_in_shape_or_refused_as_the_page_says(self, family: str) -> None:
        backbone, size = FAMILIES[family]
        tried = try_backbone(backbone, size)
        (line,) = (line for line in PAGE.read_text().splitlines() if line.startswith(f"| {family} |"))
        _, _, name, pixels, levels, remarks, _ = (cell.strip() for cell in line.split("|"))
        assert (name, pixels) == (f"`{backbone}`", str(size))
        assert levels == (", ".join(f"{level}: {channels}" for level, channels in tried.channels.items()) or "none")
        assert bool(tried.refused) == ("refused" in remarks)

    def test_the_page_is_of_over_twenty_families_and_this_timm(self) -> None:
        page = PAGE.read_text()
        rows = [line for line in page.splitlines() if line.startswith("| ") and "`" in line]
        assert [row.split(" | ")[0].removeprefix("| ") for row in rows] == list(FAMILIES) and len(rows) > 20

    def test_a_network_is_made_for_the_size_of_the_image(self) -> None:
        for backbone, size, option in (
            ("vit_tiny_patch16_224", 192, "dynamic_img_size"),
            ("test_coatnet", 64, "img_size"),
            ("mvitv2_tiny", 256, "img_size"),  # as it stands it fails at an index, which the meta device does not see
            ("mvitv2_tiny", 64, ""),
            ("resnet18", 40, ""),
        ):
            maps = level_maps(backbone, (16,) if size % 16 == 0 else (8,), size)
            assert maps.sized_by == option, backbone

    def test_on_machines_without_meta_tensors_a_real_pass_tells(self, monkeypatch: pytest.MonkeyPatch) -> None:
        create, devices = timm.create_model, []

        def cannot_be_made_on_meta(*given: Any, **options: Any) -> Any:
            model = create(*given, **options)
            devices.append(next(model.parameters()).device.type)
            if devices[-1] == "meta":
                raise RuntimeError("Tensor.item() cannot be called on meta tensors")
            return model

        monkeypatch.setattr(network.timm, "create_model", cannot_be_made_on_meta)
        assert level_maps.__wrapped__("test_mambaout", (8,), 64).axes == "NHWC" and devices[-1] == "cpu"

    def test_a_map_of_another_shape_ends_the_extraction(self) -> None:
        backbone = Backbone(random_weights("legacy_xception"), [4])  # of no size that could be tried
        with pytest.raises(TrialError, match=r"maps of 64×64 pixels .*: level 4 is 128×15×15 instead of 128×16×16"):
            backbone(image(64))


class TestRefusals:
    @pytest.mark.parametrize(
        ("settings", "path", "text"),
        [
            (
                {"backbone": "inception_v3", "image_size": 64},
                "backbone",
                "inception_v3 does not give levels 8, 16, of 64×64 pixels or sizes near it (level 8 is 288×5×5 instead of 288×8×8",
            ),
            ({"backbone": "inception_v3", "image_size": 64}, "backbone", "choose another, e.g. wide_resnet50_2"),
            (
                {"backbone": "legacy_xception", "image_size": 64, "levels": [4]},
                "backbone",
                "(level 4 is 128×15×15 instead of 128×16×16 (CHW)); levels that would do: 8, 16, 32, or choose another",
            ),
            (
                {"backbone": "mobilevitv2_050", "image_size": 224, "levels": [32], "d_model": {32: 64}},
                "image_size",
                "level 32 of 224×224 pixels (level 32 is 256×8×8 instead of 256×7×7 (CHW)); 192 and 256 pixels would do",
            ),
            (
                {"backbone": "halonet26t", "image_size": 224},
                "image_size",
                "(timm gives no reason, AssertionError); 128 and 256 pixels would do",
            ),
            (
                {"backbone": "vit_small_patch14_dinov2", "levels": [14], "d_model": {14: 64}},
                "image_size",
                "256 pixels are not a multiple of level 14; 252 and 266 are",
            ),
            (
                {"image_size": 33, "levels": [16]},
                "image_size",
                "33 pixels are not a multiple of level 16; 32 and 48 are",
            ),
            ({"image_size": 40, "levels": [64, 16]}, "levels", "no level of stride 64; it has 2, 4, 8, 16, 32"),
            ({"image_size": 36, "levels": [8, 32], "d_model": {32: 64}}, "image_size", "of level 8; 32 and 64 are"),
            (
                {"backbone": "vit_tiny_patch16_224"},
                "levels",
                "vit_tiny_patch16_224 has no level of stride 8; it has 16",
            ),
        ],
    )
    def test_come_before_anything_runs_and_name_what_would_do(
        self, settings: dict[str, Any], path: str, text: str
    ) -> None:
        with pytest.raises(ValueError) as refused:
            FodSettings.complete(settings)
        faults = {(str(fault["loc"][0]), fault["msg"]) for fault in refused.value.errors()}  # type: ignore[attr-defined]
        assert any(found == path and text in message for found, message in faults), faults

    def test_sizes_that_are_named_would_do(self) -> None:
        for size in (192, 256):
            assert level_maps("mobilevitv2_050", (32,), size).indices == [4]
        for size in (128, 256):
            assert level_maps("halonet26t", (8, 16), size).indices == [2, 3]

    def test_a_backbone_without_feature_maps_comes_with_some_that_have(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*_given: Any, **_options: Any) -> None:
            raise RuntimeError("features_only not implemented for this model.\nmore")

        monkeypatch.setattr(network.timm, "create_model", refuse)
        with pytest.raises(
            JobError, match=r"'resnet10t' gives no feature maps \(timm: features_only not .*model\.\); .*convnext"
        ):
            network.offered_maps.__wrapped__("resnet10t")


class TestKeys:
    """Whatever was stored right is found again; what was stored wrong is not."""

    @staticmethod
    def request(backbone: str, size: int = 64, levels: tuple[int, ...] = (8, 16)) -> FeatureRequest:
        category = open_category("synthetic", None, "weave", synthetic=SyntheticSettings(train=1))
        return FeatureRequest(
            category, "f", random_weights(backbone), size, levels, maps=map_distinction(backbone, size, levels)
        )

    @pytest.mark.parametrize(
        ("backbone", "key"),
        [
            ("resnet18", "36df2462899bd225257f144d6c36c76a"),
            ("mobilenetv2_100", "d49c75e758fdc4b705f8ad445b397ac9"),
            ("convnext_atto", "d64f5b86f5c49af1ac6be4711fb477fe"),
            ("densenet121", "8a1f4a9d51e83b51d03f3e727197f95e"),
        ],
    )
    def test_of_backbones_that_were_right_are_as_they_were(self, backbone: str, key: str) -> None:
        asked = self.request(backbone)
        assert asked.key == key and "maps" not in asked.describe()

    @pytest.mark.parametrize(
        ("backbone", "size", "levels", "distinction"),
        [
            ("swin_tiny_patch4_window7_224", 224, (8, 16), "NHWC"),
            ("swin_tiny_patch4_window7_224", 256, (8, 16), "NHWC, dynamic_img_size"),
            ("mambaout_femto", 64, (8,), "NHWC"),
            ("vit_tiny_patch16_224", 224, (16,), "map 11 for level 16"),
            ("dla46_c", 64, (8,), "map 3 for level 8"),
            ("test_coatnet", 64, (16,), "img_size"),
        ],
    )
    def test_of_others_are_new(self, backbone: str, size: int, levels: tuple[int, ...], distinction: str) -> None:
        asked = self.request(backbone, size, levels)
        assert asked.maps == distinction == asked.describe()["maps"]
        assert asked.key != replace(asked, maps="").key

    def test_are_planned_so_and_extracted_so(self) -> None:
        drawn = {"train": 2, "test_good": 1, "test_defect_per_type": 1, "size": 64}
        dataset = {"layout": "synthetic", "synthetic": drawn, "categories": ["weave"]}
        settings = {"backbone": "test_mambaout", "weights": "random", "image_size": 64}
        job = Job.model_validate({"name": "j", "datasets": {"d": dataset}, "settings": settings})
        (trial,) = make_plan(job, download=False).trials.values()
        assert trial.wanted is not None and trial.wanted.sets[0].maps == "NHWC"
        made = extract([trial.wanted.sets[0]], CPU)[0]
        assert made.key == trial.wanted.sets[0].key and json.loads(json.dumps(made.manifest))["maps"] == "NHWC"
        assert {level: array.shape[1:] for level, array in made.train.items()} == {8: (8, 8, 32), 16: (4, 4, 48)}
        with pytest.raises(
            TrialError, match=r"timm .* reads test_mambaout otherwise \(NHWC\) than .*planned \(plainly\)"
        ):
            extract([replace(trial.wanted.sets[0], maps="")], CPU)[0]


class TestWeights:
    def test_of_a_transformer_fit_another_size_of_image(self, tmp_path: Path) -> None:
        """Its positions are interpolated, which the plain network does with the same option."""
        plain_model("test_vit", tmp_path / "w.safetensors")
        weights = resolve_weights("test_vit", str(tmp_path / "w.safetensors"), 0, download=False)
        (found,) = Backbone(weights, [16], image_size=96)(image(96))
        twin = plain_model("test_vit", tmp_path / "same.safetensors", dynamic_img_size=True)
        expected = pooled(tokens(1, 6)(given_by(twin.blocks[5], twin, image(96))))
        np.testing.assert_allclose(found[0].numpy(), expected, atol=1e-4 * np.abs(expected).max(), rtol=1e-4)

    def test_with_tables_of_another_size_are_fitted_by_timm(self, tmp_path: Path) -> None:
        model = plain_model("test_vit_relpos", tmp_path / "w.safetensors")
        weights = resolve_weights("test_vit_relpos", str(tmp_path / "w.safetensors"), 0, download=False)
        backbone = Backbone(weights, [16], image_size=96)
        assert backbone.maps.sized_by == "img_size"
        given, taken = model.state_dict(), backbone.network.state_dict()
        assert torch.equal(taken["model.blocks.0.attn.qkv.weight"], given["blocks.0.attn.qkv.weight"])

    def test_under_older_names_are_taken(self, tmp_path: Path) -> None:
        name = "swin_tiny_patch4_window7_224"
        state = plain_model(name, tmp_path / "new.safetensors").state_dict()
        older = {
            re.sub(r"layers\.(\d)\.downs", lambda found: f"layers.{int(found[1]) - 1}.downs", key).replace(
                "head.fc", "head"
            ): state[key]
            for key in state
        }
        older["layers.0.blocks.0.attn.relative_position_index"] = torch.zeros(49, 49)
        save_file(older, tmp_path / "older.safetensors")

        def found(file: str) -> torch.Tensor:
            weights = resolve_weights(name, str(tmp_path / file), 0, download=False)
            return Backbone(weights, [8], image_size=224)(image(224))[0]

        assert torch.equal(found("new.safetensors"), found("older.safetensors"))

    def test_of_a_network_that_timm_wraps_whole_are_taken(self, tmp_path: Path) -> None:
        model = plain_model("legacy_xception", tmp_path / "w.safetensors")
        weights = resolve_weights("legacy_xception", str(tmp_path / "w.safetensors"), 0, download=False)
        state = Backbone(weights, [8], image_size=64).network.state_dict()
        assert torch.equal(state["body.conv1.weight"], model.conv1.weight)

    def test_of_other_patches_are_refused_though_timm_would_fit_them(self, tmp_path: Path) -> None:
        plain_model("vit_tiny_patch16_224", tmp_path / "w.safetensors", patch_size=32)
        weights = resolve_weights("vit_tiny_patch16_224", str(tmp_path / "w.safetensors"), 0, download=False)
        with pytest.raises(WeightsError, match=r"w\.safetensors do not fit vit_tiny_patch16_224: 2 of \d+ tensors"):
            Backbone(weights, [16], image_size=224)


def test_nothing_is_said_and_nothing_moves() -> None:
    """Looking a backbone up neither warns nor draws random numbers."""
    before = torch.random.get_rng_state()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        level_maps.__wrapped__("test_vit", (16,), 192)
    assert torch.equal(torch.random.get_rng_state(), before)
