"""`fod-bench predict` on images that lie on disk, from stores in a folder and in a bucket."""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from typer.testing import CliRunner, Result

from fod_bench.cli.app import app
from fod_bench.datasets import Resize
from fod_bench.evaluation.maps import ScoreMaps
from fod_bench.predict import Predictor
from fod_bench.records.names import kind_of
from fod_bench.store import open_store
from tests.helpers.finished import Finished
from tests.helpers.s3_servers import Server

CELL = "PatchCore/drawn/weave"


def predict(finished: Finished, *arguments: object, cell: str = CELL, stdin: str = "", store: str = "") -> Result:
    words = ["predict", cell, *map(str, arguments), "--store", store or str(finished.store)]
    return CliRunner().invoke(app, words, input=stdin)


def lines(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def refused(result: Result, says: str, code: int = 2) -> None:
    """One line, no traceback, nothing on standard output."""
    said = result.stderr.strip()
    assert result.exit_code == code and says in said, result.output
    assert "Traceback" not in said and not result.stdout, said


def test_a_folder_is_scored_image_by_image_and_decided_at_the_training_images_quantile(finished: Finished) -> None:
    done = predict(finished, finished.images / "test", "--json")
    assert done.exit_code == 0, done.output
    found = lines(done)
    files = sorted(str(path) for path in (finished.images / "test").rglob("*.png"))
    assert [line["image"] for line in found] == files
    assert "0.995 quantile of 6 training images, which the detector has seen" in done.stderr
    for line in found:
        assert line["anomalous"] == (line["score"] > line["threshold"])
    told = predict(finished, *files)
    assert [line.rpartition(": score")[0] for line in told.stdout.splitlines()] == [
        f"{line['image']}: {'anomalous' if line['anomalous'] else 'normal'}" for line in found
    ]


def test_files_patterns_and_standard_input_name_the_same_images(finished: Finished) -> None:
    good = finished.images / "test" / "good"
    files = sorted(map(str, good.iterdir()))
    expected = lines(predict(finished, *files, "--json"))
    assert lines(predict(finished, good / "*.png", "--json")) == expected
    piped = lines(predict(finished, "-", "--json", "--batch", 1, stdin="\n".join(files) + "\n\n"))
    assert [line["image"] for line in piped] == files
    np.testing.assert_allclose([line["score"] for line in piped], [line["score"] for line in expected], rtol=1e-5)


def test_images_of_any_size_and_kind_are_taken(finished: Finished, tmp_path: Path) -> None:
    image = Image.open(next((finished.images / "test" / "good").iterdir()))
    image.resize((300, 100)).save(tmp_path / "wide.jpg")
    image.convert("L").save(tmp_path / "grey.bmp")
    deep = np.asarray(image.convert("L")).astype(np.uint16) * 257
    Image.fromarray(deep).save(tmp_path / "deep.tiff")
    image.convert("RGBA").save(tmp_path / "clear.png")
    assert len(lines(predict(finished, tmp_path, "--json"))) == 4


def test_an_unreadable_image_is_reported_and_passed_over(finished: Finished, tmp_path: Path) -> None:
    good = next((finished.images / "test" / "good").iterdir())
    shutil.copy(good, tmp_path / "c.png")
    (tmp_path / "a.png").write_bytes(b"no image")
    (tmp_path / "b.png").write_bytes(good.read_bytes()[:200])
    done = predict(finished, tmp_path, "--json")
    assert done.exit_code == 3
    first, second, third = lines(done)
    assert "not an image of a known type" in first["error"] and "b.png" in second["error"] and third["score"] > 0
    assert "2 images could not be read" in done.stderr
    gone = predict(finished, "-", stdin=f"{tmp_path}/gone.png\n{tmp_path}/c.png\n")
    assert gone.exit_code == 3 and "gone.png" in gone.stderr and "c.png: " in gone.stdout


def test_maps_are_written_as_they_are_asked_for(finished: Finished, tmp_path: Path) -> None:
    source = tmp_path / "in" / "sub"
    source.mkdir(parents=True)
    Image.open(next((finished.images / "test" / "good").iterdir())).resize((120, 80)).save(source / "x.png")
    formats = ("--format", "overlay", "--format", "npy", "--format", "tiff")
    done = predict(finished, source.parent, "--maps", tmp_path / "out", *formats, "--json")
    (line,) = lines(done)
    stem = tmp_path / "out" / "sub" / "x"
    assert line["maps"] == [f"{stem}.overlay.png", f"{stem}.npy", f"{stem}.tiff"]
    values = np.load(f"{stem}.npy")
    assert values.shape == (64, 64) and values.dtype == np.float32
    assert Image.open(f"{stem}.overlay.png").size == (120, 80)
    low, high = line["scale"]
    with Image.open(f"{stem}.tiff") as image:
        assert image.mode == "I;16" and f"0 is {low!r} or less" in image.tag_v2[270]  # type: ignore[attr-defined]
        shares = np.asarray(image) / 65535
    np.testing.assert_allclose(shares, np.clip((values - low) / (high - low), 0, 1), atol=1e-4)
    again = predict(finished, source.parent, "--maps", tmp_path / "out", *formats)
    refused(again, f"{stem}.overlay.png is there already; --force replaces it")
    full = predict(finished, source.parent, "--maps", tmp_path / "out", "--format", "npy", "--full-size", "--force")
    assert full.exit_code == 0
    np.testing.assert_allclose(np.load(f"{stem}.npy"), Resize(64).restore(values, 120, 80), rtol=1e-4)


def test_maps_of_images_on_standard_input_do_not_replace_each_other(finished: Finished, tmp_path: Path) -> None:
    image = next((finished.images / "test" / "good").iterdir())
    paths = [tmp_path / folder / "1.png" for folder in ("x", "y")]
    for path in paths:
        path.parent.mkdir()
        shutil.copy(image, path)
    done = predict(finished, "-", "--maps", tmp_path / "out", "--force", stdin="\n".join(map(str, paths)))
    assert done.exit_code == 2 and "give the folder that holds both" in done.stderr, done.output
    assert len(done.stdout.splitlines()) == len(list((tmp_path / "out").iterdir())) == 1


def test_an_image_that_vanishes_before_its_overlay_is_drawn_is_passed_over(
    finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = sorted((finished.images / "test" / "good").iterdir())[:2]
    first, second = (Path(shutil.copy(path, tmp_path)) for path in good)
    scored = Predictor.score

    def vanishing(predictor: Predictor, pixels: NDArray[np.uint8]) -> ScoreMaps:
        first.unlink(missing_ok=True)
        return scored(predictor, pixels)

    monkeypatch.setattr(Predictor, "score", vanishing)
    done = predict(finished, first, second, "--maps", tmp_path / "out", "--json")
    gone, there = lines(done)
    assert done.exit_code == 3 and str(first) in gone["error"] and there["maps"], done.output
    assert "1 image could not be read" in done.stderr


def test_the_quantile_zero_is_the_lowest_score(finished: Finished) -> None:
    good = finished.images / "test" / "good"
    scores = [line["score"] for line in lines(predict(finished, good, "--json"))]
    (found, *_) = lines(predict(finished, good, "--good", good, "--quantile", 0, "--json"))
    assert found["threshold"] == pytest.approx(min(scores), rel=1e-5)


def test_a_wrong_quantile_is_refused_before_any_image_is_scored(
    finished: Finished, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Predictor, "score", lambda *given: pytest.fail("it was scored"))
    good = finished.images / "test" / "good"
    refused(predict(finished, good, "--good", good, "--quantile", 1.5), "a quantile is between 0 and 1")


def test_a_threshold_is_given_or_taken_from_good_images(finished: Finished) -> None:
    test = finished.images / "test"
    scores = [line["score"] for line in lines(predict(finished, test / "good", "--json"))]
    good = predict(finished, test, "--good", test / "good", "--quantile", 1, "--json")
    assert [line["threshold"] for line in lines(good)] == pytest.approx([max(scores)] * len(lines(good)), rel=1e-5)
    assert f"1 quantile of 3 images of {test / 'good'}" in good.stderr
    given = lines(predict(finished, test, "--threshold", 0, "--json"))
    assert all(line["anomalous"] and line["threshold"] == 0 for line in given)


def test_the_default_threshold_is_kept_in_the_store(finished: Finished, tmp_path: Path) -> None:
    """With it the next one needs neither features nor images of the training."""
    store = tmp_path / "store"
    shutil.copytree(finished.store, store)
    image = next((finished.images / "test" / "good").iterdir())
    for kept in store.rglob("normal-*.json"):
        kept.unlink()
    first = lines(predict(finished, image, "--json", store=str(store)))
    opened = open_store(str(store))
    names = [info.name for info in opened.list() if kind_of(info.name) == "normal"]
    assert names
    for info in list(opened.list("features/")):
        opened.delete(info.name)
    assert lines(predict(finished, image, "--json", store=str(store))) == first
    opened.put(names[0], b'{"key": "another"}')
    refused(predict(finished, image, store=str(store)), "Give a threshold, or a folder of good images", code=1)


def test_a_trial_in_a_bucket_scores_as_the_one_in_the_folder(finished: Finished, s3: Callable[[str], Server]) -> None:
    address = s3("moto").address(f"{uuid.uuid4().hex}/store")
    here, there = open_store(str(finished.store)), open_store(address)
    for info in here.list():
        there.put(info.name, here.get(info.name))
    image = next((finished.images / "test" / "good").iterdir())
    assert lines(predict(finished, image, "--json", store=address)) == lines(predict(finished, image, "--json"))


def test_a_measurement_of_cost_does_not_share_a_trials_name(finished: Finished, tmp_path: Path) -> None:
    store = tmp_path / "store"
    shutil.copytree(finished.store, store)
    (plan,) = store.glob("runs/*/plan.json")
    content = json.loads(plan.read_text())
    (other,) = (cell["key"] for cell in content["cells"] if cell["row"] == "FOD")
    content["cells"] += [cell | {"score": "cost", "key": other} for cell in content["cells"]]
    open_store(str(store)).put(plan.relative_to(store).as_posix(), json.dumps(content).encode())
    done = predict(finished, next((finished.images / "test" / "good").iterdir()), store=str(store))
    assert done.exit_code == 0, done.output


BAD: dict[str, tuple[list[str], str]] = {
    "format": (["--maps", "out", "--format", "gif"], "--format: unknown format of a map 'gif'"),
    "no folder for maps": (["--format", "npy"], "name a folder for them by --maps DIR"),
    "two thresholds": (["--threshold", "1", "--quantile", "0.9"], "not both"),
    "no number": (["--threshold", "high"], "Invalid value for '--threshold'"),
    "infinite": (["--threshold", "nan"], "a threshold is a finite number"),
    "quantile": (["--quantile", "1.5"], "a quantile is between 0 and 1"),
    "seed": (["--seed", "9"], "has no seed 9; it was trained with 3407"),
    "run": (["--run", "other"], "no run 'other'"),
    "good": (["--good", "nowhere"], "there is no nowhere"),
    "device": (["--device", "tpu"], "tpu"),
    "weights": (["--weights", "model.safetensors"], "has no weights of a file"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line(case: str, finished: Finished) -> None:
    arguments, says = BAD[case]
    done = predict(finished, finished.images / "test" / "good", *arguments)
    assert done.exit_code == 2 and says in " ".join(done.stderr.replace("│", " ").split()), done.output
    assert "Traceback" not in done.stderr


def test_what_cannot_be_scored_is_told(finished: Finished, tmp_path: Path) -> None:
    image = next((finished.images / "test" / "good").iterdir())
    refused(predict(finished, image, cell="PatchCor/drawn/weave"), "did you mean 'PatchCore/drawn/weave'?")
    refused(predict(finished, tmp_path / "none.png"), "there is no")
    refused(predict(finished, tmp_path), "holds no image")
    refused(predict(finished, image, store=str(tmp_path / "nowhere")), "so no store to read", code=1)
    refused(predict(finished, image, "-"), "goes with no other images")
    twice = tmp_path / "twice"
    twice.mkdir()
    shutil.copy(image, twice / image.name)
    refused(predict(finished, image, twice / image.name, "--maps", tmp_path / "m"), "would both be written to")
    store = tmp_path / "store"
    shutil.copytree(finished.store, store)
    opened = open_store(str(store))
    for info in list(opened.list("trials/")):
        if kind_of(info.name) == "weights":
            opened.delete(info.name)
    refused(predict(finished, image, store=str(store)), "delete its record", code=1)
    for info in list(opened.list("trials/")):
        if kind_of(info.name) == "records":
            opened.delete(info.name)
    refused(predict(finished, image, store=str(store)), "it has no record yet; run job small", code=1)
