"""What a job may hold: every contradiction is refused with its reason before anything runs."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from fod_bench.errors import JobError
from fod_bench.features.offered import DEFAULT_WEIGHTS
from fod_bench.job import BACKBONES, Job, backbone_strides
from fod_bench.methods.fod.settings import FodSettings

FOLDER = {"layout": "folder", "root": "x"}


def job(**keys: Any) -> Job:
    return Job.model_validate({"name": "j", "datasets": {"d": FOLDER}} | keys)


def refused(**keys: Any) -> list[tuple[str, str]]:
    """Path and text of every fault."""
    with pytest.raises(ValidationError) as caught:
        job(**keys)
    return [(".".join(map(str, error["loc"])), error["msg"]) for error in caught.value.errors()]


@pytest.mark.parametrize(
    ("settings", "path", "text"),
    [
        ({"heads": 7}, "settings.heads", "7 heads do not divide d_model 256 of level 8"),
        ({"d_model": {8: 6}, "heads": 1}, "settings.d_model.8", "6 is not a multiple of 4"),
        ({"levels": [32]}, "settings.d_model", "no width for level 32; add e.g. `32: 256`"),
        ({"levels": [3]}, "settings.levels", "has no level of stride 3; it has 2, 4, 8, 16, 32"),
        ({"levels": [8, 16, 8]}, "settings.levels", "8 is given twice"),
        ({"levels": []}, "settings.levels", "must not be empty"),
        ({"image_size": 100}, "settings.image_size", "100 pixels are not a multiple of level 8"),
        ({"image_size": 16}, "settings.image_size", "greater than or equal to 32"),
        ({"image_size": 256.0}, "settings.image_size", "a whole number"),
        ({"resize": "squash"}, "settings.resize", "unknown value 'squash'"),
        ({"resize_size": 288}, "settings.resize_size", "is for `resize: crop`, not `auto`"),
        ({"resize": "stretch", "resize_size": 288}, "settings.resize_size", "not `stretch`"),
        ({"resize": "crop", "resize_size": 224}, "settings.resize_size", "224 pixels are less than image_size 256"),
        ({"epochs": 0}, "settings.epochs", "greater than or equal to 1"),
        ({"epochs": True}, "settings.epochs", "a whole number"),
        ({"lambda1": -0.1}, "settings.lambda1", "greater than or equal to 0"),
        ({"lambda2": float("inf")}, "settings.lambda2", "finite"),
        ({"learning_rate": 0}, "settings.learning_rate", "greater than 0"),
        ({"views": "patch", "scoring": "rec_div"}, "settings.scoring", "`patch` have no correlations, so no `rec_div`"),
        (
            {"views": "intra", "scoring": "rec_div_printed"},
            "settings.scoring",
            "inter-image divergence, which views `intra`",
        ),
        ({"views": "patch", "scoring": "rec_div_printed"}, "settings.scoring", "so no `rec_div_printed`; set `rec`"),
        ({"measure": "cost", "reference": "nearest"}, "settings.reference", "takes mean, coreset or prototype"),
        ({"measure": "cost", "scoring": "rec"}, "settings.scoring", "no scoring rule; leave it out"),
        (
            {"measure": "cost", "score_levels": [8]},
            "settings.score_levels",
            "all trained levels together; leave it out",
        ),
        ({"views": "patch", "scoring": "div"}, "settings.scoring", "set `rec` or leave it out"),
        ({"score_levels": [4]}, "settings.score_levels", "level 4 is not among the trained levels 8, 16"),
        ({"score_levels": "some"}, "settings.score_levels", "should be `all` or a list of levels"),
        ({"score_levels": []}, "settings.score_levels", "must not be empty"),
        ({"weights": "pretraind"}, "settings.weights", "did you mean pretrained?"),
        ({"weights": ""}, "settings.weights", "no path of a file"),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, Any], path: str, text: str) -> None:
    [(found, message), *_] = refused(settings=settings)
    assert found == path and text in message


@pytest.mark.parametrize(
    ("keys", "path", "text"),
    [
        ({"grid": {"lambda3": [1]}}, "grid.lambda3", "did you mean lambda2 or lambda1?"),
        ({"grid": {"lambda1": []}}, "grid.lambda1", "must not be an empty list"),
        ({"grid": {"lambda1": 1}}, "grid.lambda1", "should be a list of values"),
        ({"grid": {"lambda1": [1, "x"]}}, "grid.lambda1.1", "should be a number, not the text 'x'"),
        ({"grid": {"lambda1": [1, 1.0]}}, "grid.lambda1.1", "given twice"),
        ({"grid": {"views": ["full", "path"]}}, "grid.views.1", "did you mean patch?"),
        ({"grid": {"heads": [8, 7]}}, "grid.heads", "7 heads do not divide d_model 256 of level 8 (row 'heads=7')"),
        (
            {"grid": {k: list(range(1, 30)) for k in ("epochs", "layers", "batch_size", "evaluate_every")}},
            "grid",
            "slip",
        ),
        ({"grid": [1]}, "grid", "should be a mapping"),
        ({"grid": {"heads": [4]}, "variants": {"A": {"heads": 2}}}, "grid.heads", "variant 'A' sets `heads` too"),
        ({"variants": {"A": {"views": "patch", "scoring": "div"}}}, "variants.A.scoring", "(row 'A')"),
        ({"variants": {"": {}}}, "variants.", "printable text"),
        ({"variants": {"a\nb": {}}}, "variants.a\nb", "printable text"),
        ({"seeds": [1, 2, 1]}, "seeds", "1 is given twice"),
        ({"seeds": []}, "seeds", "must not be empty"),
        ({"seeds": [-1]}, "seeds.0", "greater than or equal to 0"),
        ({"tables": [16]}, "tables.0", "less than or equal to 15"),
        ({"store": "gs://bucket/x"}, "store", "unknown kind of store 'gs'"),
        ({"store": "s3://bucket/x?endpint=http://host"}, "store", "unknown key 'endpint' in the address"),
        ({"store": "s3://AKIAKEY:secret@bucket/x"}, "store", "keys never stand in an address"),
        ({"store": " "}, "store", "the store's address is empty"),
        ({"name": "No Blanks"}, "name", "lower-case letters"),
        ({"resources": {"cpus": 0}}, "resources.cpus", "greater than 0"),
        ({"resources": {"cpus": "all"}}, "resources.cpus", "should be `auto` or a number, not the text 'all'"),
        ({"resources": {"cpus": True}}, "resources.cpus", "should be a number, not true"),
        ({"resources": "all"}, "resources", "should be `auto` or a mapping of cpus and gpus, not the text 'all'"),
        ({"resources": "auto", "pack": 0}, "pack", "greater than or equal to 1"),
        ({"pack": "all"}, "pack", "should be `auto` or a whole number, not the text 'all'"),
        ({"pack": 1.5}, "pack", "should be a whole number"),
        ({"resources": {"gpus": "all"}}, "resources.gpus", "should be `auto` or a number"),
        ({"resources": {"gpus": 1.5}}, "resources.gpus", "must be a whole number"),
        ({"resources": {"gpus": -1}}, "resources.gpus", "greater than or equal to 0"),
        ({"datasets": {"d": {"layout": "mvtec"}}}, "datasets.d.root", "missing; layout `mvtec` needs the folder"),
        ({"datasets": {"d": {"layout": "synthetic", "root": "x"}}}, "datasets.d.root", "takes no root"),
        ({"datasets": {"d": FOLDER | {"synthetic": {}}}}, "datasets.d.synthetic", "for layout `synthetic` only"),
        ({"datasets": {"d": FOLDER | {"categories": "some"}}}, "datasets.d.categories", "should be `all` or a list"),
        ({"datasets": {"d": FOLDER | {"categories": []}}}, "datasets.d.categories", "must not be empty"),
        ({"datasets": {"d": FOLDER | {"categories": ["a", "a"]}}}, "datasets.d.categories", "'a' is given twice"),
        ({"datasets": {"d": FOLDER | {"limit": {"train": 0}}}}, "datasets.d.limit.train", "greater than or equal to 1"),
    ],
)
def test_jobs_that_cannot_be(keys: dict[str, Any], path: str, text: str) -> None:
    [(found, message), *_] = refused(**keys)
    assert found == path and text in message


def test_contradictions_count_in_rows_only() -> None:
    """No row has the default levels here, so that they do not fit the size is nobody's fault."""
    rows = job(settings={"image_size": 36}, grid={"levels": [[4]], "views": ["patch", "full"]}).rows()
    assert [settings.levels for _, settings in rows] == [(4,), (4,)]


def test_every_contradiction_is_named_once_with_its_rows() -> None:
    variants = {"A": {"heads": 6}, "B": {"image_size": 40}}
    assert refused(settings={"levels": [8]}, variants=variants, grid={"lambda1": [0, 1]}) == [
        ("variants.A.heads", "6 heads do not divide d_model 256 of level 8 (row 'A, lambda1=0' and 1 more)")
    ]
    both = refused(settings={"heads": 6}, variants={"A": {"image_size": 40}})
    assert sorted(path for path, _ in both) == ["settings.heads", "settings.heads", "variants.A.image_size"]


def test_patch_only_is_scored_by_reconstruction_unless_told() -> None:
    assert FodSettings(views="patch").rule == "rec"
    assert FodSettings(views="inter").rule == "rec_div"
    assert FodSettings(views="inter", scoring="rec").rule == "rec"
    rows = dict(job(variants={"P": {"views": "patch"}, "F": {}}, settings={"views": "intra"}).rows())
    assert (rows["P"].rule, rows["F"].rule) == ("rec", "rec_div")


def test_levels_have_one_order_and_widths_lie_over_the_defaults() -> None:
    settings = FodSettings(levels=(16, 4), score_levels=(16,), d_model={4: 32})
    assert settings.levels == (4, 16) and settings.scored_levels == (16,)
    assert settings.widths == {4: 32, 8: 256, 16: 512}
    rows = dict(job(settings={"d_model": {8: 64}}, variants={"V": {"d_model": {16: 128}}}).rows())
    assert rows["V"].d_model == {4: 128, 8: 64, 16: 128}


def test_a_key_without_value_is_left_out() -> None:
    assert job(variants={"A": None}, grid=None, seeds=None) == job(variants={"A": {}})


def test_a_home_folder_is_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    made = job(store="~/store", settings={"weights": "~/b.safetensors"}, datasets={"d": FOLDER | {"root": "~/p"}})
    assert (made.store, made.settings["weights"]) == ("/home/me/store", "/home/me/b.safetensors")
    assert made.datasets["d"].root == "/home/me/p"


def test_known_backbones_are_as_timm_has_them() -> None:
    import timm
    import torch

    for name, strides in BACKBONES.items():
        if DEFAULT_WEIGHTS.get(name.partition(".")[0]) == name.partition(".")[2]:
            assert strides == BACKBONES[name.partition(".")[0]]
            continue
        with torch.device("meta"):
            backbone: Any = timm.create_model(name, features_only=True, pretrained=False)
        levels = backbone.feature_info
        assert dict(zip(levels.reduction(), levels.channels(), strict=True)) == strides == backbone_strides(name)
        if "." not in name:
            assert timm.get_pretrained_cfg(name).hf_hub_id == f"timm/{name}.{DEFAULT_WEIGHTS[name]}"


def test_other_backbones_are_looked_up() -> None:
    assert backbone_strides("resnet34") == {2: 64, 4: 64, 8: 128, 16: 256, 32: 512}
    assert backbone_strides("resnet18.a1_in1k") == BACKBONES["resnet18"]
    with pytest.raises(JobError, match=r"unknown backbone 'wide_resnet5_2'; did you mean wide_resnet50_2"):
        backbone_strides("wide_resnet5_2")
    with pytest.raises(JobError, match=r"did you mean resnet18\.a1_in1k"):
        backbone_strides("resnet18.a1_in1")
    [(path, text)] = refused(settings={"backbone": "vit_tiny_patch16_224"})
    assert path == "settings.levels" and "vit_tiny_patch16_224 has no level of stride 8; it has 16" in text
