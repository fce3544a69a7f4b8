"""What a run may take: in which form it is said, how long it lasts, and what a run does when it is over."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from fod_bench.cli.app import app
from fod_bench.errors import ClusterError, FodBenchError, UsageError
from fod_bench.plan import Plan, TrialJob
from fod_bench.plan.durations import Durations
from fod_bench.records.record import Trial
from fod_bench.runs import run
from fod_bench.runs.budget import Allowance, Budget, check_holds, left_out, parse_budget
from fod_bench.runs.prices import OWN, Machine, PriceList, read_prices
from fod_bench.runs.resources import NodeResources, Share
from fod_bench.runs.run import RunOptions, run_plan
from fod_bench.runs.simulate import SimulatedClock, SimulatedExecutor
from fod_bench.store import open_store
from tests.helpers.simulation import Scripted
from tests.runs.test_run import Clusters

L4 = NodeResources(4, 1, gpu="L4")


@pytest.mark.parametrize(
    ("text", "seconds", "dollars"),
    [
        *[("90s", 90, math.inf), ("1.5h", 5400, math.inf), ("30min", 1800, math.inf), ("2 d", 172800, math.inf)],
        *[("50USD", math.inf, 50), ("$12.5", math.inf, 12.5), ("7 usd", math.inf, 7)],
    ],
)
def test_a_budget_is_a_time_or_an_amount(text: str, seconds: float, dollars: float) -> None:
    assert parse_budget(text) == Budget(seconds, dollars)


@pytest.mark.parametrize("text", ["", "3", "h", "-3h", "3 weeks", "$3h", "50EUR", "0h", "0USD", "1e3s", "nan h"])
def test_another_form_is_refused_with_what_would_be_right(text: str) -> None:
    with pytest.raises(UsageError, match=r"--budget .*such as.* 3h.*50USD"):
        parse_budget(text)


def test_money_lasts_as_long_as_the_nodes_that_are_there_let_it() -> None:
    clock = SimulatedClock()
    allowance = Allowance(Budget(dollars=1.0), clock, lambda node: 3.6)
    allowance.look({"a": L4})
    assert allowance.seconds == pytest.approx(1000)
    clock.sleep(400)
    allowance.look({"a": L4, "b": L4})
    assert (allowance.dollars, allowance.seconds) == (pytest.approx(0.4), pytest.approx(300))
    allowance.look({})
    assert allowance.seconds == math.inf, "nothing is spent"


class TestPrices:
    def test_every_price_of_the_list_has_its_source_at_a_fixed_commit_and_its_day(self) -> None:
        prices = read_prices()
        assert len(prices.machines) > 10
        for machine in prices.machines.values():
            assert re.fullmatch(r"https://github\.com/.+/blob/[0-9a-f]{40}/.+", machine.source), machine.source
            assert machine.date.year >= 2026 and machine.per_hour > 0
        link = Path(__file__).parents[2] / "clusters/prices.yaml"
        assert link.resolve() == OWN.resolve()

    def test_a_node_is_known_by_what_it_has_and_of_several_the_dearest_is_taken(self) -> None:
        prices = read_prices()
        assert prices.per_hour(L4) == max(prices.machines[name].per_hour for name in ("g6.xlarge", "g2-standard-4"))
        assert prices.per_hour(NodeResources(0)) == 0, "a head that trains nothing"
        with pytest.raises(
            FodBenchError, match=r"no price for a machine of the cluster, with 4 CPUs and 1 GPUs \(T4\).*--prices"
        ):
            prices.per_hour(NodeResources(4, 1, gpu="T4"))

    @pytest.mark.parametrize(
        ("content", "told"),
        [
            ("machines: {}\ncurrency: USD\n", "machines: holds no machine"),
            ("currency: EUR\nmachines: {}\n", "currency"),
            ("currency: USD\nmachines: {a: {cpus: 1}}\n", "machines.a.memory"),
            ("currency: [\n", "is not YAML"),
            ("!!python/object/apply:os.system ['true']\n", "is not YAML"),
            ("just text\n", "should be"),
        ],
    )
    def test_a_list_that_cannot_be_used_is_named_in_a_line(self, tmp_path: Path, content: str, told: str) -> None:
        path = tmp_path / "prices.yaml"
        path.write_text(content)
        with pytest.raises(FodBenchError) as refused:
            read_prices(path)
        assert str(path) in str(refused.value) and told in str(refused.value) and "\n" not in str(refused.value)
        with pytest.raises(FodBenchError, match="cannot be read"):
            read_prices(tmp_path / "none.yaml")


def test_a_node_without_a_price_does_not_count_and_is_named() -> None:
    allowance = Allowance(Budget(dollars=1.0), SimulatedClock(), read_prices().per_hour)
    allowance.look({"a": L4})
    lasts = allowance.seconds
    unpriced = allowance.look({"a": L4, "b": NodeResources(3)})
    assert allowance.seconds == lasts < math.inf
    assert list(unpriced) == ["b"] and "no price for a machine of the cluster, with 3 CPUs and 0 GPUs" in unpriced["b"]
    of_time = Allowance(Budget(seconds=60), SimulatedClock())
    assert of_time.look({"b": NodeResources(3)}) == {}, "a time needs no price"


ONE_CPU = PriceList(
    currency="USD",
    machines={"small": Machine(cpus=1, memory=4, per_hour=1.0, source="https://example.org", date=date(2026, 1, 1))},
)


@dataclass
class Joined(Clusters):
    """Of one node with a price; one without joins, gets a worker all the same, goes, and is followed by another."""

    cpus: float = 1.0

    @contextmanager
    def open(self, store_uri: str, expected_object: str, note: Callable[[str], None]) -> Iterator[SimulatedExecutor]:
        with super().open(store_uri, expected_object, note) as cluster:
            begin, nodes = cluster.start, iter(["node0", "node1"])

            def start(share: Share, node: str) -> int:
                return begin(share, next(nodes, node))

            def join() -> None:
                cluster.add_node(NodeResources(3))

            cluster.start = start  # type: ignore[method-assign]
            cluster.at(40.0, join)
            cluster.at(50.0, lambda: cluster.lose(cluster.working()[0], "killed"))
            cluster.at(80.0, lambda: cluster.lose_node("node1"))
            cluster.at(100.0, join)
            yield cluster


class TestRun:
    """Of two rows on two categories, a minute each, on one worker."""

    @pytest.fixture
    def plan(self, plan_of: Callable[..., Plan]) -> Plan:
        return plan_of(["weave", "board"], variants={"A": {}, "B": {"epochs": 3}}, seeds=[1])

    def test_when_it_is_over_the_first_row_is_whole_and_the_rest_is_named(
        self, plan: Plan, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        store = open_store(str(tmp_path / "store"))
        clusters = Clusters(store, Scripted(60.0), cpus=1.0)
        options = RunOptions(budget=parse_budget("200s"))
        counts, interrupted = run_plan(plan, store, options, clusters.open)
        assert not interrupted and not counts.failed and counts.left == 4 - counts.done
        assert counts.done == 2 and counts.left_out == ["B · seed 1: 2 of 2 categories (drawn/board, drawn/weave)"]
        assert "stopping: 1 trial leaves a checkpoint" in capsys.readouterr().err
        again, _ = run_plan(plan, store, RunOptions(quiet=True), clusters.open)
        assert (again.reused, again.done, again.left_out) == (2, 2, [])

    def test_what_would_not_end_in_time_is_not_begun(
        self, plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def seconds(trial: Trial) -> float:
            return 20.0 if trial.setting["epochs"] == 3 else 60.0

        class Known(Durations):
            def estimate(self, trial: TrialJob, *, gpu: bool, threads: float) -> float:
                return seconds(trial.trial(10.0))

        class Timed(Scripted):
            def train_seconds(self, trial: Trial, share: Share) -> float:
                return seconds(trial)

        monkeypatch.setattr(run, "recorded_durations", lambda *_: Known())
        store = open_store(str(tmp_path / "store"))
        clusters = Clusters(store, Timed(), cpus=1.0)
        counts, _ = run_plan(plan, store, RunOptions(budget=parse_budget("130s"), quiet=True), clusters.open)
        (cluster,) = clusters.opened
        begun = [plan.trials[key].rows for _, keys in cluster.handed_out for key in keys if key in plan.trials]
        assert begun == [["A"], ["B"]], "of the 42 s left after the first, the next of A would take 60"
        assert counts.done == 2

    def test_a_node_that_joins_without_a_price_gets_no_work_and_nothing_is_lost(
        self, plan: Plan, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        store = open_store(str(tmp_path / "store"))
        clusters = Joined(store, Scripted(60.0))
        counts, _ = run_plan(plan, store, RunOptions(budget=Budget(dollars=1.0), prices=ONE_CPU), clusters.open)
        assert (counts.done, counts.left_out) == (4, [])
        (cluster,) = clusters.opened
        assert {span.node for span in cluster.spans} == {"node0"}
        said = capsys.readouterr().err
        assert said.count("gets no work: no price for a machine of the cluster, with 3 CPUs and 0 GPUs") == 1

    def test_where_no_node_with_a_price_is_left_the_run_ends_with_the_reason(self, plan: Plan, tmp_path: Path) -> None:
        store = open_store(str(tmp_path / "store"))
        clusters = Joined(store, Scripted(60.0))

        @contextmanager
        def replaced(*given: Any) -> Iterator[SimulatedExecutor]:
            with clusters.open(*given) as cluster:
                cluster.at(60.0, lambda: cluster.lose_node("node0"))
                yield cluster

        with pytest.raises(ClusterError, match=r"no node that is left has a price: no price .* with 3 CPUs"):
            run_plan(plan, store, RunOptions(budget=Budget(dollars=1.0), prices=ONE_CPU, quiet=True), replaced)

    def test_of_a_part_of_the_plan_only_that_part_is_counted(self, plan: Plan, tmp_path: Path) -> None:
        store = open_store(str(tmp_path / "store"))
        clusters = Clusters(store, Scripted(60.0), cpus=1.0)
        options = RunOptions(only="*/drawn/weave", budget=parse_budget("60s"), quiet=True)
        counts, _ = run_plan(plan, store, options, clusters.open)
        assert counts.left_out == [f"{row} · seed 1: 1 of 1 categories (drawn/weave)" for row in "AB"]

    def test_one_that_holds_nothing_is_refused_before_anything_is_started(self, plan: Plan, tmp_path: Path) -> None:
        store = open_store(str(tmp_path / "store"))
        clusters = Clusters(store)
        with pytest.raises(
            UsageError, match=r"--budget 0 s holds nothing: the shortest training that is left takes about"
        ):
            run_plan(plan, store, RunOptions(budget=Budget(seconds=1e-6), quiet=True), clusters.open)
        assert clusters.opened == []
        prices = read_prices()
        clusters.cpus = 32.0
        with pytest.raises(UsageError, match=r"--budget \$0.00, which last 0 s on this cluster, holds nothing"):
            run_plan(plan, store, RunOptions(budget=Budget(dollars=1e-9), prices=prices, quiet=True), clusters.open)
        clusters.cpus = 3.0
        with pytest.raises(FodBenchError, match="no price for a machine of the cluster, with 3 CPUs and 0 GPUs"):
            run_plan(plan, store, RunOptions(budget=Budget(dollars=1.0), prices=prices, quiet=True), clusters.open)
        assert all(one.handed_out == [] for one in clusters.opened)


def test_a_price_list_for_a_budget_of_time_is_refused(tmp_path: Path) -> None:
    command = ["run", "job.yaml", "--prices", str(OWN), "--budget"]
    result = CliRunner().invoke(app, [*command, "3h"])
    assert result.exit_code == 2 and "--prices is for a budget of money, and --budget 3h is a time" in result.output
    result = CliRunner().invoke(app, [*command, "50USD"])
    assert "--prices" not in result.output and "job.yaml" in result.output, "the job is what is missing"


def test_what_is_left_out_is_named_by_row_and_seed(plan_of: Callable[..., Plan]) -> None:
    names = ["weave", "board", "tray"]
    plan = plan_of(names, variants={"A": {}, "B": {"epochs": 3}}, seeds=[1, 2])
    left = [
        trial for trial in plan.trials.values() if trial.rows == ["B"] and (trial.seed == 2 or trial.category == "tray")
    ]
    assert left_out(left, plan.trials.values(), "*/drawn/?ra*") == [
        "B · seed 1: 1 of 1 categories (drawn/tray)",
        "B · seed 2: 1 of 1 categories (drawn/tray)",
    ]
    assert sorted(left_out(left, plan.trials.values())) == [
        "B · seed 1: 1 of 3 categories (drawn/tray)",
        "B · seed 2: 3 of 3 categories (drawn/board, drawn/tray, drawn/weave)",
    ]


def test_the_shortest_decides_whether_a_budget_holds_anything() -> None:
    check_holds(Budget(seconds=100), 100, [500, 90])
    with pytest.raises(UsageError, match="takes about 2 min, the start of a worker included"):
        check_holds(Budget(seconds=100), 100, [500, 95])
