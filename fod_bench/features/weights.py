"""Which weights a backbone gets, found before anything runs and named by their digest. Imports neither torch nor timm early."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from fod_bench.errors import WeightsError

_FILE = "model.safetensors"

DEFAULT_TAGS = {
    "tf_efficientnet_b6": "ns_jft_in1k",
    "wide_resnet50_2": "racm_in1k",
    "mobilenetv2_100": "ra_in1k",
    "resnet18": "a1_in1k",
    "resnet50": "a1_in1k",
    "efficientnet_b0": "ra_in1k",
}
"""timm's own choice of weights for backbones named without a tag; any other name is looked up in timm, which imports torch."""


@dataclass(frozen=True)
class Weights:
    """The weights of one backbone: a file's content or a seed."""

    backbone: str
    digest: str
    """`sha256:<hex>` of the file, or `random:<seed>`."""
    path: Path | None
    """The file; None for random weights."""
    seed: int | None
    """The seed of random weights."""


def resolve_weights(backbone: str, weights: str, seed: int, *, download: bool) -> Weights:
    """Find `weights` (`pretrained`, `random` or a file's path) for `backbone` on this machine.

    With `download`, pretrained weights that are not in the local cache are fetched from the Hugging Face hub.

    Raises:
        WeightsError: they cannot be had, with what can be done about it.
    """
    if weights == "random":
        return Weights(backbone, f"random:{seed}", None, seed)
    if weights == "pretrained":
        path = _pretrained_file(backbone, download=download)
    else:
        path = Path(weights).expanduser()
        if not path.is_file():
            raise WeightsError(
                f"weights of backbone {backbone}: no file {weights}; give an existing .safetensors file, "
                "`weights: pretrained` or `weights: random`"
            )
        if path.suffix != ".safetensors":
            raise WeightsError(
                f"weights of backbone {backbone}: {weights} is not a .safetensors file; other formats can run code when "
                "loaded and are not read. Convert it once with safetensors.torch.save_file(state_dict, path)"
            )
    return Weights(backbone, f"sha256:{_file_digest(path)}", path, None)


def require_unchanged(weights: Weights) -> None:
    """Raises `WeightsError` unless the file, if there is one, has the content that was found when it was resolved."""
    if weights.path is not None and f"sha256:{_file_digest(weights.path)}" != weights.digest:
        raise WeightsError(
            f"weights of backbone {weights.backbone}: {weights.path} is not the file that the run was planned with; it was "
            "replaced since, or is another one on this machine. Put the same file on every node and start the run again"
        )


def _file_digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _pretrained_file(backbone: str, *, download: bool) -> Path:
    """The hub's weights file in the local cache, fetched first where allowed."""
    import huggingface_hub

    if "." in backbone:
        repository = f"timm/{backbone}"
    elif backbone in DEFAULT_TAGS:
        repository = f"timm/{backbone}.{DEFAULT_TAGS[backbone]}"
    else:
        repository = _default_repository(backbone)
    cached = huggingface_hub.try_to_load_from_cache(repository, _FILE)
    if isinstance(cached, str):
        return Path(cached)
    reason = "they are not in the local cache"
    if download:
        try:
            return Path(huggingface_hub.hf_hub_download(repository, _FILE, etag_timeout=10))
        except Exception as error:  # the hub's client raises its own, its transport's and OS errors
            reason = f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else 'no reason given'}"
    raise WeightsError(
        f"pretrained weights of {backbone} cannot be had from huggingface.co/{repository} ({reason}). Three ways out:\n"
        "  1. a network: run once where the hub can be reached (or set HF_ENDPOINT to a mirror)\n"
        f"  2. a local file: --set weights=/path/to/{_FILE}\n"
        "  3. random weights: --set weights=random (for trying things out; the numbers will not be the paper's)"
    )


def _default_repository(backbone: str) -> str:
    import timm

    configuration = timm.get_pretrained_cfg(backbone)
    if configuration is None or not configuration.hf_hub_id:
        raise WeightsError(
            f"backbone {backbone} has no pretrained weights in timm; give a file (--set weights=/path) or `weights: random`"
        )
    return str(configuration.hf_hub_id)
