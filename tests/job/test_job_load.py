"""Reading a job file: places, variables, --set, refusals of what is no job file at all, and the way back to YAML."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fod_bench.datasets import FolderSettings
from fod_bench.errors import JobError, UsageError
from fod_bench.job import Job, dump_job, load_job
from fod_bench.job.settings import setting_keys
from fod_bench.job.shipped import named_job

SMALL = """\
name: small
datasets:
  mine:
    layout: folder
    root: images
"""


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def write_file(text: str | bytes) -> Path:
        path = tmp_path / "job.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write_file


def refused(path: Path, *overrides: str, kind: type[Exception] = JobError) -> str:
    with pytest.raises(kind) as caught:
        load_job(path, overrides)
    assert type(caught.value) is kind
    return str(caught.value)


def test_defaults_are_the_papers(write: Any) -> None:
    job = load_job(write(SMALL))
    assert job.store == "results/store" and job.seeds == (3407,) and job.datasets["mine"].categories == "all"
    [(row, settings)] = job.rows()
    assert row == "FOD"
    assert settings.backbone == "tf_efficientnet_b6.aa_in1k" and settings.levels == (8, 16)
    assert (settings.image_size, settings.heads, settings.layers, settings.epochs) == (256, 8, 3, 100)
    assert (settings.lambda1, settings.lambda2, settings.learning_rate, settings.batch_size) == (0.5, 0.5, 1e-4, 1)
    assert (settings.views, settings.rule, settings.optimization) == ("full", "rec_div", "two_phase")


def test_every_fault_is_reported_at_once_in_order_with_place_and_nearest_name(write: Any) -> None:
    path = write(
        "name: Big\n"
        "datasets:\n"
        "  a:\n"
        "    layout: mvtc\n"
        "  mvtec:\n"
        "    layout: mvtec\n"
        "    root: data\n"
        "    categroies: all\n"
        "  b:\n"
        "    layout: mvtec\n"
        "    root: data\n"
        "    categories: [bottle, cabel]\n"
        "settings:\n"
        "  method: fodd\n"
        "  reference: maen\n"
        "  views: ful\n"
        "  epochs: many\n"
        "  entropy: 1\n"
        "variants:\n"
        "  A: {lamda1: 1}\n"
        "epochs: 3\n"
    )
    lines = refused(path).split("\n")
    expected = [
        (1, "name: 'Big' should be 1 to 80 lower-case letters", ""),
        (4, "datasets.a.layout: unknown value 'mvtc'", "did you mean mvtec"),
        (8, "datasets.mvtec.categroies: unknown key", "did you mean categories?"),
        (12, "datasets.b.categories[1]: unknown category 'cabel'", "did you mean cable?"),
        (14, "settings.method: unknown method 'fodd'", "did you mean fod?"),
        (15, "settings.reference: unknown kind of reference 'maen'", "did you mean mean?"),
        (16, "settings.views: unknown value 'ful'", "did you mean full?"),
        (17, "settings.epochs: should be a whole number, not the text 'many'", ""),
        (18, "settings.entropy: should be true or false, not 1", ""),
        (20, "variants.A.lamda1: unknown key", "did you mean lambda1"),
        (21, "epochs: unknown key; it belongs under `settings:`", ""),
    ]
    assert len(lines) == len(expected)
    for line, (number, begin, end) in zip(lines, expected, strict=True):
        assert line.startswith(f"{path}:{number}: {begin}"), line
        assert end in line


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "is empty"),
        (b"# only a comment\n", "is empty"),
        (b"- a\n- b\n", "holds a list; a job is a mapping"),
        (b"hello\n", "holds a single value"),
        (b"\x89PNG\0\0", "is not a text file"),
        ("name: k\xf6nig\n".encode("latin-1"), ":1: is not UTF-8 text"),
        (b"name: x\ndatasets:\n\tmine: 1\n", ":3: not readable as YAML: a tab"),
        (b"name: [x\n", "not readable as YAML"),
        (b"name: \x07\n", "not readable as YAML"),
        (b"name: x\n---\nname: y\n", "a second document"),
        (b"name: x\nname: y\n", ":2: name: given twice, first in line 1"),
        (
            b"name: !!python/object/apply:os.system [ls]\n",
            "name: tag 'tag:yaml.org,2002:python/object/apply:os.system'",
        ),
        (b"name: &a [*a]\n", "the value holds itself"),
        (b"? [a]\n: 1\n", "a key must be a single word"),
        (b"[" * 5000, "nested too deeply"),
        (b"name: x\n", "datasets: missing"),
        (b"name: x\ndatasets:\n", "datasets: missing"),
        (b"name: x\ndatasets: {}\n", "datasets: missing"),
        (b"name: x\ndatasets: {2: {layout: synthetic}}\n", "write it in quotes, '2'"),
        (b"name: x\ndatasets: {a b: {layout: synthetic}}\n", "letters, digits"),
        (b"name: x\ndatasets: [synthetic]\n", "datasets: should be a mapping"),
        (b"name: x\ndatasets: {d: {layout: synthetic}}\n3: 4\n", ":3: [3]: unknown key"),
    ],
)
def test_what_is_no_job_is_refused_in_words(write: Any, content: bytes, text: str) -> None:
    path = write(content)
    message = refused(path)
    assert message.startswith(str(path)) and text in message


def _bomb(levels: int, level: str) -> str:
    lines = ["a0: &a0 {k: [x, x]}"]
    for number in range(1, levels):
        lines.append(f"a{number}: &a{number} " + level.format(", ".join([f"*a{number - 1}"] * 9)))
    return "\n".join(lines)


MANY = "holds more than 50000 values"


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (_bomb(9, "[{}]"), MANY),
        (_bomb(9, "{{<<: [{0}], l: [{0}]}}"), MANY),
        (f"name: {'[1,' * 5 + '1,' * 60_000 + ']' * 5}", MANY),
        ("settings:\n" + "".join(f"  key{number}: 1\n" for number in range(60_000)), MANY),
        ("x: &x [" + "a, " * 200 + "]\ny: [" + "*x, " * 1000 + "]", MANY),
        (f"x: &x {'t' * 100_000}\ny: [{'*x, ' * 100}]", "4 MiB of text"),
        ("#" * (1 << 20) + "\n", "is larger than 1 MiB"),
        ("a: " + "{a: " * 30 + "1" + "}" * 30, "nested too deeply: more than 20 levels"),
        ("- " * 1000, "nested too deeply"),
        ("a0: &a0 [1]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 40)), "nested too deeply"),
        (
            "a0: &a0 {k: 1}\n" + "".join(f"a{n}: &a{n} {{<<: *a{n - 1}}}\n" for n in range(1, 40)) + "<<: *a39\n",
            "deeply",
        ),
        ("a: &a {<<: *a}", "the value holds itself"),
        ("a: {<<: [1]}", "`<<` takes a mapping"),
    ],
    ids=lambda value: value[:12],
)
def test_a_small_file_does_not_become_a_large_job(write: Any, content: str, text: str) -> None:
    path = write(content)
    message = refused(path)
    assert message.startswith(str(path)) and text in message and "\n" not in message


def test_the_merge_of_many_equal_mappings_is_one_mapping(write: Any) -> None:
    """Its cost is that of its keys, however often they are merged: 9 to the power of 30 times here."""
    levels = "".join(f"  v{n}: &v{n} {{<<: [{', '.join([f'*v{n - 1}'] * 9)}]}}\n" for n in range(1, 15))
    job = load_job(write(SMALL + "variants:\n  v0: &v0 {heads: 4}\n" + levels))
    assert {variant["heads"] for variant in job.variants.values()} == {4} and len(job.variants) == 15


def test_of_many_faults_some_are_told(write: Any) -> None:
    path = write(SMALL + "settings:\n" + "".join(f"  key{number}: 1\n" for number in range(5000)))
    lines = refused(path).split("\n")
    assert len(lines) == 101 and lines[0] == f"{path}: 5000 faults, of which 100 are told"
    path = write(SMALL + "seeds:\n" + "- ${NOWHERE}\n" * 500)
    lines = refused(path).split("\n")
    assert len(lines) == 101 and lines[-1] == f"{path}: and 400 faults more"


def test_a_long_value_is_not_repeated_whole(write: Any) -> None:
    long = "x" * 60_000
    for line in (
        f"{long}: 1",
        f"tables: {long}",
        f"tables: [{long}]",
        f"settings: {{views: {long}, weights: {long}/y}}",
    ):
        assert len(refused(write(SMALL + line + "\n"))) < 3000
    assert len(refused(write(SMALL), f"epochs={long}", kind=UsageError)) < 1500


@pytest.mark.parametrize("key", ("epochs: {}", "lambda1: {}", "image_size: {}", "heads: {}"))
@pytest.mark.parametrize("number", ("9" * 30_000, "1e400", "9" * 34, "-1e309"), ids=lambda number: number[:6])
def test_a_huge_number_is_refused(write: Any, key: str, number: str) -> None:
    assert ":7: settings." in refused(write(SMALL + "settings:\n  " + key.format(number) + "\n"))


@pytest.mark.parametrize(
    ("kind", "said"), [("pipe", "is a pipe, not"), ("device", "is a device, not"), ("socket", "is a socket, not")]
)
def test_what_is_no_regular_file_is_not_opened_for_good(
    tmp_path: Path, kind: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    place = Path("special")
    if kind == "pipe":
        os.mkfifo(place)
    elif kind == "device":
        place.symlink_to("/dev/zero")
    else:
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind("special")
    assert refused(place).startswith(f"special: {said}")
    Path("job.yaml").write_text("name: x\ninclude: [special]\n")
    assert refused(Path("job.yaml")).startswith(f"job.yaml:2: include[0]: special: {said}")


@pytest.mark.parametrize(
    "line",
    [
        'variants: {"a\\e[31mb": {}}',
        'variants: {"a\\nb": {}}',
        "variants: {a\u202eb: {}}",
        'settings: {weights: "a\\x07b/x"}',
        'description: "\\e[2J"',
        'datasets: {"d\\r": {layout: synthetic}}',
        "settings: {backbone: re\u200bsnet18}",
        "store: |\n  results",
    ],
)
def test_a_control_character_is_refused_and_shown_escaped(write: Any, line: str) -> None:
    message = refused(write("name: x\n" + line + "\n"))
    assert "holds a control character or an invisible one: '" in message and message.isprintable()


def test_a_description_may_have_lines(write: Any) -> None:
    assert load_job(write(SMALL + "description: |\n  one\n  two\n")).description == "one\ntwo\n"


def test_a_control_character_of_a_variable_or_an_override_is_refused(
    write: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BELL", "ding\a")
    message = refused(write(SMALL.replace("images", "${BELL}")))
    assert message.endswith("datasets.mine.root: the value of ${BELL} holds a control character or an invisible one")
    for override in ('weights="\\e[0m"', "weights=\u202e/x", "variants.\x1b.heads=2"):
        assert "holds" in refused(write(SMALL), override, kind=UsageError)
    assert "is more than 20 levels deep" in refused(write(SMALL), "datasets" + ".x" * 30 + "=1", kind=UsageError)
    assert "more than 20000 values" in refused(write(SMALL), f"seeds={list(range(30_000))}", kind=UsageError)


def test_wrong_items_do_not_make_a_list_an_empty_one(write: Any) -> None:
    message = refused(write(SMALL + "settings: {levels: [x]}\n"))
    assert (
        message.endswith(":6: settings.levels[0]: should be a whole number, not the text 'x'") and "\n" not in message
    )


@pytest.mark.parametrize("name", ("all", "plain", "'12'", "'2024'", "'007'", "-x", "'-'"))
def test_a_name_that_means_something_else_to_a_command_is_refused(write: Any, name: str) -> None:
    plain = name.strip("'")
    assert f":1: name: {plain!r} " in refused(write(SMALL.replace("name: small", f"name: {name}")))
    assert f"{plain!r} " in refused(write(SMALL), f"name={name}", kind=UsageError)


@pytest.mark.parametrize("name", ("all-of-it", "plain_1", "12b", "_", "table-2", "tidy", "tables", "x-"))
def test_a_name_that_only_looks_like_one_is_taken(write: Any, name: str) -> None:
    assert load_job(write(SMALL.replace("name: small", f"name: {name}"))).name == name


def test_a_missing_file_names_its_neighbour(write: Any, tmp_path: Path) -> None:
    write(SMALL)
    assert "no such job file; did you mean job.yaml?" in refused(tmp_path / "jbo.yaml")
    assert "there is no folder" in refused(tmp_path / "nowhere" / "job.yaml")
    assert "is a folder" in refused(tmp_path)


def test_numbers_and_words_are_read_as_yaml_1_2(write: Any) -> None:
    text = (
        "name: no\n"
        "datasets:\n"
        "  b: {layout: btad, root: x, categories: [01, 03]}\n"
        "  f: {layout: folder, root: y, categories: [2024, on]}\n"
    )
    job = load_job(write(text + "settings: {learning_rate: 1e-3}\n"))
    assert job.name == "no"
    assert job.datasets["b"].categories == ("01", "03")
    assert job.datasets["f"].categories == ("2024", "on")
    assert job.settings["learning_rate"] == 0.001


def test_names_of_folders_are_text_or_a_list(write: Any) -> None:
    job = load_job(write("name: x\ndatasets:\n  f: {layout: folder, root: y, good: OK, bad: [NG, 2024, 'no*']}\n"))
    spec = job.datasets["f"]
    assert (spec.good, spec.bad) == (("OK",), ("NG", "2024", "no*"))
    assert spec.own == FolderSettings(good=("OK",), bad=("NG", "2024", "no*"))
    untold = load_job(write("name: x\ndatasets:\n  f: {layout: folder, root: y}\n"))
    assert untold.datasets["f"].own == FolderSettings() and "good" not in dump_job(untold), (
        "older runs keep their names"
    )


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        ("layout: folder, root: y, good: []", "datasets.d.good: must not be empty"),
        ("layout: folder, root: y, bad: {a: b}", "datasets.d.bad: should be a list of names of folders, not a mapping"),
        ("layout: folder, root: y, bad: [good]", "datasets.d.bad: 'good' is named as a folder of normal images too"),
        ("layout: folder, root: y, masks: none", "datasets.d.masks: unknown value 'none'"),
        ("layout: folder, root: y, train_share: 1", "datasets.d.train_share: should be less than 1"),
        ("layout: folder, root: y, godo: [OK]", "datasets.d.godo: unknown key; did you mean good?"),
        ("layout: mvtec, root: y, good: [OK]", "datasets.d.good: is for layout `folder` only, not `mvtec`"),
        ("layout: synthetic, masks: optional", "datasets.d.masks: is for layout `folder` only, not `synthetic`"),
    ],
)
def test_keys_of_own_folders_that_cannot_be(write: Any, keys: str, text: str) -> None:
    assert text in refused(write(f"name: x\ndatasets:\n  d: {{{keys}}}\n"))


def test_a_shared_mapping_can_be_merged(write: Any) -> None:
    job = load_job(write(SMALL + "variants:\n  A: &a {lambda1: 1.0, heads: 4}\n  B: {<<: *a, heads: 2}\n"))
    assert job.variants["B"] == {"heads": 2, "lambda1": 1.0}


def test_variables(write: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGES", "/data")
    monkeypatch.setenv("EMPTY", "")
    monkeypatch.delenv("EPOCHS", raising=False)
    job = load_job(
        write(
            "name: v\n"
            "description: 'costs $${PRICE} $5 ${EMPTY}'\n"
            "datasets:\n  mine:\n    layout: folder\n    root: ${IMAGES}/${EMPTY:-own}\n    categories:\n      - '${N:-7}'\n"
            "settings:\n  epochs: ${EPOCHS:-3}\n  entropy: ${E:-false}\n"
        )
    )
    assert job.description == "costs ${PRICE} $5 "
    assert job.datasets["mine"].root == "/data/own" and job.datasets["mine"].categories == ("7",)
    assert job.settings["epochs"] == 3 and job.settings["entropy"] is False


def test_an_unset_variable_names_both_remedies_and_hides_no_other_fault(
    write: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FOD_NOWHERE", raising=False)
    path = write(SMALL.replace("images", "${FOD_NOWHERE}/x") + "settings:\n  epochs: ${FOD_NOWHERE}\n  heads: 0\n")
    assert refused(path).split("\n") == [
        f"{path}:5: datasets.mine.root: the variable FOD_NOWHERE is not set: "
        "export FOD_NOWHERE=..., or pass --set datasets.mine.root=...",
        f"{path}:7: settings.epochs: the variable FOD_NOWHERE is not set: "
        "export FOD_NOWHERE=..., or pass --set settings.epochs=...",
        f"{path}:8: settings.heads: should be greater than or equal to 1, not 0",
    ]
    job = load_job(path, ["datasets.mine.root=/x", "epochs=2", "heads=2"])
    assert job.datasets["mine"].root == "/x" and job.settings["epochs"] == 2


@pytest.mark.parametrize("text", ["${}", "${1A}", "${A", "${A:-${B}}", "${A-x}"])
def test_what_begins_like_a_variable_but_is_none(write: Any, text: str) -> None:
    assert "`${` begins no variable" in refused(write(SMALL.replace("images", f"'{text}'")))


def test_overrides(write: Any) -> None:
    path = write(SMALL + "variants:\n  A: {heads: 4}\n")
    job = load_job(
        path,
        [
            "settings.lambda1=1",
            "lambda2=0.25",
            "d_model.8=64",
            "seeds=[1, 2]",
            "variants.A.heads=2",
            "grid.layers=[1, 2]",
            "datasets.mine.limit.train=5",
            "datasets.other={layout: synthetic}",
            "epochs=9",
            "epochs=2",
        ],
    )
    assert (job.settings["lambda1"], job.settings["lambda2"], job.settings["epochs"]) == (1.0, 0.25, 2)
    assert job.settings["d_model"] == {4: 128, 8: 64, 16: 512}
    assert job.seeds == (1, 2) and job.variants["A"]["heads"] == 2 and job.grid == {"layers": (1, 2)}
    assert job.datasets["mine"].limit is not None and job.datasets["mine"].limit.train == 5
    assert list(job.datasets) == ["mine", "other"]


@pytest.mark.parametrize(
    ("written", "overrides", "kind", "given"),
    [
        ("mean", [], "mean", {}),
        ("{kind: coreset, layout: origin}", [], "coreset", {"layout": "origin"}),
        ("mean", ["reference=coreset"], "coreset", {}),
        ("mean", ["reference={kind: nearest, neighbourhood: 5}"], "nearest", {"neighbourhood": 5}),
        ("coreset", ["reference.per_position=2", "reference.projection=none"], "coreset", {"per_position": 2}),
        ("${KIND:-codebook}", ["settings.reference.codes=64"], "codebook", {"codes": 64}),
        ("{kind: prototype, seed: 3}", ["reference.rescale=false"], "prototype", {"seed": 3, "rescale": False}),
    ],
)
def test_a_reference_by_name_mapping_or_single_keys(
    write: Any, written: str, overrides: list[str], kind: str, given: dict[str, Any]
) -> None:
    job = load_job(write(SMALL + f"settings:\n  reference: {written}\n"), overrides)
    found = job.settings["reference"].model_dump()
    assert found["kind"] == kind and found == found | given
    assert load_job(write(SMALL), ["variants={A: {reference: coreset}}", "variants.A.reference.seed=2"]).variants[
        "A"
    ]["reference"].model_dump() == {
        "kind": "coreset", "per_position": 1, "projection": 128, "layout": "selection", "seed": 2,
    }  # fmt: skip


def test_every_fault_of_a_reference_is_named_with_its_place(write: Any) -> None:
    path = write(
        SMALL + "settings:\n"
        "  reference:\n"
        "    kind: nearest\n"
        "    neighbourhood: 4\n"
        "    per_position: 2\n"
        "variants:\n"
        "  A: {reference: protoype}\n"
        "  B: {reference: {per_position: 2}}\n"
        "  C: {reference: [mean]}\n"
        "  D: {reference: {kind: coreset, projection: 0, layout: orign, sed: 1}}\n"
        "  E: {reference: {kind: mean, seed: 1}}\n"
        "grid:\n"
        "  reference: [mean, meen, {kind: codebook, learning_rate: 0}]\n"
    )
    expected = [
        (9, "settings.reference.neighbourhood: 4 is even", "take 3 or 5"),
        (10, "settings.reference.per_position: a reference of kind `nearest` takes no such key", "exclude_self"),
        (12, "variants.A.reference: unknown kind of reference 'protoype'", "did you mean prototype?"),
        (13, "variants.B.reference: lacks the key `kind`, one of mean, nearest,", "codebook"),
        (14, "variants.C.reference: should be the name of a kind (mean, nearest,", "not the list ['mean']"),
        (15, "variants.D.reference.projection: should be a whole number of at least 1, or `none`, not 0", ""),
        (15, "variants.D.reference.layout: unknown value 'orign'", "did you mean origin?"),
        (15, "variants.D.reference.sed: a reference of kind `coreset` takes no such key", "did you mean seed?"),
        (16, "variants.E.reference.seed: a reference of kind `mean` has no settings", ""),
        (18, "grid.reference[1]: unknown kind of reference 'meen'", "did you mean mean?"),
        (18, "grid.reference[2].learning_rate: should be greater than 0, not 0", ""),
    ]
    lines = sorted(refused(path).split("\n"))
    assert len(lines) == len(expected)
    for number, begin, end in expected:
        assert any(line.startswith(f"{path}:{number}: {begin}") and end in line for line in lines), begin


@pytest.mark.parametrize(
    ("override", "text"),
    [
        ("reference.per_position=2", "settings.reference: lacks the key `kind`"),
        ("reference=men", "settings.reference: unknown kind of reference 'men'; did you mean mean?"),
        ("reference={kind: nearest, neighbourhood: 2}", "settings.reference.neighbourhood: 2 is even"),
        ("epochs", "should be of the form key=value"),
        ("=2", "should be of the form key=value"),
        ("a..b=2", "should be of the form key=value"),
        ("epoch=2", "unknown key 'epoch'; did you mean epochs"),
        ("settings.epoch=2", "settings.epoch: unknown key; did you mean epochs"),
        ("datasets.mien.root=/x", "unknown name under datasets 'mien'; did you mean mine?"),
        ("variants.B.heads=2", "unknown name under variants 'B'; valid: A"),
        ("datasets.mine.rot=/x", "datasets.mine.rot: unknown key; did you mean root?"),
        ("name.x=1", "name is no mapping"),
        ("epochs=two", "settings.epochs: should be a whole number, not the text 'two'"),
        ("seeds=[1", "not readable as YAML"),
        ("settings.heads=7", "settings.heads: 7 heads do not divide d_model 256 of level 8"),
    ],
)
def test_a_fault_of_an_override_alone_is_one_of_usage(write: Any, override: str, text: str) -> None:
    message = refused(write(SMALL + "variants:\n  A: {}\n"), override, kind=UsageError)
    assert message.startswith(f"--set {override}: ") and text in message


def test_a_fault_of_file_and_override_is_the_jobs(write: Any) -> None:
    message = refused(write(SMALL + "tables: 3\n"), "epochs=two")
    assert message.count("\n") == 1 and "tables: should be a list" in message


def test_short_form_is_unambiguous() -> None:
    assert not setting_keys().keys() & Job.model_fields.keys()


def test_jobs_are_read_without_the_heavy_libraries() -> None:
    program = (
        "import sys; from fod_bench.job import load_job, expand; expand(load_job('jobs/quickstart.yaml'));"
        "print([name for name in ('torch', 'timm', 'ray', 'pandas', 'sklearn') if name in sys.modules])"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_name_too_long_for_a_file_is_read_as_a_path() -> None:
    with pytest.raises(JobError, match="File name too long"):
        load_job(named_job(Path("a" * 300)))
