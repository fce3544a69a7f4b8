"""The way back from a job to YAML, its digest, and files and overrides of any content whatever."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import Any

import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fod_bench.errors import JobError, UsageError
from fod_bench.job import Job, dump_job, job_digest, load_job, run_id
from fod_bench.job.settings import setting_keys

SMALL = """\
name: small
datasets:
  mine:
    layout: folder
    root: images
"""

exactly_so = settings(derandomize=True, deadline=None)


def loaded(text: str, *overrides: str) -> Job:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "job.yaml"
        path.write_text(text, encoding="utf-8")
        return load_job(path, overrides)


def test_the_dump_spells_out_every_default_and_loads_back() -> None:
    job = loaded(SMALL + "variants:\n  A: {views: patch}\ngrid: {lambda1: [0, 1e-7]}\nresources: {gpus: 0.5}\n")
    text = dump_job(job)
    for key in ("learning_rate: 0.0001", "store: results/store", "3407", "scoring: auto", "cpus: 1.0", "gpus: 0.5"):
        assert key in text
    again = loaded(text)
    assert again == job and again.rows() == job.rows() and dump_job(again) == text


texts = st.text(alphabet=st.characters(codec="utf-8", exclude_categories=["Cs", "Cc", "Cf", "Zl", "Zp"]), max_size=20)
awkward = st.sampled_from(
    ["no", "01", "1e-4", "~", "${X}", "$${X}", "a: b", "- x", "12:30", "=", "<<", "0x1f", "null", "y"]
)
names = (texts | awkward).filter(lambda name: bool(name) and name == name.strip() and name.isprintable())


@exactly_so
@given(
    description=texts | awkward,
    root=(texts | awkward).filter(lambda root: bool(root) and not root.startswith("~")),
    categories=st.lists(names, min_size=1, max_size=3, unique=True),
    variants=st.dictionaries(
        names, st.sampled_from([{}, {"views": "patch"}, {"d_model": {8: 64}, "heads": 4}]), max_size=3
    ),
    grid=st.sampled_from(
        [
            {},
            {"lambda1": [0.1, 1e-9]},
            {"levels": [[16, 8], [4]], "entropy": [True, False]},
            {"reference": ["mean", {"kind": "prototype", "rescale": False}]},
        ]
    ),
    reference=st.sampled_from(["mean", "nearest", {"kind": "coreset", "projection": "none"}, {"kind": "codebook"}]),
    rate=st.floats(min_value=1e-12, max_value=1e3),
)
def test_any_job_loads_back_from_its_dump(
    description: str,
    root: str,
    categories: list[str],
    variants: dict[str, Any],
    grid: dict[str, Any],
    reference: Any,
    rate: float,
) -> None:
    job = Job.model_validate(
        {
            "name": "h",
            "description": description,
            "datasets": {"d": {"layout": "folder", "root": root, "categories": categories}},
            "settings": {"learning_rate": rate, "reference": reference},
            "variants": variants,
            "grid": grid,
        }
    )
    again = loaded(dump_job(job))
    assert again == job and again.rows() == job.rows() and job_digest(again) == job_digest(job)


keys = st.sampled_from(
    [
        *Job.model_fields,
        *setting_keys(),
        "d",
        "layout",
        "root",
        "categories",
        "limit",
        "synthetic",
        "kind",
        "seed",
    ]
)
scalars = (
    st.none() | st.booleans() | st.integers() | st.floats() | texts | awkward | st.sampled_from(["folder", "synthetic"])
)
anything = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(keys | st.integers(0, 9) | st.booleans(), inner, max_size=4)
    ),
    max_leaves=12,
)


@exactly_so
@given(
    data=st.dictionaries(st.sampled_from(list(Job.model_fields)) | st.integers(0, 9), anything, max_size=6)
    | st.fixed_dictionaries(
        {"name": st.just("x"), "datasets": st.dictionaries(st.just("d"), anything)},
        optional=dict.fromkeys(["settings", "variants", "grid"], anything),
    ),
)
@example(data={"name": "x", "datasets": {"d": {"layout": "synthetic", "synthetic": {"trian": 3}, "limit": 3}}})
def test_whatever_a_file_holds_the_answer_is_a_job_or_a_refusal(data: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "job.yaml"
        path.write_text(yaml.safe_dump(data), encoding="utf-8")
        try:
            load_job(path)
        except JobError as error:
            assert all(line.startswith(str(path)) for line in str(error).split("\n"))


@exactly_so
@given(text=st.text(max_size=30))
@example(text="~0")
@example(text="~nobody-of-that-name/x")
def test_whatever_is_set_the_answer_is_a_job_or_a_refusal(text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "job.yaml"
        path.write_text(SMALL, encoding="utf-8")
        for override in (
            text,
            f"datasets.mine.{text}",
            f"epochs={text}",
            f"datasets={text}",
            f"datasets.mine.root={text}",
        ):
            with contextlib.suppress(UsageError):
                load_job(path, [override])


def test_a_reference_in_a_variant_is_dumped_with_all_its_settings() -> None:
    job = loaded(SMALL + "variants:\n  A: {reference: coreset}\n  B: {}\n")
    assert "projection: 128" in dump_job(job) and loaded(dump_job(job)) == job
    spelled = loaded(SMALL + "variants:\n  A: {reference: {kind: coreset, seed: 0}}\n  B: {}\n")
    assert job_digest(spelled) == job_digest(job)


def test_that_images_are_stretched_is_not_in_the_digest_and_all_else_of_it_is() -> None:
    def digest(layout: str, *overrides: str) -> str:
        return job_digest(loaded(SMALL, f"datasets.mine.layout={layout}", *overrides))

    assert digest("folder") == digest("folder", "resize=stretch") != digest("folder", "resize=crop")
    assert digest("folder", "resize=crop") != digest("folder", "resize=crop", "resize_size=288")
    assert digest("btad") != digest("btad", "resize=stretch")


def test_the_digest_follows_results_only() -> None:
    job = loaded(SMALL)
    same = loaded(SMALL, "name=other", "description=x", "store=elsewhere", "resources.cpus=4", "lease_seconds=5")
    changed = loaded(SMALL, "epochs=2")
    assert job_digest(job) == job_digest(loaded(SMALL, "resources=auto"))
    assert job_digest(job) == job_digest(same) != job_digest(changed)
    assert run_id(job) == f"small-{job_digest(job)}" and len(job_digest(job)) == 8
