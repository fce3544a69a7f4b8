"""Weights that cannot be used are told before anything runs: damaged, not finite, of another backbone, out of reach."""

from __future__ import annotations

import json
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from fod_bench.errors import WeightsError
from fod_bench.features import weights as weights_module
from fod_bench.features.offered import DEFAULT_WEIGHTS
from fod_bench.features.weights import Weights, resolve_weights
from fod_bench.features.weights_file import KNOWN_FORMS, check_weights, form_digest, read_header


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ResNet-18 as timm makes it."""
    path = tmp_path_factory.mktemp("weights") / "resnet18.safetensors"
    torch.manual_seed(0)
    save_file(timm.create_model("resnet18", pretrained=False).state_dict(), path)
    return path


def found(path: Path, backbone: str = "resnet18") -> Weights:
    return resolve_weights(backbone, str(path), 0, download=False)


def changed(good: Path, path: Path, name: str, value: float, dtype: torch.dtype = torch.float32) -> Path:
    """A copy with one number of one tensor changed, all in `dtype`."""
    state = {key: tensor.to(dtype) if tensor.is_floating_point() else tensor for key, tensor in load_file(good).items()}
    state[name].view(-1)[-1] = value
    save_file(state, path)
    return path


def test_the_known_forms_and_tags_are_timms() -> None:
    for name, digest in KNOWN_FORMS.items():
        with torch.device("meta"):
            network = timm.create_model(name, pretrained=False)
        assert form_digest({key: tensor.shape for key, tensor in network.state_dict().items()}) == digest
        assert timm.get_pretrained_cfg(name).hf_hub_id == f"timm/{name}.{DEFAULT_WEIGHTS[name]}"


def test_the_header_is_that_of_the_library(good: Path) -> None:
    state = load_file(good)
    entries = read_header(good)
    assert {name: entry.shape for name, entry in entries.items()} == {key: tuple(t.shape) for key, t in state.items()}
    content = good.read_bytes()
    entry = entries["layer2.0.conv1.weight"]
    values = np.frombuffer(content[entry.begin : entry.end], "<f4").reshape(entry.shape)
    assert np.array_equal(values, state["layer2.0.conv1.weight"].numpy())


def test_a_good_file_is_taken_without_torch_and_looked_at_once(good: Path, own_cache: Path, tmp_path: Path) -> None:
    script = f"""
import sys
from pathlib import Path
from fod_bench.features.weights import resolve_weights
from fod_bench.features.weights_file import check_weights
check_weights(resolve_weights("resnet18", {str(good)!r}, 0, download=False), (8, 16))
print({{"torch", "timm"}} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
    [mark] = (own_cache / "fod-bench/weights").iterdir()
    known = Weights("resnet18", f"sha256:{mark.name.partition('-')[0]}", tmp_path / "not-read", None)
    check_weights(known, (16, 8))
    with pytest.raises(WeightsError, match="No such file"):
        check_weights(known, (4,))


@pytest.mark.parametrize("dtype", (torch.float32, torch.float16, torch.bfloat16, torch.float64), ids=str)
@pytest.mark.parametrize("value", (float("nan"), float("inf"), -float("inf")), ids=str)
def test_one_number_that_is_none_is_found(good: Path, tmp_path: Path, value: float, dtype: torch.dtype) -> None:
    path = changed(good, tmp_path / "w.safetensors", "layer4.1.conv2.weight", value, dtype)
    with pytest.raises(WeightsError, match=r"tensor 'layer4\.1\.conv2\.weight' holds NaN or infinity"):
        check_weights(found(path), (8,))
    check_weights(found(changed(good, tmp_path / "g.safetensors", "fc.weight", 60000.0, dtype)), (8,))


def test_a_file_of_another_backbone_is_refused_and_one_without_its_classifier_is_not(
    good: Path, tmp_path: Path
) -> None:
    with pytest.raises(WeightsError, match=r"resnet18\.safetensors do not fit mobilenetv2_100"):
        check_weights(found(good, "mobilenetv2_100"), (8,))
    with pytest.raises(WeightsError, match=r"resnet18\.safetensors do not fit resnet50"):
        check_weights(found(good, "resnet50"), (8,))
    path = tmp_path / "headless.safetensors"
    save_file({key: tensor for key, tensor in load_file(good).items() if not key.startswith("fc.")}, path)
    check_weights(found(path), (8, 16))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"12345678",
        struct.pack("<Q", 1 << 60) + b"{}",
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 4) + b"\xff\xfe\xfd\xfc",
        struct.pack("<Q", 50_000) + b"[" * 50_000,
        *(
            struct.pack("<Q", len(header)) + header + b"\0" * 64
            for header in (
                json.dumps({"a": entry}).encode()
                for entry in (
                    {},
                    3,
                    {"dtype": "F32", "shape": [4], "data_offsets": [0, 160]},
                    {"dtype": "F32", "shape": [4], "data_offsets": [8, 0]},
                    {"dtype": "F32", "shape": [5], "data_offsets": [0, 16]},
                    {"dtype": "F32", "shape": ["4"], "data_offsets": [0, 16]},
                    {"dtype": "F32", "shape": [-4], "data_offsets": [0, 16]},
                    {"dtype": "F32", "shape": [4], "data_offsets": [0]},
                    {"dtype": "F32", "shape": [4], "data_offsets": ["0", "16"]},
                )
            )
        ),
    ],
    ids=lambda content: content[8:60],
)
def test_what_is_no_weights_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.safetensors"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"broken\.safetensors cannot be read as safetensors: "):
        check_weights(found(path), (8,))


def test_a_file_that_is_cut_short_is_refused(good: Path, tmp_path: Path) -> None:
    path = tmp_path / "short.safetensors"
    path.write_bytes(good.read_bytes()[:-1000])
    with pytest.raises(WeightsError, match=r"the end of tensor .* is missing"):
        check_weights(found(path), (8,))


@pytest.fixture
def silent_server() -> Iterator[str]:
    """Takes connections and never answers."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


def test_a_hub_that_does_not_answer_is_waited_for_no_longer_than_five_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []

    class Silent(threading.Thread):
        def start(self) -> None:
            pass

        def join(self, timeout: float | None = None) -> None:
            assert timeout is not None
            waited.append(timeout)

    monkeypatch.setattr(weights_module, "threading", SimpleNamespace(Thread=Silent))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: None)
    with pytest.raises(WeightsError, match=r"\(no answer within [1-5] s\)"):
        resolve_weights("resnet18", "pretrained", 0, download=True)
    assert len(waited) == 1 and 0 < waited[0] <= 5


def test_a_hub_out_of_reach_is_told_soon_and_once(
    monkeypatch: pytest.MonkeyPatch, silent_server: str, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(weights_module, "_ANSWER_SECONDS", 0.2)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: None)
    downloads: list[str] = []
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda *named, **_: downloads.append(str(named)))
    for address, reason in (
        (silent_server, "timed out|no answer within"),
        ("http://127.0.0.1:9", "Connection refused"),
    ):
        monkeypatch.setattr(
            "huggingface_hub.hf_hub_url", lambda repository, file, at=address: f"{at}/{repository}/{file}"
        )
        with pytest.raises(WeightsError, match=rf"resnet18 cannot be had from \S+/resnet18\.a1_in1k \(({reason})"):
            resolve_weights("resnet18", "pretrained", 0, download=True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsError, match="HF_HUB_OFFLINE says"):
        resolve_weights("resnet18", "pretrained", 0, download=True)
    assert not downloads and capfd.readouterr() == ("", "")
