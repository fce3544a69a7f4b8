"""Every model of anomalib that is offered, run by `make test-anomalib`. Twins are anomalib's classes, by hand or by its Trainer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor
from torchvision.transforms.v2.functional import normalize

from fod_bench.errors import TrialError
from fod_bench.features.weights import Weights, resolve_weights
from fod_bench.methods.anomalib.build import Model, seeded
from fod_bench.methods.anomalib.settings import AnomalibSettings, OnBackbone, Trained
from fod_bench.methods.base import Context, Split
from fod_bench.methods.registry import family_names, settings_class
from tests.helpers.fitting import CPU, fit, make, metrics, score_maps, steps
from tests.helpers.unpooled_features import synthetic_splits

pytest.importorskip("anomalib")
torch.set_num_threads(1)

IMAGES, BATCH, EPOCHS = 19, 8, 2
SMALL: dict[str, dict[str, Any]] = {
    "anomalib/cflow": {"coupling_blocks": 2, "fiber_batch_size": 8},
    "anomalib/glass": {"pretrain_embed_dim": 64, "target_embed_dim": 64, "discriminator_hidden": 64, "step": 4},
    "anomalib/supersimplenet": {"image_size": 128},
    "anomalib/patchflow": {"backbone": "mobilenetv2_100"},
    "anomalib/ganomaly": {"n_features": 8},
}


def made(name: str, **keys: Any) -> AnomalibSettings:
    kind = settings_class(name)
    given: dict[str, Any] = {"method": name, "image_size": 64, "batch_size": BATCH}
    if issubclass(kind, OnBackbone):
        given |= {"backbone": "resnet18", "weights": "random"}
    if issubclass(kind, Trained):
        given |= {"epochs": EPOCHS, "evaluate_every": 1}
    found = kind.complete(given | SMALL.get(name, {}) | keys)
    assert isinstance(found, AnomalibSettings)
    return found


def images(count: int, side: int, seed: int = 0) -> Split:
    return Split(images=np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), dtype=np.uint8))


def context(settings: AnomalibSettings) -> Context:
    if not isinstance(settings, OnBackbone):
        return Context(settings.image_size)
    return Context(settings.image_size, network=resolve_weights(settings.backbone, "random", 0, download=False))


def equal(first: dict[str, Any], second: dict[str, Any]) -> bool:
    return first.keys() == second.keys() and all(
        np.array_equal(first[name], second[name], equal_nan=first[name].dtype.kind == "f") for name in first
    )


@pytest.mark.parametrize("name", family_names())
def test_a_model_is_fitted_resumed_kept_and_scores_every_image_by_itself(name: str) -> None:
    settings = made(name)
    train, test, given = images(IMAGES, settings.image_size), images(9, settings.image_size, 1), context(settings)
    method = make(settings, train, given, seed=5)
    todo = list(steps(method))
    losses = [method.step(*place) for place in todo]
    assert len(todo) == 3 * settings.all_epochs
    assert all(each.shape == (len(method.loss_names),) and each.isfinite().all() for each in losses)
    (maps,) = score_maps(method, settings, test, given)
    assert maps.pixels.shape == (9, settings.image_size, settings.image_size) and maps.images.shape == (9,)
    assert maps.pixels.isfinite().all() and maps.images.std() > 0
    weights = method.weights()
    for cut in (1, len(todo) - 1):  # in the middle of an epoch, and before the last step
        first = make(settings, train, given, seed=5)
        for place in todo[:cut]:
            first.step(*place)
        second = make(settings, train, given, seed=5)
        second.load_state(first.state())
        again = [second.step(*place) for place in todo[cut:]]
        assert equal(second.weights(), weights)
        assert all(torch.equal(*pair) for pair in zip(again, losses[cut:], strict=True))
    loaded = type(method).load_detector(settings.training(), weights, given, CPU)
    alone = loaded.parts(test.batch(slice(3, 4), CPU))
    assert not any(values.requires_grad for values in alone.values())
    together = method.detector().parts(test.batch(slice(0, 8), CPU))
    for part, values in alone.items():
        torch.testing.assert_close(values[0], together[part][3], rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match="another model"):
        method.load_state({**weights, "module/strange": np.zeros(1, np.float32)})
    assert equal(method.weights(), weights), "a state that does not fit changes nothing"


@pytest.mark.parametrize("name", ["stfpm", "reverse_distillation", "uflow", "ganomaly"])
def test_steps_are_those_that_the_trainer_takes(name: str, tmp_path: Path) -> None:
    """One optimiser, optimisation by hand, a schedule: the same batches through Lightning's Trainer leave the same weights."""
    from anomalib.data import ImageBatch
    from lightning.pytorch import Trainer

    settings = made(f"anomalib/{name}")
    train, given = images(IMAGES, 64), context(settings)
    method = make(settings, train, given, seed=3)
    seen: list[Tensor] = []
    take = method._loop.step  # type: ignore[attr-defined]
    method._loop.step = lambda batch, number: (seen.append(batch.image), take(batch, number))[1]  # type: ignore[attr-defined]
    for place in steps(method):
        method.step(*place)

    twin = Model(settings.training(), given, 3, CPU).module
    twin.pre_processor = None  # the batches are prepared already
    per_epoch = len(seen) // EPOCHS

    class Loader:
        def __len__(self) -> int:
            return per_epoch

        def __iter__(self) -> Any:
            first = twin.current_epoch * per_epoch
            return iter([ImageBatch(image=batch) for batch in seen[first : first + per_epoch]])

    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    arguments = {"gradient_clip_val": 0, **twin.trainer_arguments}
    Trainer(max_epochs=EPOCHS, accelerator="cpu", default_root_dir=tmp_path, **quiet, **arguments).fit(twin, Loader())
    for key, value in twin.state_dict().items():
        found = method._model.module.state_dict()[key]  # type: ignore[attr-defined]
        torch.testing.assert_close(found, value, rtol=1e-5, atol=1e-6, msg=lambda text, key=key: f"{key}: {text}")


def test_padim_and_patchcore_are_anomalibs_own_classes_on_the_same_numbers() -> None:
    """Driven by hand: names of layers instead of numbers, images normalised here."""
    from anomalib.models import Padim, Patchcore

    train, test = images(12, 64), images(4, 64, 1)
    for name, kind, keys in (
        ("anomalib/padim", Padim, {"n_features": "all", "levels": [8, 16]}),
        ("anomalib/patchcore", Patchcore, {"coreset_sampling_ratio": 1.0}),
    ):
        settings = made(name, **keys)
        given = context(settings)
        (maps,) = score_maps(fit(settings, train, given), settings, test, given)
        own = {"n_features": 384} if kind is Padim else {"coreset_sampling_ratio": 1.0}
        with seeded(0):
            twin = kind(backbone="resnet18", layers=["layer2", "layer3"], pre_trained=False, **own)
        torch.manual_seed(0)
        weights = timm.create_model("resnet18", pretrained=False, features_only=True, out_indices=[2, 3]).state_dict()
        twin.model.feature_extractor.feature_extractor.load_state_dict(weights)

        def prepared(split: Split) -> Tensor:
            assert split.images is not None
            scaled = torch.from_numpy(split.images).permute(0, 3, 1, 2) / 255
            return normalize(scaled, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])

        twin.model.train()
        twin.model(prepared(train))
        twin.fit()
        twin.model.eval()
        found = twin.model(prepared(test))
        torch.testing.assert_close(maps.pixels, found.anomaly_map[:, 0], rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(maps.images, found.pred_score.flatten(), rtol=1e-3, atol=1e-3)


def test_the_backbone_is_filled_from_the_file_and_not_kept_with_the_weights(tmp_path: Path) -> None:
    file = tmp_path / "resnet18.safetensors"
    torch.manual_seed(7)
    network = timm.create_model("resnet18", pretrained=False)
    save_file(network.state_dict(), file)
    settings = made("anomalib/stfpm")
    given = Context(64, network=Weights("resnet18", "sha256:0", file, None))
    method = make(settings, images(8, 64), given)
    module = method._model.module  # type: ignore[attr-defined]
    teacher, student = (part.feature_extractor for part in (module.model.teacher_model, module.model.student_model))
    assert torch.equal(teacher.conv1.weight, network.conv1.weight)
    assert not torch.equal(student.conv1.weight, network.conv1.weight)
    names = {name for name in method.weights() if "conv1.weight" in name}
    assert names and not any("teacher" in name for name in names)


def test_a_transformer_or_channels_last_backbone_is_refused() -> None:
    settings = made("anomalib/patchcore", backbone="swin_tiny_patch4_window7_224", image_size=224)
    with pytest.raises(TrialError, match="convolutional"):
        make(settings, images(4, 224), context(settings))


def test_what_anomalib_refuses_is_a_fault_of_the_trial() -> None:
    settings = made("anomalib/cflow", fiber_batch_size=4096)
    with pytest.raises(TrialError, match="anomalib/cflow: Make sure we have enough fibers"):
        make(settings, images(8, 64), context(settings)).step(0, 0)


@pytest.mark.parametrize(
    "mode", [("reverse_distillation", {"anomaly_map_mode": "multiply"}), ("dfkde", {"feature_scaling_method": "norm"})]
)
def test_words_for_anomalibs_choices_are_taken(mode: tuple[str, dict[str, Any]]) -> None:
    first, second = made(f"anomalib/{mode[0]}"), made(f"anomalib/{mode[0]}", **mode[1])
    train, test = images(IMAGES, 64), images(4, 64, 1)
    scores = [
        next(score_maps(fit(each, train, context(each)), each, test, context(each))).images for each in (first, second)
    ]
    assert scores[1].isfinite().all() and not torch.allclose(*scores)


PAIRS = {
    "padim": ({"channels": "all"}, {"n_features": "all", "levels": [8, 16]}),
    "patchcore": ({"reweight": 9, "coreset_ratio": 0.05}, {"num_neighbors": 9, "coreset_sampling_ratio": 0.05}),
}


@pytest.mark.parametrize("name", PAIRS)
def test_a_method_here_agrees_with_anomalibs_within_a_hundredth(name: str) -> None:
    """Areas under the curves on a drawn category; features, coreset's share and levels are the same, the draws are not."""
    train, test, truth = synthetic_splits("weave", 128, 24, 12, 3)
    shared = {"backbone": "mobilenetv2_100", "weights": "random", "image_size": 128}
    here = settings_class(name).complete({"method": name, **PAIRS[name][0], **shared})
    there = made(f"anomalib/{name}", **PAIRS[name][1], **shared, batch_size=32)
    given = context(there)
    found = [metrics(fit(each, train, given), each, test, given, truth) for each in (here, there)]
    for metric in ("image_auroc", "pixel_auroc"):
        ours, theirs = (values[metric] for values in found)
        assert ours is not None and theirs is not None and theirs > 0.6
        assert abs(ours - theirs) < 0.01, (metric, ours, theirs)
