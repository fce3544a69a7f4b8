"""Which weights a backbone gets, found before anything runs and named by their digest. Imports neither torch nor timm early."""

from __future__ import annotations

import hashlib
import logging
import ssl
import threading
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fod_bench.errors import WeightsError
from fod_bench.features.offered import DEFAULT_WEIGHTS

_FILE = "model.safetensors"
_ANSWER_SECONDS = 3.0


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
    with _quiet_hub():
        import huggingface_hub

        repository = f"timm/{backbone}" if "." in backbone else _default_repository(backbone)
        cached = huggingface_hub.try_to_load_from_cache(repository, _FILE)
        if isinstance(cached, str):
            return Path(cached)
        reason = (
            _out_of_reach(huggingface_hub.hf_hub_url(repository, _FILE))
            if download
            else "they are not in the local cache"
        )
        if reason is None:
            try:
                return Path(huggingface_hub.hf_hub_download(repository, _FILE, etag_timeout=10))
            except Exception as error:  # the hub's client raises its own, its transport's and OS errors
                said = str(error).strip().splitlines()
                reason = f"{type(error).__name__}: {said[0] if said else 'no reason given'}"
    raise WeightsError(
        f"pretrained weights of {backbone} cannot be had from huggingface.co/{repository} ({reason}). Three ways out:\n"
        "  1. a network: run once where the hub can be reached (or set HF_ENDPOINT to a mirror)\n"
        f"  2. a local file: --set weights=/path/to/{_FILE}\n"
        "  3. random weights: --set weights=random (for trying things out; the numbers will not be the paper's)"
    )


def hub_out_of_reach(backbone: str) -> str | None:
    """Why the pretrained weights of `backbone` cannot be fetched now, which is known within seconds; None where the hub answers.

    Raises `WeightsError` for a backbone that has none.
    """
    import huggingface_hub

    repository = f"timm/{backbone}" if "." in backbone else _default_repository(backbone)
    return _out_of_reach(huggingface_hub.hf_hub_url(repository, _FILE))


def _out_of_reach(url: str) -> str | None:
    """Why the hub does not answer, which is known after `_ANSWER_SECONDS`; None where it does, whatever it answers.

    Its own client tries for half a minute, and looking a name up takes as long as the system likes.
    """
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE says not to use the network"
    found: list[str | None] = []

    def ask() -> None:
        try:
            urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=_ANSWER_SECONDS).close()
            found.append(None)
        except urllib.error.HTTPError:
            found.append(None)
        except OSError as error:
            reason = getattr(error, "reason", error)
            # Certificates are another matter for its client.
            found.append(None if isinstance(reason, ssl.SSLError) else getattr(reason, "strerror", None) or str(reason))
        except Exception as error:
            found.append(f"{type(error).__name__}: {error}")

    asking = threading.Thread(target=ask, name="ask-the-hub", daemon=True)
    asking.start()
    asking.join(_ANSWER_SECONDS)
    return found[0] if found else f"no answer within {_ANSWER_SECONDS:g} s"


@contextmanager
def _quiet_hub() -> Iterator[None]:
    """Keep the hub's client from writing warnings and progress of its own."""
    logger = logging.getLogger("huggingface_hub")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

        level, shown = logger.level, not are_progress_bars_disabled()
        logger.setLevel(logging.CRITICAL)
        disable_progress_bars()
        try:
            yield
        finally:
            logger.setLevel(level)
            if shown:
                enable_progress_bars()


def _default_repository(backbone: str) -> str:
    if backbone in DEFAULT_WEIGHTS:
        return f"timm/{backbone}.{DEFAULT_WEIGHTS[backbone]}"
    import timm

    configuration = timm.get_pretrained_cfg(backbone)
    if configuration is None or not configuration.hf_hub_id:
        raise WeightsError(
            f"backbone {backbone} has no pretrained weights in timm; give a file (--set weights=/path) or `weights: random`"
        )
    return str(configuration.hf_hub_id)
