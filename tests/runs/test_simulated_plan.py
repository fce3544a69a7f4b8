"""A plan on a cluster that need not be there: in which form it is given, what comes of it, and how it is drawn."""

from __future__ import annotations

import errno
import json
import re
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner

from fod_bench.cli.app import app
from fod_bench.errors import FodBenchError, UsageError
from fod_bench.job import load_job
from fod_bench.plan import Plan, make_plan
from fod_bench.plan.durations import Durations
from fod_bench.records.names import record_name
from fod_bench.runs.budget import parse_budget
from fod_bench.runs.prices import read_prices
from fod_bench.runs.resources import Share
from fod_bench.runs.simulate.cluster_form import parse_cluster
from fod_bench.runs.simulate.simulate import Simulated, simulate
from fod_bench.runs.simulate.timeline import timeline_svg
from fod_bench.store import open_store

PRICES = read_prices()
MVTEC = Path(__file__).parents[2] / "jobs/table01_02_06_mvtec.yaml"


def test_a_cluster_is_given_by_nodes_and_gpus_or_by_machines() -> None:
    (group,) = parse_cluster("64x8", PRICES)
    assert (group.nodes, group.node.gpus) == (64, 8) and PRICES.machines[group.machine].gpus == 8
    first, second = parse_cluster("2xp5.48xlarge + 4×c7i.8xlarge", PRICES)
    assert (first.nodes, first.machine, first.node.gpu, first.per_hour) == (2, "p5.48xlarge", "H100", 55.04)
    assert (second.nodes, second.node.cpus, second.node.gpus) == (4, 32, 0)


@pytest.mark.parametrize("text", ["", "64", "x8", "64x", "0x8", "64*8", "-1x8", "99999x8", "64x8+", "64x8,2x1"])
def test_another_form_is_refused_with_what_would_be_right(text: str) -> None:
    with pytest.raises(UsageError, match=r"--simulate .*should be NODESxGPUS, such as 64x8, or NODESxMACHINE"):
        parse_cluster(text, PRICES)


def test_a_machine_without_a_price_is_named() -> None:
    with pytest.raises(
        FodBenchError, match=r"no price for a machine 'p5\.48xlarg'; did you mean p5\.48xlarge .*\?; --prices"
    ):
        parse_cluster("2xp5.48xlarg", PRICES)
    with pytest.raises(FodBenchError, match=r"with 7 GPUs; the list has machines with 0, 1, 4, 8: .* --prices FILE"):
        parse_cluster("2x7", PRICES)


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """Seven methods on MVTec AD, whose images are not here, two seeds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("nothing"))
        patch.delenv("FOD_DATA", raising=False)
        return make_plan(load_job(MVTEC, ["seeds=[1,2]"]), download=False)


def simulated(plan: Plan, form: str, **options: object) -> Simulated:
    trials = list(plan.trials.values())
    return simulate(plan, trials, frozenset(), Durations(), parse_cluster(form, PRICES), **options)  # type: ignore[arg-type]


def test_every_training_is_done_once_on_what_it_is_for(plan: Plan) -> None:
    found = simulated(plan, "2xg6.48xlarge+2xc7i.8xlarge")
    done = [key for span in found.spans if span.training for key in span.keys]
    assert sorted(done) == sorted(plan.trials) and found.trainings == len(done)
    cpu_only = {"padim", "patchcore"}
    for span in found.spans:
        if span.training:
            methods = {found.trials[key].settings.method for key in span.keys}
            assert (methods <= cpu_only) == (span.share.gpus == 0), span
    assert {span.node for span in found.spans if span.training and not span.share.gpus} == {"node2", "node3"}


def test_no_node_has_more_on_it_than_it_holds(plan: Plan) -> None:
    found = simulated(plan, "2xg6.xlarge")
    for moment in {span.since for span in found.spans}:
        for node in ("node0", "node1"):
            there = [span.share for span in found.spans if span.node == node and span.since <= moment < span.until]
            assert sum(share.gpus for share in there) <= 1 + 1e-9 and sum(share.cpus for share in there) <= 4


def test_time_is_near_the_least_there_is_and_gpus_are_kept_busy(plan: Plan) -> None:
    found = simulated(plan, "1x8")
    assert found.bound <= found.seconds <= 1.1 * found.bound
    assert found.use > 0.95 and found.use <= found.use_of_needed <= 1.0
    assert found.dollars == pytest.approx(found.seconds / 3600 * 13.3504)
    assert found.dollars_given_back == pytest.approx(found.dollars)
    many = simulated(plan, "16x8")
    assert many.seconds == pytest.approx(many.bound, rel=0.01), "of the longest training"
    assert many.use < 0.5 < 0.95 < many.use_of_needed and many.dollars_given_back < 0.8 * many.dollars


def test_a_budget_does_the_first_rows_and_names_the_others(plan: Plan) -> None:
    found = simulated(plan, "1x8", budget=parse_budget("2h"))
    assert found.seconds <= 7200 and 0 < found.trainings < len(plan.trials)
    draem = [line for line in found.left_out if line.startswith("DRAEM · seed 1: ")]
    assert draem and "of 15 categories (mvtec/bottle, mvtec/cable" in draem[0], "too long, most of them"
    assert not any(line.startswith("FOD · seed 1") for line in found.left_out)
    cheap = simulated(plan, "1x8", budget=parse_budget("26.70USD"))
    assert cheap.trainings == found.trainings, "which is what two hours cost"
    with pytest.raises(UsageError, match="holds nothing"):
        simulated(plan, "1x8", budget=parse_budget("1s"))


def test_the_drawing_has_a_piece_for_every_piece_of_work(plan: Plan) -> None:
    found = simulated(plan, "1x8")
    root = ElementTree.fromstring(timeline_svg(found, "a <title> & more"))
    titles = [element.text or "" for element in root.iter("{http://www.w3.org/2000/svg}title")]
    assert len(titles) == len(found.spans)
    assert any(re.match(r"mvtec/hazelnut · FOD · seed 1: .* on node0, 1 CPUs and", title) for title in titles)
    assert "a <title> & more" in [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]


def test_records_tell_how_long_things_take(plan_of: Callable[..., Plan]) -> None:
    plan = plan_of(seeds=[1, 2, 3])
    trials = list(plan.trials.values())

    class Known(Durations):
        def estimate(self, trial: object, *, gpu: bool, threads: float) -> float:
            return 500.0

        def on(self, gpu: str) -> Durations:
            return self

    found = simulate(plan, trials, frozenset(), Known(), parse_cluster("1xm7i.large", PRICES))
    assert [round(span.until - span.since) for span in found.spans if span.training] == [500] * 3
    assert {span.share for span in found.spans} == {Share(1, 0)} and 1000 < found.seconds < 1100


class TestCommand:
    @pytest.fixture
    def job(self, plan_of: Callable[..., Plan], tmp_path: Path) -> str:
        plan_of(seeds=[1, 2])
        return str(tmp_path / "job.yaml")

    def test_it_shows_what_is_left_and_draws_it(self, job: str, tmp_path: Path) -> None:
        options = [
            "--simulate",
            "1xc7i.8xlarge",
            "--store",
            str(tmp_path / "store"),
            "--timeline",
            str(tmp_path / "t.svg"),
        ]
        result = CliRunner().invoke(app, ["plan", job, *options])
        assert result.exit_code == 0, result.output
        assert "Simulated on 1xc7i.8xlarge" in result.output and "no order takes less than" in result.output
        assert "until the last tenth" in result.output and "/catalogs/v8/aws/vms.csv" in result.output
        ElementTree.parse(tmp_path / "t.svg")
        again = CliRunner().invoke(app, ["plan", job, *options])
        assert again.exit_code == 2 and "t.svg: is there already; --force replaces it" in again.output
        told = json.loads(CliRunner().invoke(app, ["plan", job, *options, "--force", "--json"]).stdout)["simulation"]
        assert (told["trainings"], told["nodes"], told["left_out"]) == (2, {"c7i.8xlarge": 1}, [])

    def test_nodes_of_one_machine_are_counted_together(self, job: str, tmp_path: Path) -> None:
        options = ["--simulate", "2xc7i.8xlarge+1x1+3xc7i.8xlarge", "--store", str(tmp_path / "store"), "--json"]
        told = json.loads(CliRunner().invoke(app, ["plan", job, *options]).stdout)["simulation"]
        assert told["nodes"] == {"c7i.8xlarge": 5, PRICES.with_gpus(1): 1}

    def test_a_timeline_is_whole_or_what_was_there_before(
        self, job: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fails(*_: object) -> Path:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(Path, "replace", fails)
        (tmp_path / "t.svg").write_text("before")
        options = ["--simulate", "1xc7i.8xlarge", "--timeline", str(tmp_path / "t.svg"), "--force"]
        result = CliRunner().invoke(app, ["plan", job, *options, "--store", str(tmp_path / "store")])
        assert result.exit_code == 1 and "the timeline cannot be written to" in result.output
        assert (tmp_path / "t.svg").read_text() == "before"

    def test_with_nothing_left_it_says_so(self, job: str, tmp_path: Path) -> None:
        store = open_store(str(tmp_path / "store"))
        for key in make_plan(load_job(job), download=False).trials:
            store.put(record_name(key), b"{}")
        result = CliRunner().invoke(app, ["plan", job, "--simulate", "1x8", "--store", store.uri])
        assert result.exit_code == 1 and "nothing is left to simulate" in result.output

    @pytest.mark.parametrize(
        ("options", "code", "told"),
        [
            (["--simulate", "lots"], 2, "should be NODESxGPUS"),
            (["--simulate", "2x7"], 1, "no price for a machine with 7 GPUs"),
            (["--simulate", "1x8", "--budget", "much"], 2, "should be a time"),
            (["--simulate", "1x8", "--timeline", "nowhere/t.svg"], 2, "there is no folder nowhere"),
            (["--simulate", "1x8", "--prices", "none.yaml"], 1, "cannot be read"),
            (["--timeline", "t.svg"], 2, "give --simulate too"),
            (["--simulate", "1x8", "--force"], 2, "give --timeline FILE too"),
            (["--budget", "3h"], 2, "give --simulate too"),
        ],
    )
    def test_what_cannot_be_is_said_in_a_line(self, job: str, options: list[str], code: int, told: str) -> None:
        result = CliRunner().invoke(app, ["plan", job, *options])
        assert result.exit_code == code and told in result.output
        assert len(result.output.strip().splitlines()) == 1 and "Plan of" not in result.output
