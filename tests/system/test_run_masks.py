"""A run over categories with masks, with some and with none: what it says, what it records, what its tables show."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from fod_bench.evaluation.metric import of_side
from tests.helpers.commands import Bench
from tests.helpers.dataset_builders import mask


def images(folder: Path, count: int, defect: bool = False) -> None:
    """Noise, with a bright square where it is a defect."""
    folder.mkdir(parents=True)
    for index in range(count):
        values = np.random.default_rng([count, index, defect]).integers(90, 120, (64, 64, 3), dtype=np.uint8)
        if defect:
            values[:12, :12] = 250
        Image.fromarray(values).save(folder / f"{index}.png")


def square(path: Path) -> None:
    values = Image.open(mask(path, (64, 64)))
    Image.fromarray(np.asarray(values.resize((64, 64))) | np.pad(np.full((12, 12), 255, np.uint8), (0, 52))).save(path)


def test_pixel_metrics_cover_what_has_masks_and_say_what_they_leave_out(bench: Bench) -> None:
    parts = bench.folder / "parts"
    images(parts / "bare/good", 10)
    images(parts / "bare/bad", 3, defect=True)
    for name, masked in (("some", 2), ("full", 3)):
        images(parts / name / "train/good", 4)
        images(parts / name / "test/good", 3)
        images(parts / name / "test/dent", 3, defect=True)
        for index in range(masked):
            square(parts / name / f"ground_truth/dent/{index}.png")
    odd = parts / "odd"
    shutil.copytree(parts / "full", odd)
    (odd / "train/good/0.png").rename(odd / "train/good" / os.fsdecode(b"0\xff.png"))
    inverted = np.full((64, 64), 255, np.uint8)
    inverted[:12, :12] = 0
    Image.fromarray(inverted).save(odd / "ground_truth/dent/0.png")
    Image.fromarray(np.eye(1, 256 * 256, dtype=np.uint8).reshape(256, 256) * 255).save(odd / "ground_truth/dent/1.png")
    Image.open(odd / "test/dent/1.png").resize((256, 256)).save(odd / "test/dent/1.png")
    shutil.copy(odd / "train/good/1.png", odd / "test/good/1.png")
    data = {"parts": {"layout": "folder", "root": "parts", "masks": "optional"}}
    job = bench.job("masks", datasets=data, variants={"FOD": {}, "Other": {"lambda1": 1.0}}, pack=2)
    done = bench.run("run", job)
    for line in (
        "data      parts/bare: 8 train, 2 good and 3 defective test images without masks; good: good, divided by name",
        "data      parts/some: 4 train, 3 good and 3 defective test images, 2 with masks; good: train/good, test/good",
        "data      parts/some: 1 defective test image has no mask and is left out of the pixel metrics: test/dent/2.png",
        "data      parts/full: 4 train, 3 good and 3 defective test images with masks;",
        "data      parts/odd: 1 test image is also trained on: test/good/1.png",
        "data      odd: 1 mask marks most of its image or its whole border, as an inverted one does: ground_truth/dent/0.png",
        "data      odd: 1 defect vanishes at 64×64, no pixel of the mask being left, and counts as normal",
    ):
        assert done.err.count(line) == 1, (line, done.err)
    records = {(record.category, record.setting["lambda1"]): record for record in bench.records().values()}
    assert len(records) == 8
    for (category, _), record in records.items():
        score = record.selected[record.primary_score]
        assert score["image_auroc"][0] is not None and score["image_f1_max"][2] is not None
        assert (score["pixel_auroc"][0] is None) == (score["pixel_aupro"][2] is None) == (category == "bare")
        assert record.counts.test_unmasked == {"bare": 3, "some": 1, "full": 0, "odd": 0}[category]
        assert record.counts.test_vanished == int(category == "odd")
    reason = "data set has no masks: none of the 3 defective test images has one"
    assert records["bare", 0.5].undefined == dict.fromkeys(of_side("pixel"), reason)
    assert records["some", 0.5].undefined == {}
    table = " ".join(done.out.split())
    assert "n/a" in table and "(3/4)" in table and reason in table
    assert "without bare, where it is undefined: data set has no masks" in table
    assert "leaves out 1 defective test image without a mask" in table
    assert "takes 1 defective test image for normal: no pixel of the mask is left at this image size" in table
    told = " ".join(bench.run("report", job, "--explain", "FOD/parts/*").out.split())
    assert f"pixel AUROC n/a: {reason}" in told
    assert "4 train, 3 good and 3 defective test, 1 of them without a mask" in told
    tidy = bench.run("report", job, "--format", "tidy").out
    assert f"bare,pixel_auroc,3407,best,,,,,{reason}," in tidy
    images(parts / "none_at_all/good", 10)
    images(parts / "none_at_all/bad", 3, defect=True)
    alone = bench.job("bare", datasets={"parts": data["parts"] | {"categories": ["bare", "none_at_all"]}})
    again = bench.run("run", alone)
    assert again.err.endswith("1 training: 0 done, 1 reused\n"), "equal images in equal roles are one training"
    assert "data      parts/none_at_all: 8 train" in again.err
    assert "pixel AUROC is not available: data set has no masks, in every category" in " ".join(again.out.split())
