"""References in trials, plans and workers: every kind trains and resumes, and what cannot be made stops nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from fod_bench.cluster.worker import Worker
from fod_bench.errors import JobError
from fod_bench.job import load_job
from fod_bench.methods.fod.cost import forward_flops
from fod_bench.methods.fod.references.base import ChosenReference, FixedReference
from fod_bench.methods.fod.references.lookup import Lookup
from fod_bench.methods.fod.references.maker import complete
from fod_bench.methods.fod.references.specs import reference_spec
from fod_bench.methods.fod.train import LevelTrainer
from fod_bench.plan import Plan, make_plan
from fod_bench.records.failures import Failure
from fod_bench.records.names import record_name
from fod_bench.records.record import Record
from fod_bench.runs.messages import Attempt, Done, Prepared, SetTask
from fod_bench.store import Store, open_store
from tests.helpers.commands import DRAWN, TINY
from tests.helpers.trial_builders import (
    CPU,
    EPOCHS,
    STEPS,
    Killed,
    Watcher,
    curves,
    method,
    run,
    score_maps,
    trial,
    trial_data,
)

KINDS: list[Any] = [
    "mean",
    "nearest",
    {"kind": "coreset", "per_position": 2},
    "prototype",
    {"kind": "codebook", "codes": 9},
]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "store"))


class TestLookup:
    TRAIN = torch.arange(3 * 4 * 2, dtype=torch.float32).view(3, 4, 2)  # (n, N, C) on a grid of 2×2
    ROWS = np.array([[5, 5, 0, 11], [0, 1, 2, 3], [4, 3, 2, 1]], np.int32).reshape(3, 2, 2)

    def test_of_one_reference_for_all(self) -> None:
        features = np.arange(2 * 2 * 3 * 2, dtype=np.float32).reshape(2, 2, 3, 2)  # three per position
        lookup = Lookup(FixedReference(features), {"kind": "mean"}, CPU, self.TRAIN)
        assert lookup.find(self.TRAIN.view(3, 2, 2, 2)) is None
        for asked in (lookup.of(None), lookup.of(torch.tensor([[2, 0, 1, 1]]))):
            assert asked.shape == (1, 12, 2)
            for y, x, m in np.ndindex(2, 2, 3):  # a position's references stand side by side
                assert asked[0, (y * 2 + x) * 3 + m].tolist() == features[y, x, m].tolist()

    @pytest.mark.parametrize("table", [None, 100 + np.arange(24, dtype=np.float32).reshape(12, 2)])
    def test_of_rows_of_a_table(self, table: np.ndarray | None) -> None:
        lookup = Lookup(ChosenReference(self.ROWS, self.ROWS[:2], table), {"kind": "nearest"}, CPU, self.TRAIN)
        rows = self.TRAIN.reshape(12, 2) if table is None else torch.from_numpy(table)
        found = lookup.of(torch.from_numpy(self.ROWS[[2, 0]]).flatten(1))
        assert found.tolist() == [
            [rows[at].tolist() for at in (4, 3, 2, 1)],
            [rows[at].tolist() for at in (5, 5, 0, 11)],
        ]

    @pytest.mark.parametrize(
        "kind", ["nearest", {"kind": "codebook", "codes": 9}, {"kind": "codebook", "encoder": "linear"}]
    )
    def test_new_images_are_looked_up_as_the_test_images_were(self, kind: Any) -> None:
        """With what the store keeps of the references, the training features being the table of those that have no other."""
        data, spec = trial_data(good=6, defective=5, reference=kind), reference_spec(kind)
        assert data.context.reference is not None
        kept = complete(data.context.reference, lambda: data.train.pooled)
        for level, reference in kept.levels.items():
            lookup = Lookup(reference, spec.model_dump(), CPU)
            found = lookup.find(torch.from_numpy(data.test.pooled[level].copy()))
            assert found is not None and np.array_equal(found.numpy(), data.test.reference_rows[level].reshape(11, -1))


def test_a_image_is_shown_its_own_references(monkeypatch: pytest.MonkeyPatch) -> None:
    """In training by the epoch's order, in scoring one test image after the other."""
    data = trial_data(train=5, good=6, defective=5, reference="nearest")
    shown: list[tuple[torch.Tensor, torch.Tensor]] = []
    step = LevelTrainer.step

    def watched(self: LevelTrainer, features: torch.Tensor, reference: torch.Tensor) -> object:
        if features.shape[1] == 16:
            shown.append((features, reference))
        return step(self, features, reference)

    monkeypatch.setattr(LevelTrainer, "step", watched)
    detector = method(data)
    for number in range(detector.steps_per_epoch):
        detector.step(0, number)
    assert data.context.reference is not None
    level = data.context.reference.levels[8]
    assert isinstance(level, ChosenReference)
    table = data.train.pooled[8].reshape(-1, 6)
    for features, reference in shown:
        for image, known in zip(features, reference, strict=True):
            number = next(n for n in range(5) if np.array_equal(data.train.pooled[8][n].reshape(16, 6), image))
            assert np.array_equal(known, table[level.train[number].ravel()])

    network = detector.trainers[8].network
    shown.clear()
    network.register_forward_pre_hook(lambda module, given: shown.append((given[0], given[1])))
    score_maps(detector, data)
    assert np.array_equal(torch.cat([known for _, known in shown]), table[level.test.reshape(11, 16)])


@pytest.mark.parametrize("spec", KINDS, ids=str)
class TestTrials:
    def test_the_record_names_the_reference_and_what_became_of_it(self, spec: Any, store: Store) -> None:
        data = trial_data(reference=spec)
        record = run(store, trial(reference=reference_spec(spec).model_dump()), data)
        assert record.reference is not None and data.context.reference is not None
        assert record.reference.get("facts", {}) == data.context.reference.facts
        losses = curves(store, record).losses["reconstruction"]
        assert losses[-1] < losses[0]

    def test_killed_and_run_again_is_the_same_to_the_bit(self, spec: Any, store: Store, tmp_path: Path) -> None:
        asked = trial(0.0, reference=reference_spec(spec).model_dump())
        calm = run(open_store(str(tmp_path / "calm")), asked, trial_data(reference=spec))
        with pytest.raises(Killed):
            run(store, asked, trial_data(reference=spec), Watcher(5, "kill"))
        watcher = Watcher()
        record = run(store, asked, trial_data(reference=spec), watcher)
        assert watcher.steps == EPOCHS * STEPS - 4
        assert record.result_digest() == calm.result_digest()


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def make(references: list[Any], *overrides: str, **keys: Any) -> Plan:
        content = {"name": "tiny", "datasets": {"drawn": DRAWN}, "settings": TINY | {"epochs": 1}}
        variants = {f"{number}": {"reference": reference} for number, reference in enumerate(references)}
        Path("job.yaml").write_text(yaml.safe_dump({**content, "variants": variants, **keys}))
        return make_plan(load_job("job.yaml", overrides), download=False)

    return make


class TestPlan:
    def test_every_setting_of_a_reference_is_a_training_and_a_reference_of_its_own(self, plan: Any) -> None:
        references = [*KINDS, {"kind": "coreset"}, "coreset", {"kind": "nearest", "neighbourhood": 3}]
        made = plan(references, seeds=[1, 2])
        assert len(made.run.cells) == 16
        assert len(made.trials) == 12 and len(made.run.references) == 6, "two rows say in other words what another says"
        shown = {trial.reference_key: trial.trial(1.0).reference for trial in made.trials.values()}
        assert {reference["key"] for reference in shown.values()} == set(made.run.references)
        assert {"kind": "nearest", "neighbourhood": 3, "exclude_self": True} in [
            {key: value for key, value in reference.items() if key != "key"} for reference in shown.values()
        ]

    @pytest.mark.parametrize(
        ("reference", "images", "remedy"),
        [
            ("nearest", 1, "`exclude_self: false` would do"),
            ("prototype", 1, "set `per_position` to 1 at most"),
            ({"kind": "coreset", "per_position": 5}, 4, "set `per_position` to 4 at most"),
        ],
    )
    def test_too_few_images_are_refused_before_the_run(
        self, plan: Any, reference: Any, images: int, remedy: str
    ) -> None:
        limited = f"datasets.drawn.limit.train={images}"
        with pytest.raises(JobError) as caught:
            plan(["mean", reference], limited)
        assert remedy in str(caught.value) and str(caught.value).endswith("(row '1', drawn/weave)")
        plan(["mean", reference], limited, settings=TINY | {"views": "intra"})  # nobody looks at it

    def test_more_references_cost_more(self) -> None:
        size = (256, 200, 512, 3)
        for view, dearer in (("patch", False), ("intra", False), ("inter", True), ("full", True)):
            one, two, three = (forward_flops(*size, view, references=references) for references in (1, 2, 3))
            assert (two > one) == dearer and two - one == three - two
        # an inter-image branch with two references per patch: embedding, key, value, S and S·V of 256 more features
        more = 2 * 256 * 200 * 512 + 3 * (2 * 2 * 256 * 512**2 + 2 * 2 * 256 * 256 * 512)
        assert forward_flops(*size, "full", references=2) - forward_flops(*size, "full") == more


class TestWorker:
    def attempt(self, name: str) -> Attempt:
        return Attempt(name, None, 60.0)

    def test_every_kind_is_made_and_trained_with(self, plan: Any, store: Store) -> None:
        trials = list(plan(KINDS).trials.values())
        worker = Worker(store.uri, 1, gpu=False)
        request = trials[0].wanted.sets[0]
        wanted = [trial.settings.reference for trial in trials]
        (prepared,) = worker.prepare([SetTask(request, wanted, self.attempt("a"))])
        assert isinstance(prepared, Prepared) and prepared.made and not prepared.unmade
        names = [info.name for info in store.list("references/")]
        assert sorted(names) == sorted(f"references/{trial.reference_key}.safetensors" for trial in trials)
        (again,) = worker.prepare([SetTask(request, wanted, self.attempt("b"))])
        assert isinstance(again, Prepared) and not again.made
        for number, asked in enumerate(trials):
            (done,) = worker.train([(asked.trial(1e9), self.attempt(f"t{number}"))])
            assert isinstance(done, Done), done
            record = Record.model_validate_json(store.get(record_name(asked.key)))
            assert record.reference is not None and record.reference["kind"] == wanted[number].kind
            facts = record.reference.get("facts", {})
            assert set(facts) == {"coreset": {"radius"}, "codebook": {"codes", "codes_used", "cosine"}}.get(
                wanted[number].kind, set()
            )
            assert all(set(values) == {"8", "16"} for values in facts.values())

    def test_one_that_cannot_be_made_leaves_the_others_alone(
        self, plan: Any, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("fod_bench.methods.fod.references.coreset.available_memory", lambda device: 1000)
        mean, coreset = plan(["mean", "coreset"]).trials.values()
        worker = Worker(store.uri, 1, gpu=False)
        wanted = [coreset.settings.reference, mean.settings.reference]
        (prepared,) = worker.prepare([SetTask(mean.wanted.sets[0], wanted, self.attempt("a"))])
        assert isinstance(prepared, Prepared) and list(prepared.unmade) == [coreset.reference_key]
        (failure,) = prepared.unmade.values()
        assert isinstance(failure, Failure) and "0.0 GiB are there" in failure.reason
        assert isinstance(worker.train([(mean.trial(1e9), self.attempt("b"))])[0], Done)
