"""What a run says, as programs read it: one JSON object a line, with the fields that docs/monitoring.md lists."""

from __future__ import annotations

import io
import json
import logging
import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from typer.testing import CliRunner

from fod_bench.cli.app import app
from fod_bench.machine import log_lines
from fod_bench.machine.log_lines import Event, split_heading
from fod_bench.plan import Plan
from fod_bench.records.failures import Failure
from fod_bench.runs.messages import Prepared, Status
from fod_bench.runs.progress import Progress, stderr_console
from fod_bench.schema.hidden import forget, hide
from tests.helpers.report_builders import record
from tests.helpers.store_builders import cell

PAGE = (Path(__file__).parents[2] / "docs/monitoring.md").read_text()
ALWAYS = {"time", "level", "event", "message"}


@pytest.fixture(autouse=True)
def as_json() -> Iterator[None]:
    log_lines.use("json")
    yield
    log_lines.use("text")
    forget()


def documented() -> tuple[set[str], dict[str, list[str]]]:
    """Fields of the page, and each event with its levels."""
    page = PAGE.partition("## Logs for programs")[2].partition("## Trackers")[0]
    fields, events = page.split("| event | level | tells |")
    names = {
        name for first in re.findall(r"^\| (`.*?) \|", fields, flags=re.M) for name in re.findall(r"`(\w+)`", first)
    }
    levels = {
        event: level.split(", ")
        for first, level in re.findall(r"^\| (`.*?) \| ([a-z, ]+) \|", events, flags=re.M)
        for event in re.findall(r"`(\w+)`", first)
    }
    return names, levels


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """The messages, each of which has no field and no event that the page does not list."""
    fields, events = documented()
    found = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    for message in found:
        assert message.keys() >= ALWAYS and message.keys() <= fields, message
        assert message["level"] in events[message["event"]], message
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", message["time"])
    return found


def test_the_page_lists_every_event() -> None:
    assert documented()[1].keys() == set(get_args(Event))


def test_a_run_tells_of_its_trainings(plan_of: Callable[..., Plan], capsys: pytest.CaptureFixture[str]) -> None:
    plan = plan_of(seeds=[1, 2, 3])
    first, second, third = plan.trials.values()
    made = record(first.key, cell(first.key), [(0.5, 0.5), (0.98765, 0.5)])
    progress = Progress(list(plan.trials.values()), stderr_console(), record_of={first.key: made}.get, run=plan.run)
    assert first.wanted is not None
    with progress:
        progress.prepared(first.wanted.sets[0], Prepared(True, 4096))
        progress.done(first)
        progress.elsewhere(second)
        progress.status(7, [third], [Status("trial", third.key, epoch=1, epochs=2, step=3, steps=4, node="box")])
        progress._said = float("-inf")
        progress.tick()
        progress.note(f"again     {third.name}: its worker was lost", third)
        progress.failed(third, Failure("no memory\nat all", "…", "memory"), "/log")
    told = lines(capsys)
    assert [message["event"] for message in told] == ["features", "done", "done", "running", "again", "failed"]
    features, done, elsewhere, running, again, failed = told
    assert {message["run"] for message in told} == {plan.run.run_id} and {one["job"] for one in told} == {"tiny"}
    assert features["category"] == "weave" and features["bytes"] == 4096 and features["key"] == first.wanted.sets[0].key
    for message, trial in ((done, first), (elsewhere, second), (again, third), (failed, third)):
        assert (message["trial"], message["key"], message["seed"]) == (trial.name, trial.key, trial.seed)
        assert (message["dataset"], message["category"], message["method"]) == ("drawn", "weave", "fod")
    assert done["metrics"] == {"image_auroc": 0.98765} and done["seconds"] == 300.0 and not done["elsewhere"]
    assert done["message"] == f"{first.name}: image AUROC 0.988, 5 min   [1/3]"
    assert elsewhere["elsewhere"] and "seconds" not in elsewhere
    assert running["tasks"][0]["key"] == third.key and running["tasks"][0]["epoch"] == 1
    assert failed["reason"] == "no memory\nat all" and failed["kind"] == "memory" and failed["log"] == "/log"
    assert failed["trials"] == {"total": 3, "done": 1, "elsewhere": 1, "reused": 0, "left": 0, "failed": 1}


def test_quiet_leaves_failures(plan_of: Callable[..., Plan], capsys: pytest.CaptureFixture[str]) -> None:
    (trial,) = plan_of().trials.values()
    progress = Progress([trial], stderr_console(), quiet=True)
    progress.note("run x")
    progress.done(trial)
    progress.failed(trial, Failure("broken", ""), "/log")
    assert [message["event"] for message in lines(capsys)] == ["failed"]


def test_hidden_values_are_in_no_field(plan_of: Callable[..., Plan], capsys: pytest.CaptureFixture[str]) -> None:
    (trial,) = plan_of().trials.values()
    odd = 'it\'s "q" \\ é'
    for value in ("hunter2-s3cr3t", odd, "12345678"):
        hide(value, "${SECRET}")
    progress = Progress([trial], stderr_console())
    progress.note(
        f"data      hunter2-s3cr3t and {odd}", bytes=12345678, rows=["a", f"b {odd}"], trials={odd: 12345678.0}
    )
    progress.failed(trial, Failure("hunter2-s3cr3t", odd), "s3://hunter2-s3cr3t/log")
    out = capsys.readouterr().err
    assert "hunter2" not in out and "12345678" not in out and "it's" not in out and "it\\u0027s" not in out
    told = [json.loads(line) for line in out.splitlines()]
    assert told[0]["message"] == "${SECRET} and ${SECRET}" and told[0]["bytes"] == "${SECRET}"


def test_what_a_terminal_would_act_on_is_escaped_and_no_number_is_not_one(capsys: pytest.CaptureFixture[str]) -> None:
    log_lines.write("note", "a\x1b[2J\u202eb\nc", seconds=float("nan"), seed=3, made=True, log=None)
    out = capsys.readouterr().err
    assert out.isascii() and out.count("\n") == 1 and out.rstrip("\n").isprintable()
    (told,) = (json.loads(line, parse_constant=lambda name: pytest.fail(name)) for line in out.splitlines())
    assert told["message"] == "a\x1b[2J\u202eb\nc"
    assert (told["seconds"], told["seed"], told["made"]) == ("nan", 3, True) and "log" not in told


@pytest.mark.parametrize(
    ("text", "event", "message"),
    [
        ("again     a worker did not start", "again", "a worker did not start"),
        ("waiting   Ray does not answer", "waiting", "Ray does not answer"),
        ("warning: the Ray cluster asks for no token", "warning", "the Ray cluster asks for no token"),
        ("stopping: 1 trial leaves a checkpoint", "stopping", "1 trial leaves a checkpoint"),
        ("starting Ray", "note", "starting Ray"),
        ("data of the category", "note", "data of the category"),
        ("", "note", ""),
    ],
)
def test_the_event_stands_before_the_text(text: str, event: str, message: str) -> None:
    assert split_heading(text) == (event, message)


def test_messages_of_libraries_are_lines_too(capsys: pytest.CaptureFixture[str]) -> None:
    logging.getLogger("some.library").warning("odd %s", "thing")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old", stacklevel=1)
    first, second = lines(capsys)
    assert (first["message"], first["logger"], first["level"]) == ("odd thing", "some.library", "warning")
    assert "UserWarning: old" in second["message"]
    log_lines.use("text")
    assert log_lines._handler not in logging.getLogger().handlers


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere.yaml"], "nowhere.yaml"),
        (["job.yaml", "--set", "nokey=1"], "nokey"),
        (["job.yaml", "--metrics-port", "70000"], "--metrics-port 70000: ports end at 65535"),
        (["job.yaml", "--metrics-port", "9464", "--address", "auto"], "--metrics-port is for a Ray of the run's own"),
    ],
)
def test_a_run_that_cannot_start_says_so_in_one_line(
    plan_of: Callable[..., Plan], capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    plan_of()
    done = CliRunner().invoke(app, ["run", *arguments, "--log-format", "json"])
    assert done.exit_code in (1, 2) and done.stdout == ""
    (line,) = done.stderr.splitlines()
    told = json.loads(line)
    assert told["event"] == "error" and said in told["message"] and told["exit_code"] == done.exit_code
    assert CliRunner().invoke(app, ["run", *arguments]).stderr.startswith("fod-bench: "), "text again"


def test_a_closed_standard_error_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", None)
    log_lines.write("note", "x")
    monkeypatch.setattr("sys.stderr", said := io.StringIO())
    log_lines.write("note", "y")
    assert json.loads(said.getvalue())["message"] == "y"
