"""DRAEM against numbers of its published code, through the code that trains and scores here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from fod_bench.methods.draem.losses import focal_loss, losses, ssim_loss
from fod_bench.methods.draem.method import gradients, image_scores, learning_rate
from fod_bench.methods.draem.network import DiscriminativeNetwork, Networks, ReconstructiveNetwork
from fod_bench.methods.draem.noise import perlin, rotated
from fod_bench.methods.draem.samples import blended, clean_sample, drawn_clean
from tests.helpers.rival_fixtures import fixture_files, read_fixture

Arrays = dict[str, NDArray[Any]]

pytestmark = pytest.mark.parametrize("path", fixture_files("draem"), ids=lambda path: path.stem)


def close(found: Any, expected: NDArray[Any], tolerance: float = 1e-4) -> None:
    """The largest difference against the largest value."""
    found = np.asarray(found.detach() if isinstance(found, torch.Tensor) else found, dtype=np.float64)
    expected = np.asarray(expected, dtype=np.float64)
    assert found.shape == expected.shape
    difference, scale = np.abs(found - expected).max(), np.abs(expected).max()
    assert difference <= tolerance * scale, f"{difference / scale:.1e}"


def cases(arrays: Arrays, group: str) -> list[Arrays]:
    """The numbered cases of a group: `ssim.0.x` as `x` of the first."""
    numbers = sorted({int(name.split(".")[1]) for name in arrays if name.startswith(f"{group}.")})
    prefixes = [f"{group}.{number}." for number in numbers]
    return [
        {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
        for prefix in prefixes
    ]


def tensor(array: NDArray[Any], dtype: torch.dtype = torch.float32, *, grad: bool = False) -> torch.Tensor:
    return torch.tensor(array).to(dtype).requires_grad_(grad)


def networks(meta: dict[str, Any], arrays: Arrays, dtype: torch.dtype = torch.float32) -> Networks:
    """The fixture's networks; its discriminative one is not half as wide as the other."""
    made = Networks(2)
    made.rec = ReconstructiveNetwork(meta["settings"]["rec_base_width"])
    made.dis = DiscriminativeNetwork(meta["settings"]["dis_base_channels"])
    stored = {name: tensor(array) for name, array in arrays.items() if name.startswith(("rec.", "dis."))}
    missing, unexpected = made.load_state_dict(stored, strict=False)
    assert not unexpected and all(name.endswith("num_batches_tracked") for name in missing)
    return made.to(dtype)


def test_ssim_and_its_gradients(path: Path) -> None:
    _, arrays = read_fixture(path)
    for case in cases(arrays, "ssim"):
        x, y = tensor(case["x"], grad=True), tensor(case["y"], grad=True)
        loss = ssim_loss(x, y)
        loss.backward()
        close(loss, case["loss"])
        close(x.grad, case["grad_x"])
        close(y.grad, case["grad_y"])


def test_focal_loss_and_its_gradients(path: Path) -> None:
    _, arrays = read_fixture(path)
    for case in cases(arrays, "focal"):
        logits, mask = tensor(case["logits"], grad=True), tensor(case["mask"])
        probabilities = torch.softmax(logits, 1)
        probabilities.retain_grad()
        loss = focal_loss(probabilities, mask)
        loss.backward()
        close(loss, case["loss"])
        close(probabilities.grad, case["grad_prob"])
        close(logits.grad, case["grad_logits"])


def test_perlin_noise(path: Path) -> None:
    _, arrays = read_fixture(path)
    for case in cases(arrays, "perlin"):
        assert case["u"].shape == tuple(case["res"] + 1)
        close(perlin(*case["noise"].shape, case["u"]), case["noise"])


def test_samples(path: Path) -> None:
    _, arrays = read_fixture(path)
    for case in cases(arrays, "augment"):
        assert case["u"].shape == tuple(case["res"] + 1)
        noise = perlin(*case["noise_used"].shape, case["u"])
        if "rotation_degrees" in case:
            noise = rotated(noise, float(case["rotation_degrees"]))
            assert np.abs(noise - case["noise_used"]).max() < 0.05  # the published code rounds where it samples
        else:
            close(noise, case["noise_used"])
        if drawn_clean(float(case["no_anomaly_draw"])):
            sample = clean_sample(case["image"])
        else:
            sample = blended(case["image"], case["texture"], case["noise_used"], float(case["beta"]))
        close(sample.augmented, case["out"])
        assert (sample.mask == case["mask"][..., 0]).all()
        assert sample.mask.any() == case["has_anomaly"].item()


def test_networks_in_both_modes(path: Path) -> None:
    meta, arrays = read_fixture(path)
    for mode, dtype in (("eval", torch.float32), ("train", torch.float64)):
        made = networks(meta, arrays, dtype).train(mode == "train")
        close(made.rec(tensor(arrays["net.x"], dtype)), arrays[f"net.rec_{mode}"])
        close(made.dis(tensor(arrays["net.z"], dtype)), arrays[f"net.dis_{mode}"])


def test_three_training_steps(path: Path) -> None:
    meta, arrays = read_fixture(path)
    made = networks(meta, arrays, torch.float64)
    clean, augmented, mask = (tensor(arrays[f"train.{name}"], torch.float64) for name in ("clean", "augmented", "mask"))
    optimizer = torch.optim.Adam(made.parameters(), lr=meta["settings"]["adam"]["lr"], fused=True)
    rows = []
    for step in range(3):
        total, *terms = gradients(made, clean, augmented, mask)
        rows.append([term.item() for term in (*terms, total)])
        if step == 0:
            compare_digests(made, arrays)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    total, *terms = losses(*made(augmented), clean, mask)
    rows.append([term.item() for term in (*terms, total)])
    close(torch.tensor(rows), arrays["train.losses"])
    made.eval()
    reconstruction, logits = made(augmented)
    close(reconstruction, arrays["train.rec_eval_after"])
    close(torch.softmax(logits, 1), arrays["train.softmax_eval_after"])


def compare_digests(made: Networks, arrays: Arrays) -> None:
    """Of every gradient: its norm, the sum of its sizes, its sum, and its sum under cos(i)."""
    prefix = "train.graddigest."
    stored = {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
    found = {name: parameter.grad for name, parameter in made.named_parameters()}
    assert stored and stored.keys() <= found.keys()
    for name, digest in stored.items():
        gradient = found[name]
        assert gradient is not None
        values = gradient.double().flatten().numpy()
        size = np.abs(values).sum()
        close(np.sqrt((values**2).sum()), digest[0])
        close(size, digest[1])
        assert abs(values.sum() - digest[2]) <= 1e-4 * size
        assert abs((values * np.cos(np.arange(values.size))).sum() - digest[3]) <= 1e-4 * size


def test_image_scores(path: Path) -> None:
    _, arrays = read_fixture(path)
    close(image_scores(tensor(arrays["score.softmax"])[:, 1]), arrays["score.image"])


def test_learning_rates(path: Path) -> None:
    meta, arrays = read_fixture(path)
    schedules = {int(name.split(".")[1]): array for name, array in arrays.items() if name.startswith("schedule.")}
    assert schedules
    for epochs, rates in schedules.items():
        found = [learning_rate(meta["settings"]["adam"]["lr"], epoch, epochs) for epoch in range(epochs)]
        assert found == pytest.approx(rates, rel=1e-9)
