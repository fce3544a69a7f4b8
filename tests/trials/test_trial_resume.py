"""A trial that is stopped, killed or finds a checkpoint it cannot use ends with the same record to the bit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fod_bench.records.record import Record
from fod_bench.store import Store, open_store
from fod_bench.store.tensors import load_tensors, save_tensors
from fod_bench.trials.trial import Interrupted
from tests.helpers.trial_builders import EPOCHS, STEPS, Killed, Watcher, names, run, trial, weights_name


def checkpoint(store: Store) -> str:
    """Name of the newest checkpoint."""
    return [info.name for info in store.list("trials/a1/checkpoints/")][-1]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "store"))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Record:
    return run(open_store(str(tmp_path_factory.mktemp("undisturbed"))))


class TestResume:
    @pytest.mark.parametrize("after", [1, 2, 3, 4, 6, 11, 12])
    def test_stopped_and_continued_is_the_same_to_the_bit(self, store: Store, undisturbed: Record, after: int) -> None:
        with pytest.raises(Interrupted):
            run(store, watcher=Watcher(after))
        assert names(store) == ["checkpoints/*-000001.safetensors"]
        watcher = Watcher()
        record = run(open_store(store.uri), watcher=watcher)
        assert record.result_digest() == undisturbed.result_digest()
        assert record.run.resumed_after == [(after - 1) // STEPS]
        assert watcher.steps == EPOCHS * STEPS - after
        assert not list(store.list("trials/a1/checkpoints/")) and not list(store.list("claims/"))

    @pytest.mark.parametrize("checkpoints", [True, False], ids=["after every step", "none"])
    @pytest.mark.parametrize("after", [1, 5, 12])
    def test_killed_and_run_again_is_the_same_to_the_bit(
        self, store: Store, undisturbed: Record, after: int, checkpoints: bool
    ) -> None:
        asked = trial(0.0 if checkpoints else 1e9)
        with pytest.raises(Killed):
            run(store, asked, watcher=Watcher(after, "kill"))
        watcher = Watcher()
        record = run(open_store(store.uri), asked, watcher=watcher)
        assert record.result_digest() == undisturbed.result_digest()
        assert watcher.steps == EPOCHS * STEPS - (after - 1 if checkpoints else 0)

    @pytest.mark.parametrize(
        "changes",
        [
            {"views": "patch"},
            {"views": "intra"},
            {"zero_gradient_step": True, "evaluate_every": 2},
            {"optimization": "direct"},
        ],
        ids=["patch", "intra", "zero gradient", "direct"],
    )
    def test_every_kind_of_training_survives_many_interruptions(
        self, store: Store, tmp_path: Path, changes: dict[str, Any]
    ) -> None:
        expected = run(open_store(str(tmp_path / "other")), trial(**changes))
        interruptions = 0
        while True:
            try:
                record = run(open_store(store.uri), trial(**changes), watcher=Watcher(after=2))
                break
            except Interrupted:
                interruptions += 1
        assert interruptions == EPOCHS * STEPS // 2
        assert record.result_digest() == expected.result_digest()
        assert record.run.resumed_after == [0, 1, 1, 2, 3, 3]

    def test_a_process_killed_by_the_system(self, store: Store, undisturbed: Record) -> None:
        script = """
import os, signal, sys
from tests.helpers.trial_builders import Watcher, claim, run_trial, trial, trial_data
from fod_bench.store import open_store
class Deadly(Watcher):
    def should_stop(self):
        if self.steps == 8:
            os.kill(os.getpid(), signal.SIGKILL)
        return False
run_trial(trial(0.0), trial_data(), claim(open_store(sys.argv[1])), Deadly())
"""
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [sys.executable, "-c", script, store.uri], env=environment, capture_output=True, text=True
        )
        assert done.returncode == -signal.SIGKILL, done.stderr
        watcher = Watcher()
        assert run(store, watcher=watcher).result_digest() == undisturbed.result_digest()
        assert watcher.steps == EPOCHS * STEPS - 7

    def test_selected_weights_survive_an_interruption(self, store: Store, undisturbed: Record, tmp_path: Path) -> None:
        """The best epoch lies before the stop: its weights are in the checkpoint alone."""
        whole = open_store(str(tmp_path / "whole"))
        run(whole)
        with pytest.raises(Interrupted):
            run(store, watcher=Watcher(11))
        run(store)
        for part in ("best_image", "best_pixel", "last"):
            assert store.get(weights_name(store, part)) == whole.get(weights_name(whole, part))


class TestCheckpoint:
    def test_two_are_kept_and_the_older_takes_the_place_of_a_damaged_one(
        self, store: Store, undisturbed: Record, caplog: pytest.LogCaptureFixture
    ) -> None:
        with pytest.raises(Killed):
            run(store, trial(0.0), watcher=Watcher(8, "kill"))
        older, newest = (info.name for info in store.list("trials/a1/checkpoints/"))
        Path(store.location(newest)).write_bytes(b"half")
        watcher = Watcher()
        with caplog.at_level("WARNING", logger="fod_bench"):
            record = run(store, watcher=watcher)
        assert newest in caplog.text and older not in caplog.text
        assert record.result_digest() == undisturbed.result_digest()
        assert watcher.steps == EPOCHS * STEPS - 6, "the newest is of step 7, the older of step 6"

    def interrupted(self, store: Store) -> None:
        with pytest.raises(Interrupted):
            run(store, watcher=Watcher(7))

    def starts_anew(self, store: Store, undisturbed: Record, caplog: pytest.LogCaptureFixture) -> None:
        name, watcher = checkpoint(store), Watcher()
        with caplog.at_level("WARNING", logger="fod_bench"):
            record = run(store, watcher=watcher)
        assert watcher.steps == EPOCHS * STEPS and record.run.resumed_after == []
        assert record.result_digest() == undisturbed.result_digest()
        assert store.location(name) in caplog.text
        assert not store.exists(name)

    def test_damaged_bytes(self, store: Store, undisturbed: Record, caplog: pytest.LogCaptureFixture) -> None:
        self.interrupted(store)
        path = Path(store.location(checkpoint(store)))
        content = bytearray(path.read_bytes())
        content[-5] ^= 1
        path.write_bytes(content)
        self.starts_anew(store, undisturbed, caplog)

    def test_cut_short(self, store: Store, undisturbed: Record, caplog: pytest.LogCaptureFixture) -> None:
        self.interrupted(store)
        path = Path(store.location(checkpoint(store)))
        path.write_bytes(path.read_bytes()[:1000])
        self.starts_anew(store, undisturbed, caplog)

    @pytest.mark.parametrize(
        "changes", [{"d_model": {"8": 16, "16": 16}}, {"layers": 2}, {"views": "inter"}, {"levels": [8]}]
    )
    def test_of_other_networks(
        self, store: Store, undisturbed: Record, caplog: pytest.LogCaptureFixture, changes: dict[str, Any]
    ) -> None:
        with pytest.raises(Interrupted):
            run(store, trial(**changes), watcher=Watcher(7))
        self.starts_anew(store, undisturbed, caplog)

    @pytest.mark.parametrize("fault", ["progress", "epoch", "results", "method", "shape", "deep", "beyond", "kept"])
    def test_of_another_form(
        self, store: Store, undisturbed: Record, caplog: pytest.LogCaptureFixture, fault: str
    ) -> None:
        """Whole by its checksum, but written by other code."""
        self.interrupted(store)
        arrays, about = load_tensors(store, checkpoint(store))
        if fault == "progress":
            about = {}
        elif fault == "epoch":
            about["progress"] = about["progress"].replace('"epoch": 2, "step"', '"epochs": 2, "step"')
        elif fault == "results":
            about["progress"] = about["progress"].replace('"losses"', '"loss"')
        elif fault == "deep":
            about["progress"] = "[" * 100_000
        elif fault == "beyond":
            about["progress"] = about["progress"].replace('"epoch": 2, "step"', '"epoch": 99, "step"')
        elif fault == "kept":
            arrays["../../x/8/embed.weight"] = arrays["method/8/embed.weight"]
        elif fault == "method":
            arrays = {name: array for name, array in arrays.items() if not name.startswith("method/")}
        else:
            arrays["method/8/embed.weight/exp_avg"] = arrays["method/8/embed.weight/exp_avg"][:1]
        save_tensors(store, checkpoint(store), arrays, about)
        self.starts_anew(store, undisturbed, caplog)
