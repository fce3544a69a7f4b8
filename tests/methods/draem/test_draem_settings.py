"""The settings of DRAEM, and what they answer without its code."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from torch.utils.flop_counter import FlopCounterMode

from fod_bench.methods.draem.cost import activations, forward_flops, parameters
from fod_bench.methods.draem.network import Networks
from fod_bench.methods.draem.settings import DraemSettings
from fod_bench.methods.draem.texture_folder import folder_digest
from fod_bench.methods.registry import method_class, settings_class
from fod_bench.methods.settings import Needs
from fod_bench.records.record import Counts

COUNTS = Counts(train=200, test_good=20, test_defect=80)


def complete(**values: Any) -> DraemSettings:
    return DraemSettings.complete(values)


def test_it_is_found_by_name_and_its_code_where_it_runs() -> None:
    assert settings_class("draem") is DraemSettings
    assert method_class("draem").__name__ == "DraemMethod"
    program = "import sys, fod_bench.methods.draem.settings; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_defaults_are_the_published_ones_and_documented() -> None:
    settings = complete()
    assert settings.training() == {
        "method": "draem",
        "image_size": 256,
        "width": 128,
        "textures": "drawn",
        "learning_rate": 1e-4,
        "batch_size": 8,
        "epochs": 700,
        "evaluate_every": 10,
        "precision": "float32",
    }
    assert settings.needs() == Needs(images=True) and settings.rules() == ("score",) and settings.score == "score"
    assert all(field.description for field in DraemSettings.model_fields.values())
    assert settings.steps(COUNTS) == 700 * 25


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"image_size": 225}, "225 pixels are not a multiple of 32; the nearest are 224 and 256"),
        ({"image_size": 32, "batch_size": 1}, "must be at least 2 at image_size 32"),
        ({"width": 9}, "9 is odd"),
        ({"width": 0}, "greater than or equal to 1"),
        ({"textures": "drwan"}, "did you mean drawn"),
        ({"textures": ""}, "nor the path of a folder"),
        ({"textures": "/absent/folder"}, "there is no folder /absent/folder"),
        ({"textures_digest": "0" * 16}, "is for a folder of textures"),
        ({"textures": "/dtd", "textures_digest": "abc"}, "16 hexadecimal digits"),
        ({"precision": "bfloat16"}, "'float32' or 'tf32'"),
        ({"scoring": "rec"}, "unknown value 'rec'"),
        ({"backbone": "resnet18"}, "Extra inputs"),
        ({"epochs": 0}, "greater than or equal to 1"),
    ],
)
def test_bad_settings_are_refused_with_the_reason(values: dict[str, Any], text: str) -> None:
    with pytest.raises(ValidationError, match=text):
        complete(**values)


def test_a_folder_of_textures_is_part_of_the_training_by_its_content(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    digest = folder_digest(tmp_path)
    with pytest.raises(ValidationError, match=f"`textures_digest: {digest}`"):
        complete(textures=str(tmp_path))
    setting = complete(textures=str(tmp_path), textures_digest=digest).training()["textures"]
    assert setting == {"folder": str(tmp_path), "digest": digest}
    elsewhere = complete(textures="/not/on/this/machine", textures_digest=digest).training()["textures"]
    assert elsewhere == {"folder": "/not/on/this/machine", "digest": digest}, "asked of no file"


def test_trainings_that_are_the_same_are_named_the_same() -> None:
    assert complete(epochs=5).training() == complete(epochs=5, evaluate_every=5).training()
    assert complete(resize="crop").training() == complete().training(), "it belongs to the images"
    cost = complete(measure="cost", epochs=3, learning_rate=1.0)
    assert cost.training() == complete(measure="cost").training() and cost.training()["measure"] == "cost"
    assert cost.steps(COUNTS) == 0 and cost.score == "cost" and cost.work(COUNTS).operations == 0


def test_a_last_batch_of_one_at_32_pixels_is_refused() -> None:
    def counts(train: int) -> Counts:
        return Counts(train=train, test_good=1, test_defect=1)

    small = complete(image_size=32)
    assert "9 training images leave a last batch of one" in str(small.too_small(counts(9)))
    assert small.too_small(counts(8)) is small.too_small(counts(10)) is None
    assert complete(image_size=64).too_small(counts(1)) is None


@pytest.mark.parametrize(("width", "size"), [(4, 32), (12, 64)])
def test_cost_is_what_torch_counts(width: int, size: int) -> None:
    networks = Networks(width)
    kept: list[int] = []
    with FlopCounterMode(display=False) as counter:
        networks.eval()(torch.zeros(1, 3, size, size))
    assert counter.get_total_flops() == forward_flops(width, size)
    assert sum(p.numel() for p in networks.parameters()) == parameters(width)
    own = {parameter.data_ptr() for parameter in networks.parameters()}
    stored: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.data_ptr() not in own and tensor.numel() > 1000:
            stored[tensor.data_ptr()] = tensor.numel() * tensor.element_size() // 4
            kept.append(0)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        networks.train()(torch.zeros(2, 3, size, size))
    assert kept and activations(width, size) == pytest.approx(sum(stored.values()) / 2, rel=0.25)


def test_the_published_training_costs_what_is_said() -> None:
    assert parameters(128) == 97_422_725
    assert forward_flops(128, 256) / 2e9 == pytest.approx(197.95, abs=0.01)
    work = complete().work(COUNTS)
    assert work.operations == pytest.approx(200 * 700 * 1.19e12, rel=0.05)
    assert 8e9 < work.memory < 14e9
    quarter = complete(width=64).work(COUNTS)
    assert quarter.operations == pytest.approx(work.operations / 4, rel=0.01)
