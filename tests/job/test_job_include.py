"""Jobs that include other job files: their parts, what overrides reach, what is refused and where, the way back to YAML."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from fod_bench.errors import JobError, UsageError
from fod_bench.job import Job, dump_job, expand, job_digest, load_job, run_id

A = {
    "name": "a",
    "datasets": {"mvtec": {"layout": "mvtec", "root": "m", "categories": ["bottle"]}},
    "variants": {"FOD": {}, "Patch": {"views": "patch"}},
    "seeds": [1, 2],
    "tables": [2],
}
B = {
    "name": "b",
    "datasets": {"btad": {"layout": "btad", "root": "b"}},
    "settings": {"epochs": 7},
    "store": "not/used",
    "tables": [3],
}
ALL = {"name": "both", "include": ["a.yaml", "sub/b.yaml"], "store": "here"}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write("a", A)
    write("sub/b", B)
    write("all", ALL)
    return tmp_path


def write(name: str, content: dict[str, Any] | str) -> None:
    path = Path(f"{name}.yaml")
    path.parent.mkdir(exist_ok=True)
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False))


def refused(*overrides: str, name: str = "all.yaml", kind: type[Exception] = JobError) -> list[str]:
    with pytest.raises(kind) as caught:
        load_job(name, overrides)
    assert type(caught.value) is kind
    return str(caught.value).split("\n")


def test_every_part_keeps_its_own_and_the_outer_job_rules_the_run() -> None:
    job = load_job("all.yaml")
    assert [part.name for part in job.parts()] == ["a", "b"]
    assert (job.name, job.store) == ("both", "here") and job.fed_tables() == [2, 3]
    cells = expand(job).cells
    assert [(cell.part.name, cell.row, cell.category, cell.seed, cell.settings.epochs) for cell in cells] == [
        ("a", "FOD", "bottle", 1, 100),
        ("a", "FOD", "bottle", 2, 100),
        ("a", "Patch", "bottle", 1, 100),
        ("a", "Patch", "bottle", 2, 100),
        *[("b", "FOD", product, 3407, 7) for product in ("01", "02", "03")],
    ]


def test_a_job_with_rows_of_its_own_is_a_part_too() -> None:
    write(
        "own", {"name": "own", "include": ["all.yaml"], "datasets": B["datasets"], "variants": {"Mine": {"heads": 4}}}
    )
    job = load_job("own.yaml")
    assert [part.name for part in job.parts()] == ["own", "a", "b"], "at any depth"
    assert {cell.row for cell in expand(job).cells if cell.part.name == "own"} == {"Mine"}


def test_an_included_file_is_found_beside_the_one_that_names_it() -> None:
    write("sub/inner", {"name": "inner", "include": ["b.yaml", "../a.yaml"]})
    write("outer", {"name": "outer", "include": ["sub/inner.yaml"]})
    assert [part.name for part in load_job("outer.yaml").parts()] == ["b", "a"]


class TestOverrides:
    def test_a_setting_is_for_every_part(self) -> None:
        job = load_job("all.yaml", ["epochs=3", "limit_train=5", "seeds=[9]"])
        assert {cell.settings.epochs for cell in expand(job).cells} == {3}
        assert {cell.seed for cell in expand(job).cells} == {9} and job.seeds == (3407,)
        assert [part.dataset(name).limit.train for part in job.parts() for name in part.datasets] == [5, 5]  # type: ignore[union-attr]

    def test_a_data_set_or_variant_is_found_in_the_parts_that_have_it(self) -> None:
        write("c", A | {"name": "c", "variants": {"FOD": {}}})
        write("all", ALL | {"include": ["a.yaml", "sub/b.yaml", "c.yaml"]})
        job = load_job("all.yaml", ["datasets.mvtec.root=elsewhere", "variants.Patch.layers=2"])
        roots = [spec.root for part in job.parts() for spec in part.datasets.values()]
        assert roots == ["elsewhere", "b", "elsewhere"]
        layers = {(cell.part.name, cell.row, cell.settings.layers) for cell in expand(job).cells}
        assert layers == {("a", "FOD", 3), ("a", "Patch", 2), ("b", "FOD", 3), ("c", "FOD", 3)}

    def test_what_is_the_runs_is_set_in_the_outer_job_only(self) -> None:
        job = load_job("all.yaml", ["name=other", "resources.cpus=2", "store=there"])
        assert (job.name, job.store, job.resources.cpus) == ("other", "there", 2)
        assert [part.name for part in job.parts()] == ["a", "b"] and job.parts()[1].store == "not/used"

    def test_values_set_after_each_other_do_not_run_together(self) -> None:
        job = load_job("all.yaml", ["d_model={8: 64}", "d_model.16=128", "datasets.btad.limit={train: 3}"])
        assert [cell.settings.d_model for cell in expand(job).cells] == [{4: 128, 8: 64, 16: 128}] * 7

    @pytest.mark.parametrize(
        ("override", "text"),
        [
            ("datasets.mvtek.root=x", "unknown name under datasets 'mvtek'; did you mean mvtec?"),
            ("datasets.mvtek={layout: mvtec, root: x}", "unknown name under datasets 'mvtek'"),
            ("variants.Patsch.layers=2", "did you mean Patch?"),
            ("include=[a.yaml]", "files are included by a job file only"),
            ("epochs=0", "settings.epochs: should be greater than or equal to 1"),
            ("heads=3", "3 heads do not divide d_model 256"),
            ("tables=[15]", "no row of this job is called as one of Table 15: mean, nearest"),
        ],
    )
    def test_what_no_part_can_take_is_refused(self, override: str, text: str) -> None:
        lines = refused(override, kind=UsageError)
        assert all(line.startswith(f"--set {override}: ") for line in lines) and text in lines[0]


def test_all_faults_of_all_files_are_told_at_once() -> None:
    write("a", "name: a\ndatasets: {mvtec: {layout: mvtec, root: m, limits: 3}}\nviews: patch\nseeds: [x]\n")
    write(
        "sub/b",
        "name: b\ndatasets:\n  btad: {layout: btad, root: '${GONE}'}\nvariants:\n  A: {heads: 3}\ntables: [12]\n",
    )
    write("all", "name: All\ninclude:\n- a.yaml\n- sub/b.yaml\n- sub/bb.yaml\n- torn.yaml\nepochs: 3\n")
    write("torn", "name: [\n")
    lines = refused()
    begins = [
        "all.yaml:1: name: 'All' should be",
        "all.yaml:5: include[2]: sub/bb.yaml: no such job file; did you mean b.yaml?",
        "all.yaml:6: include[3]: torn.yaml:2: not readable as YAML",
        "all.yaml:7: epochs: unknown key; it belongs under `settings:`",
        "a.yaml:2: datasets.mvtec.limits: unknown key; did you mean limit?",
        "a.yaml:3: views: unknown key; it belongs under `settings:`",
        "a.yaml:4: seeds[0]: should be a whole number",
        "sub/b.yaml:3: datasets.btad.root: the variable GONE is not set: export GONE=..., or pass --set datasets.btad.root=",
        "sub/b.yaml:5: variants.A.heads: 3 heads do not divide d_model 256 of level 8",
        "sub/b.yaml:5: variants.A.heads: 3 heads do not divide d_model 512 of level 16",
    ]
    assert len(lines) == len(begins)
    for line, begin in zip(lines, begins, strict=True):
        assert line.startswith(begin), line


def test_contradictions_of_an_included_row_are_told_with_their_place() -> None:
    write("sub/b", "name: b\ndatasets:\n  btad: {layout: btad, root: b}\nvariants:\n  A: {heads: 3}\n")
    (first, _) = refused()
    assert first.startswith("sub/b.yaml:5: variants.A.heads: 3 heads do not divide d_model 256 of level 8")


@pytest.mark.parametrize(
    ("files", "text"),
    [
        ({"all": ALL | {"include": ["all.yaml"]}}, "all.yaml:3: include[0]: includes itself: all.yaml → all.yaml"),
        (
            {"a": {"name": "a", "include": ["sub/b.yaml"]}, "sub/b": {"name": "b", "include": ["../a.yaml"]}},
            "sub/b.yaml:3: include[0]: includes itself: a.yaml → sub/b.yaml → sub/../a.yaml",
        ),
        (
            {"all": ALL | {"include": ["a.yaml", "sub/../a.yaml"]}},
            "all.yaml:4: include[1]: sub/../a.yaml is included twice, first in all.yaml:3",
        ),
        ({"sub/b": B | {"name": "a"}}, "sub/b.yaml:1: name: another job of this run is called 'a' too"),
        ({"all": ALL | {"include": "a.yaml"}}, "all.yaml:2: include: should be a list"),
        ({"all": ALL | {"include": [3]}}, "all.yaml:3: include[0]: should be a mapping"),
        ({"all": ALL | {"include": ["${X}.yaml"]}}, "all.yaml:3: include[0]: the path of an included file takes no variables"),
        ({"all": ALL | {"include": ["sub"]}}, "all.yaml:3: include[0]: sub: is a folder, not a job file"),
        ({"all": ALL | {"include": ["a\0b"]}}, "all.yaml:3: include[0]: holds a control character"),
        ({"all": ALL | {"include": ["x" * 300]}}, f"all.yaml:3: include[0]: {'x' * 300}: cannot be read: File name too long"),
        ({"sub/b": "[]"}, "all.yaml:4: include[1]: sub/b.yaml: holds a list"),
        ({"all": ALL | {"variants": {"X": {}}}}, "all.yaml:6: variants: has no effect, since this job has no data sets"),
        ({"all": ALL | {"tables": [2]}}, "all.yaml:6: tables: has no effect"),
        ({"all": {"name": "both", "include": []}}, "all.yaml: datasets: missing"),
    ],
)  # fmt: skip
def test_what_cannot_be_put_together_is_refused(files: dict[str, Any], text: str) -> None:
    for name, content in files.items():
        write(name, content)
    assert any(line.startswith(text) for line in refused())


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        ({"tables": [15]}, "tables[0]: no row of this job is called as one of Table 15: mean, nearest, coreset"),
        ({"tables": [2, 7]}, "tables[1]: Table 7 is on btad, and no data set of this job is called so"),
        ({"tables": [12], "grid": {"heads": [2, 4]}, "variants": {}}, ""),
        ({"tables": [12], "variants": {"heads=2": {"heads": 2}}}, ""),
        ({"tables": [12], "variants": {"two": {"heads": 2}}}, "tables[0]: no row of this job is called as one of Table 12"),
        ({"tables": [2], "variants": {"Something of ours": {}}}, ""),
    ],
)  # fmt: skip
def test_a_table_that_the_job_cannot_fill_is_refused(keys: dict[str, Any], text: str) -> None:
    write("a", A | keys)
    if text:
        assert text in refused(name="a.yaml")[0]
    else:
        load_job("a.yaml")


def test_the_dump_holds_the_included_jobs_and_loads_back(folder: Path) -> None:
    job = load_job("all.yaml", ["epochs=3"])
    text = dump_job(job)
    (folder / "elsewhere").mkdir()
    Path("elsewhere/dump.yaml").write_text(text)
    again = load_job("elsewhere/dump.yaml")
    assert again == job and dump_job(again) == text and run_id(again) == run_id(job)
    broken = text.replace("views: patch", "views: patsch")
    Path("elsewhere/dump.yaml").write_text(broken)
    line = next(number for number, row in enumerate(broken.split("\n"), start=1) if "patsch" in row)
    assert refused(name="elsewhere/dump.yaml")[0].startswith(f"elsewhere/dump.yaml:{line}: variants.Patch.views: ")


def test_the_digest_covers_the_parts() -> None:
    def digest(*overrides: str) -> str:
        return job_digest(load_job("all.yaml", overrides))

    before = digest()
    assert before == digest("name=x", "store=y", "resources.cpus=3")
    assert len({before, digest("epochs=3"), digest("variants.Patch.heads=4"), digest("limit_test=3")}) == 4
    write("sub/b", B | {"description": "in other words", "store": "another"})
    assert digest() == before
    write("sub/b", B | {"seeds": [4]})
    assert digest() != before


def test_a_data_sets_own_limit_goes_before_the_jobs() -> None:
    job = Job.model_validate(A | {"limit_train": 4, "limit_test": 5})
    limit = job.dataset("mvtec").limit
    assert limit is not None and (limit.train, limit.test) == (4, 5)
    own = {"mvtec": {"layout": "mvtec", "root": "m", "limit": {"train": 9}}}
    limit = Job.model_validate(A | {"datasets": own, "limit_train": 4, "limit_test": 5}).dataset("mvtec").limit
    assert limit is not None and (limit.train, limit.test) == (9, None)


def test_a_setting_of_the_command_line_is_for_the_parts_with_a_method_that_has_it(tmp_path: Path) -> None:
    data = "datasets: {drawn: {layout: synthetic}}\n"
    (tmp_path / "one.yaml").write_text(f"name: one\n{data}variants: {{A: {{method: draem}}, B: }}\n")
    (tmp_path / "two.yaml").write_text(f"name: two\n{data}")
    (tmp_path / "three.yaml").write_text(f"name: three\n{data}grid: {{method: [fod, padim]}}\n")
    (tmp_path / "all.yaml").write_text("name: all-three\ninclude: [one.yaml, two.yaml, three.yaml]\n")
    job = load_job(tmp_path / "all.yaml", ["width=8", "channels=9", "epochs=2", "heads=4"])
    found = {(part.name, row): settings.model_dump() for part in job.parts() for row, settings in part.rows()}
    of = {
        key: {where: one[key] for where, one in found.items() if key in one}
        for key in ("width", "channels", "epochs", "heads")
    }
    fod = [("one", "B"), ("two", "FOD"), ("three", "method=fod")]
    assert of["width"] == {("one", "A"): 8} and of["channels"] == {("three", "method=padim"): 9}
    assert of["epochs"] == dict.fromkeys([("one", "A"), *fod], 2) and of["heads"] == dict.fromkeys(fod, 4)
    with pytest.raises(UsageError, match="is a key of `cflow`, which no row of this job has"):
        load_job(tmp_path / "all.yaml", ["fiber=8"])
