"""Values of environment variables, which may be secrets, in errors, logs and stored jobs."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from fod_bench.cli.app import app
from fod_bench.errors import FodBenchError
from fod_bench.job import dump_job, load_job, run_id
from fod_bench.schema.hidden import forget, hidden, hide, masked
from tests.helpers.commands import Bench

SECRETS = {
    "mixed": "hunter2-s3cr3t",
    "word": "geheim",
    "number": "12345678",
    "float": "1234.50",
    "address": "s3://k3y:s3cr3t@host/bucket?endpoint=https://h0st.example:1",
    "path": "/geheim//ort/",
    "long": "A1" * 400,
    "odd": 'it\'s "q" \\ é: x',
}
PIECES = ("s3cr3t", "h0st", "geheim", "1234.5", "A1A1A1", "é: x")
# fmt: off
PLACES = [
    "name", "store", "description.0", "limit_train", "tables", "tables.0", "seeds.0", "pack", "lease_seconds", "resources",
    "resources.gpus", "resources.nokey", "settings", "settings.backbone", "settings.weights", "settings.heads", "settings.views",
    "settings.reference", "settings.reference.kind", "settings.levels", "settings.levels.0", "settings.score_levels",
    "settings.d_model.8", "settings.lambda1", "settings.method", "settings.entropy", "settings.nokey", "variants", "variants.A",
    "variants.A.views", "grid", "grid.views", "grid.views.0", "grid.lambda1.0", "datasets", "datasets.d", "datasets.d.layout",
    "datasets.d.categories", "datasets.d.categories.0", "datasets.d.synthetic.size", "datasets.d.limit", "include",
]
# fmt: on


@pytest.fixture(autouse=True)
def nothing_taken() -> Iterator[None]:
    forget()
    yield
    forget()


def placed(place: str, value: str) -> str:
    """A small job with the value at a place; numbers in it are indices, but for keys of d_model."""
    data: dict = {"name": "x", "datasets": {"d": {"layout": "synthetic"}}}
    parts = place.split(".")
    holder = data
    for part, following in itertools.pairwise(parts):
        held = holder.get(part)
        if following.isdigit() and part != "d_model":
            holder[part] = [value]
            return yaml.safe_dump(data)
        holder[part] = held if isinstance(held, dict) else {}
        holder = holder[part]
    holder[int(parts[-1]) if parts[-1].isdigit() else parts[-1]] = value
    return yaml.safe_dump(data)


@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS)
@pytest.mark.parametrize("form", ["${S}", "a-${S}-b"])
def test_no_place_of_a_job_tells_the_value(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, secret: str, form: str
) -> None:
    """Nor does the job as it is dumped, which loads back."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("S", secret)
    shown = refused = 0
    for place in PLACES:
        for plain in (True, False):
            text = placed(place, form)
            Path("job.yaml").write_text(text if plain else text.replace(form, f"'{form}'"))
            try:
                job = load_job("job.yaml")
                told = dump_job(job)
                Path("again.yaml").write_text(told)
                again = load_job("again.yaml")
                assert again == job and dump_job(again) == told and run_id(again) == run_id(job)
            except FodBenchError as error:
                told = str(error)
                refused += 1
            shown += "${S}" in told
            assert not any(piece in told for piece in (secret, *PIECES)), told
    assert refused > len(PLACES) and shown > 1.5 * len(PLACES)


def test_a_value_that_is_right_in_itself_is_not_told_by_what_it_contradicts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HEADS", "7")
    monkeypatch.setenv("NET", "wide_resnet50_2")
    monkeypatch.setenv("NAME", "s3cr3t-name")
    Path("part.yaml").write_text("name: ${NAME}\ndatasets: {d: {layout: synthetic}}\n")
    Path("job.yaml").write_text(
        "name: ${NAME}\ninclude: [part.yaml]\ndatasets: {d: {layout: synthetic}}\n"
        "settings:\n  heads: ${HEADS}\n  backbone: ${NET}\n  levels: [3]\n"
    )
    with pytest.raises(FodBenchError) as caught:
        load_job("job.yaml")
    told = str(caught.value)
    assert "backbone ${NET} has no level of stride 3" in told and "wide" not in told
    Path("job.yaml").write_text(Path("job.yaml").read_text().replace("[3]", "[8]"))
    with pytest.raises(FodBenchError) as caught:
        load_job("job.yaml")
    assert "${HEADS} heads do not divide d_model 256 of level 8" in str(caught.value)
    with pytest.raises(FodBenchError) as caught:
        load_job("job.yaml", ["settings.heads=8"])
    assert "another job of this run is called '${NAME}' too" in str(caught.value)


def test_only_what_came_from_the_environment_is_left_as_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NOT_SET", raising=False)
    monkeypatch.setenv("LEVEL", "16")
    monkeypatch.setenv("STORE", "some/where")
    Path("job.yaml").write_text(
        "name: x\nstore: ${STORE}\ndatasets: {d: {layout: synthetic}}\nsettings:\n  epochs: ${NOT_SET:-3}\n"
        "  levels:\n  - ${LEVEL}\n  - 8\n  d_model:\n    8: ${LEVEL}\n"
    )
    job = load_job("job.yaml")
    dumped = yaml.safe_load(dump_job(job))
    assert dumped["settings"]["epochs"] == 3 and dumped["settings"]["levels"] == ["${LEVEL}", 8]
    assert dumped["settings"]["d_model"][8] == "${LEVEL}" and dumped["store"] == "${STORE}"
    assert job.settings["levels"] == (8, 16) and job.store == "some/where"
    assert yaml.safe_load(dump_job(job.with_store("other")))["store"] == "other"


def test_texts_are_masked_where_the_value_is_found() -> None:
    assert masked("7 of 17 and 7.5", {"7": "${N}"}) == "${N} of 17 and ${N}.5"
    assert masked("at /a/b/c and /a/bc", {"/a//b/": "${P}"}) == "at ${P}/c and /a/bc"
    hide("data", "${DATA}")
    hide("hunter2", "${PASSWORD}")
    hide("/srv/data", "${ROOT}")
    assert hidden("the data of hunter2 in /srv/data/x") == "the data of ${PASSWORD} in ${ROOT}/x"
    forget()
    assert hidden("hunter2") == "hunter2"


@pytest.mark.parametrize("arguments", (["run"], ["plan"], ["plan", "--json"], ["run", "--verbose"], ["status"]))
def test_no_command_tells_the_folder_that_a_variable_names(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.chdir(bench.folder)
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setenv("S3CRET_ROOT", "/no/s3cr3t/place")
    monkeypatch.setenv("S3CRET_STORE", "s3cr3t-store")
    job = bench.job(
        "hiding", datasets={"own": {"layout": "folder", "root": "${S3CRET_ROOT}/x"}}, store="${S3CRET_STORE}"
    )
    done = CliRunner().invoke(app, [arguments[0], job, *arguments[1:]])
    assert "${S3CRET_" in done.output and "s3cr3t" not in done.output, done.output


def test_a_fault_of_the_program_has_its_traceback_without_the_value(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(bench.folder)
    monkeypatch.setenv("S3CRET", "s3cr3t-name")

    def broken(job: object, **_: object) -> None:
        raise RuntimeError(f"cannot do {job}")

    monkeypatch.setattr("fod_bench.plan.make_plan", broken)
    done = CliRunner().invoke(app, ["plan", bench.job("${S3CRET}")])
    assert done.exit_code == 1 and "RuntimeError: cannot do name='${S3CRET}'" in done.output
    assert "Traceback" in done.output and "s3cr3t" not in done.output
