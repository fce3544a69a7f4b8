"""What a job comes to: equal trainings merged, keys made of content, what is missing named, all without Ray."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from fod_bench.cli.plan_view import print_summary
from fod_bench.errors import DatasetError, JobError
from fod_bench.features.request import FeatureRequest
from fod_bench.job import load_job
from fod_bench.plan import Plan, Summary, TrialJob, make_plan, summarize
from fod_bench.plan.timing import EXTRACTION_SECONDS, STARTUP_SECONDS
from fod_bench.records.names import record_name
from fod_bench.records.record import Record, RunInfo
from fod_bench.store import open_store
from fod_bench.text import format_seconds
from tests.helpers.commands import DRAWN, TINY
from tests.helpers.dataset_builders import folder_category, image


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder, and no cache of digests but its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def plan_of(settings: dict[str, Any] | None = None, **keys: Any) -> Plan:
    content = {"name": "tiny", "datasets": {"drawn": DRAWN}} | keys | {"settings": TINY | (settings or {})}
    Path("job.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return make_plan(load_job("job.yaml"), download=False)


def summary_of(plan: Plan) -> Summary:
    return summarize(plan, open_store("results/store"))


def own(root: str, **keys: Any) -> dict[str, Any]:
    """The data sets of a job on own images."""
    return {"own": {"layout": "folder", "root": root} | keys}


def test_rows_that_differ_in_scoring_only_share_a_training() -> None:
    variants = {
        "FOD": {},
        "Rec": {"scoring": "rec"},
        "Fine": {"score_levels": [8]},
        "No entropy": {"entropy": False},
        "Weightless": {"lambda2": 0},
        "Patch": {"views": "patch"},
        "Patch, other weight": {"views": "patch", "lambda1": 1.5},
    }
    plan = plan_of(variants=variants, seeds=[1, 2])
    assert len(plan.run.cells) == 14 and len(plan.trials) == 6
    shared = [trial.rows for trial in plan.trials.values() if trial.seed == 1]
    assert shared == [["FOD", "Rec", "Fine"], ["No entropy", "Weightless"], ["Patch", "Patch, other weight"]]
    assert {cell.key for cell in plan.run.cells} == set(plan.trials)
    scores = {cell.row: cell.score for cell in plan.run.cells}
    assert (scores["FOD"], scores["Rec"], scores["Fine"]) == ("rec_div@8+16", "rec@8+16", "rec_div@8")
    assert len(plan.run.features) == 1 and len(plan.run.references) == 1


def only_features(plan: Plan) -> FeatureRequest:
    (request,) = {one.key: one for trial in plan.trials.values() if trial.wanted for one in trial.wanted.sets}.values()
    return request


def test_keys_follow_the_content_and_not_the_place(folder: Path) -> None:
    folder_category(folder / "here")
    shutil.copytree(folder / "here", folder / "there")
    here, there = plan_of(datasets=own("here")), plan_of(datasets={"moved": own("there")["own"]})
    assert list(here.trials) == list(there.trials)
    image(folder / "there/nut/train/good/000.png", value=200)
    assert not here.trials.keys() & plan_of(datasets=own("there")).trials.keys()


@pytest.mark.parametrize("there", [True, False])
def test_how_images_become_squares_depends_on_the_layout_and_on_the_row(folder: Path, there: bool) -> None:
    if there:
        folder_category(folder / "here", "03")
        (folder / "here/03/train/good").rename(folder / "here/03/train/ok")
        (folder / "here/03/test/good").rename(folder / "here/03/test/ok")
        for mask in (folder / "here/03/ground_truth").rglob("*_mask.png"):
            mask.rename(mask.with_name(mask.name.replace("_mask", "")))
    variants = {
        "Auto": {},
        "Stretch": {"resize": "stretch"},
        "Crop": {"resize": "crop"},
        "Crop of more": {"resize": "crop", "resize_size": 96},
    }
    cropped = plan_of(variants=variants, datasets={"own": {"layout": "btad", "root": "here", "categories": ["03"]}})
    assert [trial.rows for trial in cropped.trials.values()] == [["Auto", "Crop"], ["Stretch"], ["Crop of more"]]
    drawn = plan_of(variants=variants)
    assert [trial.rows for trial in drawn.trials.values()] == [["Auto", "Stretch"], ["Crop"], ["Crop of more"]]
    for plan, known in ((cropped, there), (drawn, True)):
        requests = {one.key: one for trial in plan.trials.values() if trial.wanted for one in trial.wanted.sets}
        assert summary_of(plan).feature_sets == 3 and len(requests) == (3 if known else 0)
        assert {request.resize.shorter_side for request in requests.values()} == ({None, 64, 96} if known else set())


def test_data_are_found_by_a_worker_in_another_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder_category(folder / "here")
    request = only_features(plan_of(datasets=own("here")))
    (folder / "elsewhere").mkdir()
    monkeypatch.chdir(folder / "elsewhere")
    assert request.category.read_image(request.category.samples[0]).size == (12, 10)


def test_weights_are_told_apart_by_their_content(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fod_bench.plan.resolve.check_weights", lambda *_: None)  # these files are no weights
    (folder / "one.safetensors").write_bytes(b"some weights")
    (folder / "two.safetensors").write_bytes(b"some weights")
    (folder / "three.safetensors").write_bytes(b"other weights")
    one, two, three = (plan_of({"weights": f"{name}.safetensors"}) for name in ("one", "two", "three"))
    assert list(one.trials) == list(two.trials) != list(three.trials)
    request = only_features(one)
    monkeypatch.chdir("/")
    assert request.weights.path is not None and request.weights.path.is_file()


def test_what_is_missing_is_named_and_counted_as_far_as_it_is_known(folder: Path) -> None:
    folder_category(folder / "here")
    plan = plan_of(
        datasets=own("here") | {"mvtec": {"layout": "mvtec", "root": "no/mvtec"}, "gone": own("nowhere")["own"]},
        seeds=[1, 2],
    )
    summary = summary_of(plan)
    assert (summary.cells, summary.trainings, summary.trainings_blocked, summary.categories) == (32, 32, 30, 16)
    assert summary.feature_sets == 16 and summary.pictures_to_extract == 8 + 3629 + 1725, "with the published counts"
    assert summary.steps_left == 2 * 2 * (3 + 3629), "MVTec's images are counted as published"
    mvtec, gone = summary.problems
    assert mvtec.startswith("datasets.mvtec: there is no folder no/mvtec;") and "--set datasets.mvtec.root=" in mvtec
    assert gone.startswith("datasets.gone: there is no folder nowhere, so its categories cannot be counted")
    assert all(cell.key is None for cell in plan.run.cells if cell.dataset == "mvtec")
    assert not (folder / "results").exists(), "planning writes nothing"


def test_a_category_that_cannot_be_used_is_named_beside_the_others(folder: Path) -> None:
    folder_category(folder / "here")
    (folder_category(folder / "here", "bolt") / "ground_truth/dent/000_mask.png").unlink()
    summary = summary_of(plan_of(datasets=own("here")))
    assert (summary.trainings, summary.trainings_blocked) == (2, 1)
    (problem,) = summary.problems
    assert problem.startswith("own/bolt: ") and "dent/000.png" in problem and "mask" in problem


def test_own_folders_are_told_before_anything_runs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, value in (("OK", 60), ("NG", 120)):
        for index in range(5):
            image(folder / f"bolt/{name}/{index}.png", value=value + index)
    image(folder / "bolt/other/0.png")
    (folder / "bolt/NG/5.heic").write_bytes(b"?")
    plan = plan_of(datasets=own("bolt", good="OK", bad=["NG"]))
    summary = summary_of(plan)
    assert summary.data == [
        "own/bolt: 4 train, 1 good and 5 defective test images without masks; "
        "good: OK, divided by name into train and test; bad: NG",
        "own/bolt: 1 file is not read: NG/5.heic",
        "own/bolt: 1 folder is not read: other",
    ]
    (trial,) = plan.trials.values()
    assert trial.counts is not None and trial.counts.test_unmasked == 5
    (folder / "several/notes").mkdir(parents=True)
    shutil.copytree(folder / "bolt", folder / "several/bolt")
    (folder / "several" / os.fsdecode(b"\xe4") / "OK").mkdir(parents=True)
    several = summary_of(plan_of(datasets=own("several", good="OK", bad=["NG"])))
    assert several.data[0] == "own: 1 folder is not read: notes" and len(several.data) == 4
    (no_text,) = several.problems
    assert no_text.startswith("own/\\udce4: the name of folder") and several.trainings_blocked == 1
    print_summary(summary)
    assert "5 defective test images without masks" in " ".join(capsys.readouterr().out.split())
    keys = {trial.key}
    keys |= set(plan_of(datasets=own("bolt", good="OK", bad=["NG"], train_share=0.5)).trials)
    keys |= set(plan_of(datasets=own("bolt", good="NG", bad=["OK"])).trials)
    assert len(keys) == 3
    (typo,) = summary_of(plan_of(datasets=own("bolt", good="OK", bad=["NGG"]))).problems
    assert typo.startswith("own/bolt: bad: no folder 'NGG' in") and "did you mean 'NG'?" in typo


def test_a_job_says_how_large_an_image_may_be(folder: Path) -> None:
    folder_category(folder / "parts")
    image(folder / "parts/nut/train/good/000.png", size=(100, 80), value=7)
    for most, read in ((7_999, False), (8_000, True)):
        plan = plan_of(datasets=own("parts", max_pixels=most))
        (trial,) = plan.trials.values()
        assert trial.wanted is not None
        category = trial.wanted.truth.category
        if read:
            assert category.read_image(category.train[0]).size == (100, 80)
        else:
            with pytest.raises(DatasetError, match=r"100×80 pixels, more than .*raise `max_pixels` of its data set"):
                category.read_image(category.train[0])
    for wrong, expected in ((0, "greater than or equal to 1"), ("many", "a whole number, not the text")):
        with pytest.raises(JobError, match=rf"datasets.own.max_pixels: .*{expected}"):
            plan_of(datasets=own("parts", max_pixels=wrong))


def test_hundreds_of_cells_are_planned_and_counted() -> None:
    grid = {"lambda1": [0.1 * step for step in range(1, 11)], "lambda2": [0.1 * step for step in range(1, 9)]}
    everything = {"drawn": DRAWN | {"categories": "all"}}
    summary = summary_of(plan_of(datasets=everything, grid=grid, seeds=[1, 2]))
    assert summary.cells == summary.trainings == 960 and summary.feature_sets == 6


def test_measurements_are_counted_apart_from_trainings() -> None:
    plan = plan_of(
        variants={
            "FOD": {},
            "Cost": {"measure": "cost", "epochs": 7},
            "Cost of Patch": {"measure": "cost", "views": "patch"},
        }
    )
    summary = summary_of(plan)
    assert (summary.cells, summary.trainings, summary.measurements, summary.measurements_recorded) == (3, 1, 2, 0)
    assert (summary.trainings_recorded, summary.trainings_blocked, summary.feature_sets) == (0, 0, 1)
    alone = summary_of(plan_of(variants={"FOD": {}}))
    assert (summary.steps_left, summary.petaflop_left) == (alone.steps_left, alone.petaflop_left) != (0, 0)
    (measured,) = (trial for trial in plan.trials.values() if trial.rows == ["Cost"])
    trial = measured.trial(checkpoint_seconds=1)
    assert trial.measures_cost and "epochs" not in trial.setting and trial.reference is not None


def test_the_time_that_is_left_follows_from_what_recorded_trainings_took(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Equal trainings: the two that are left take twice as long as one took, on a core or on a GPU."""
    plan = plan_of(seeds=[1, 2, 3, 4, 5])
    store = open_store("results/store")
    took = {"cpu (x86_64)": [(100.0, 20.0)], "NVIDIA H200": [(4.0, 1.0), (8.0, 2.0)]}
    trials = iter(plan.trials.values())
    for device, times in took.items():
        for train, evaluate in times:
            record = recorded(next(trials), device, train, evaluate, threads=2)
            store.put(record_name(record.key), record.model_dump_json().encode())
    monkeypatch.setattr("fod_bench.plan.timing.cores", lambda: 8)
    core, gpu = summarize(plan, store).time_left
    assert (core.device, gpu.device) == ("CPU core", "NVIDIA H200")
    extraction = EXTRACTION_SECONDS * (64 / 256) ** 2 * summarize(plan, store).pictures_to_extract
    assert core.hours * 3600 == pytest.approx(2 * 120 * 2 + extraction), "of one core, and two were at work"
    assert core.workers == 2 and core.seconds == pytest.approx(STARTUP_SECONDS + core.hours * 3600 / 2)
    median = 2 / (1 / 5 + 1 / 10)  # of speeds
    assert gpu.hours * 3600 == pytest.approx(2 * median + extraction)
    assert gpu.basis == "measured by 2 recorded trainings of this method and size"
    print_summary(summarize(plan, store))
    said = " ".join(capsys.readouterr().out.split())
    assert "about 4 min on 2 cores (measured by 1" in said and "on one worker on NVIDIA H200 (measured by 2" in said


def test_every_record_of_the_store_that_fits_counts_whichever_job_made_it() -> None:
    """Thirty trainings of another job; those of another size tell nothing of this one."""
    store = open_store("results/store")
    other = plan_of(name="other", seeds=list(range(100, 130)))
    for trial in other.trials.values():
        made = recorded(trial, "cpu", 50.0, 10.0, threads=1)
        store.put(record_name(made.key), made.model_dump_json().encode())
    (core,) = summarize(plan_of(seeds=[1]), store).time_left
    assert core.basis == "measured by 30 recorded trainings of this method and size"
    assert core.seconds == pytest.approx(STARTUP_SECONDS + 60 + EXTRACTION_SECONDS / 16 * 14)
    (twice,) = summarize(plan_of({"epochs": 4}, seeds=[1]), store).time_left
    assert twice.basis == core.basis and twice.hours > 1.8 * core.hours
    large = summarize(plan_of({"image_size": 256, "d_model": {8: 256, 16: 512}}, seeds=[1]), store).time_left[0]
    assert large.basis == "60 GFLOP/s per core assumed; no record of such a size tells yet"
    both = summarize(plan_of(seeds=[1], variants={"Small": {}, "Large": {"image_size": 256}}), store).time_left[0]
    assert both.basis.endswith("of this method and size; for 1 of 2 trainings 60 GFLOP/s per core assumed")


def test_a_tiny_job_is_not_said_to_take_a_second(capsys: pytest.CaptureFixture[str]) -> None:
    """Ray and torch have to start, whatever there is to do; and nothing left takes no time."""
    plan = plan_of(seeds=[1])
    (core,) = summary_of(plan).time_left
    assert core.workers == 1 and core.seconds > 15
    store = open_store("results/store")
    made = recorded(next(iter(plan.trials.values())), "cpu", 1.0, 1.0, threads=1)
    store.put(record_name(made.key), made.model_dump_json().encode())
    done = summarize(plan, store)
    assert (done.time_left, done.pictures_to_extract) == ([], 0)
    print_summary(done)
    assert "about" not in capsys.readouterr().out


def test_rows_and_seeds_are_counted_without_the_data(capsys: pytest.CaptureFixture[str]) -> None:
    summary = summary_of(plan_of(datasets=own("nowhere"), seeds=[1, 2, 3], variants={"A": {}, "B": {"heads": 1}}))
    assert (summary.rows, summary.seeds, summary.categories, summary.cells) == (2, 3, 0, 0)
    print_summary(summary)
    assert "2 rows × 0 categories × 3 seeds" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (20, "20 s"),
        (600, "10 min"),
        (7200, "2.0 h"),
        (9 * 86400, "9.0 days"),
        (215 * 86400, "215 days"),
        (2.5 * 365.25 * 86400, "2.5 years"),
    ],
)
def test_times_are_in_units_that_a_person_reads(seconds: float, said: str) -> None:
    assert format_seconds(seconds) == said


def test_a_plan_has_no_unit_that_a_person_cannot_read(capsys: pytest.CaptureFixture[str]) -> None:
    large = plan_of({"image_size": 256, "d_model": {8: 256, 16: 512}, "epochs": 40_000}, seeds=list(range(150)))
    assert summary_of(large).petaflop_left > 1000
    for plan in (large, plan_of()):
        print_summary(summary_of(plan))
        said = capsys.readouterr().out
        assert re.search(r"about \d[\d.]* (s|min|h|days|years) on \d+ cores?", said)
        assert not re.search(r"[TPE]FLOP|\d\d{4,}|\de[+-]\d|\b(nan|inf)\b", said.partition("left to do")[2]), said
        assert set(re.findall(r"\S+ \S*FLOP\S*", said)) <= {"(60 GFLOP/s"}, (
            "a speed that is assumed, as processors are rated"
        )


def test_no_path_is_cut_in_a_pipe(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    place = Path("a folder with [brackets] and a name/that is longer than any terminal is wide/" * 3).absolute()
    print_summary(summarize(plan_of(), open_store(str(place))))
    lines = capsys.readouterr().out.splitlines()
    assert str(place) in lines[1] and not any(line.endswith(" ") for line in lines)


def recorded(job: TrialJob, device: str, train: float, evaluate: float, threads: int) -> Record:
    """What a training of `job` may have left."""
    assert job.counts is not None
    run = {"started": "2026-11-25T00:00:00Z", "finished": "2026-11-25T00:00:00Z", "train_seconds": train}
    run |= {"evaluate_seconds": evaluate, "seconds_per_step": 0.1, "device": device, "threads": threads}
    return Record(
        **job.trial(1.0).training(),
        counts=job.counts,
        primary_score="rec_div@8+16",
        run=RunInfo(**run, host="here", versions={}),
    )


def test_a_plan_tells_how_much_it_will_keep(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "store"))
    sizes = {}
    for keep in ("selected", "last", "none"):
        plan = plan_of(keep_scores=keep)
        (trial,) = plan.trials.values()
        assert trial.counts is not None
        work = trial.settings.work(trial.counts)
        sizes[keep] = summarize(plan, store).bytes_left - 3 * work.weights
        assert work.weights > 0 and sizes[keep] == {"selected": 3, "last": 1, "none": 0}[keep] * work.scores
    assert sizes["selected"] > sizes["last"] > sizes["none"] == 0
