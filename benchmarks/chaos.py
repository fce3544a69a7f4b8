"""A sweep on three nodes over a bucket, under faults drawn from a seed: `python -m benchmarks.chaos`.

Workers are killed or stopped past their lease, nodes killed or removed, the driver is killed, the head's GCS is killed and the
cluster made anew, and the connections to the store are disturbed. Sweeps of 66 trials follow one another until the time is
over; then the last one ends undisturbed, the same trials run once more undisturbed on a folder, and everything is compared.
Exit code 1 when anything is wrong.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

from fod_bench.errors import INTERRUPTED
from fod_bench.store import Store, open_store
from tests.helpers.commands import DRAWN, LIMIT, Bench, Running
from tests.helpers.faulty_proxy import Fault, FaultyProxy
from tests.helpers.ray_nodes import SETTINGS, Node, Nodes, send
from tests.helpers.s3_servers import Server, moto
from tests.helpers.store_watch import faults_of, records_in

LEASE = 8.0
NODES = 3
SEEDS = 11
CATEGORIES = ["weave", "board", "tray"]
OUTCOMES = {
    0: "went through",
    1: "gave up on the store or the cluster",
    3: "set trials apart",
    INTERRUPTED: "was interrupted while its cluster was gone",
    -signal.SIGKILL: "was killed",
}

FAULTS = {
    "worker killed": 6,
    "worker stopped past its lease": 2,
    "node killed": 1,
    "node left": 1,
    "driver killed": 2,
    "GCS killed": 1,
    "store out of reach": 1,
    "drop": 2,
    "error": 2,
    "break_upload": 2,
    "swallow": 3,
    "cut_head": 2,
    "reset": 2,
    "truncate": 2,
    "delay": 1,
}
"""Fault to its weight."""


class Chaos:
    """The cluster, the store behind the proxy, the sweeps, and the faults."""

    def __init__(self, bench: Bench, server: Server, proxy: FaultyProxy, seed: int) -> None:
        self.bench, self.server, self.proxy = bench, server, proxy
        self.random = random.Random(seed)
        self.uri = server.address("chaos", proxy.endpoint)
        self.given: Counter[str] = Counter()
        self.drivers: Counter[str] = Counter()
        self.sweeps = 0
        self._make_cluster()
        self._cluster_there = threading.Event()
        self._cluster_there.set()
        self._undisturbed = threading.Event()
        self._driver: Running | None = None
        self._later: list[threading.Timer] = []

    def _make_cluster(self) -> None:
        self.nodes = Nodes(self.bench, self.server.environment())
        self.workers: list[Node] = self.nodes.add(NODES)

    def job(self, sweep: int, **keys: Any) -> str:
        """Job file of one sweep: the same trials with seeds of its own."""
        return self.bench.job(
            f"sweep{sweep}",
            datasets={"drawn": {**DRAWN, "categories": CATEGORIES}},
            settings={"epochs": 60, "evaluate_every": 30},
            variants={"FOD": {}, "Patch-only": {"views": "patch"}},
            seeds=list(range(sweep * SEEDS, (sweep + 1) * SEEDS)),
            checkpoint_seconds=1.0,
            lease_seconds=LEASE,
            **keys,
        )

    def sweep_on(self) -> None:
        """Run sweep after sweep until no more faults come and the last one has gone through; a killed driver is started again."""
        while not self._undisturbed.is_set():
            self.sweeps += 1
            job = self.job(self.sweeps, store=self.uri)
            while True:
                retry = ["--retry-failed"] if self._undisturbed.is_set() else []
                environment = self.server.environment() | SETTINGS
                self._cluster_there.wait()
                self._driver = self.bench.start("run", job, "--address", self.nodes.address, *retry, **environment)
                code = self._driver.process.wait()
                said = self._driver.finished().err
                self.drivers[OUTCOMES.get(code, f"ended with {code}")] += 1
                if code == 2 or self.drivers[OUTCOMES[1]] > 30:
                    raise RuntimeError(f"the driver does not get on: {said}")
                if code not in (0, -signal.SIGKILL):
                    print(f"{_time()} driver ended with {code}: {said.splitlines()[-1] if said else ''}", flush=True)
                if code == 0 or (code == 3 and not self._undisturbed.is_set()):
                    break  # what was set apart is tried again at the end
        for sweep in range(1, self.sweeps):
            again = self.bench.start(
                "run",
                f"sweep{sweep}.yaml",
                "--address",
                self.nodes.address,
                "--retry-failed",
                **(self.server.environment() | SETTINGS),
            )
            self.drivers["looked after a sweep at the end"] += 1
            again.process.wait()

    def disturb(self, seconds: float) -> None:
        """Give one fault every few seconds, for a time in seconds."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(self.random.uniform(3.0, 9.0))  # the pace of the faults, which nothing waits for
            (fault,) = self.random.choices(list(FAULTS), list(FAULTS.values()))
            if self._give(fault):
                self.given[fault] += 1
                print(f"{_time()} {fault}", flush=True)
        self.stop_faults()

    def stop_faults(self) -> None:
        """No more faults; what was stopped goes on."""
        self._undisturbed.set()
        for timer in self._later:
            timer.join()
        self.proxy.lift()

    def _give(self, fault: str) -> bool:
        node = self.random.choice(self.workers)
        if fault in ("worker killed", "worker stopped past its lease"):
            processes = node.workers()
            if not processes:
                return False
            process = self.random.choice(processes)
            if fault == "worker killed":
                send(process, signal.SIGKILL)
            else:
                send(process, signal.SIGSTOP)
                self._in(LEASE + self.random.uniform(2.0, 8.0), lambda: send(process, signal.SIGCONT))
        elif fault in ("node killed", "node left"):
            node.kill() if fault == "node killed" else node.leave()
            self.workers.remove(node)
            self.workers += self.nodes.add()
        elif fault == "driver killed":
            if self._driver is None or self._driver.process.poll() is not None:
                return False
            with suppress(ProcessLookupError):
                self._driver.signal(signal.SIGKILL)
        elif fault == "GCS killed":
            return self._kill_gcs()
        elif fault == "store out of reach":
            self.proxy.go_down()
            self._in(self.random.uniform(5.0, 40.0), self.proxy.lift)
        else:
            self.proxy.inject(
                Fault(
                    fault,  # type: ignore[arg-type]
                    after=self.random.randrange(400 if fault == "cut_head" else 4000),  # headers are short
                    seconds=self.random.uniform(0.5, 5.0),
                    status=self.random.choice([500, 503]),
                    times=self.random.randrange(1, 12),
                )
            )
        return True

    def _kill_gcs(self) -> bool:
        """The driver says that it waits for its cluster, and heeds an interrupt; the next one finds a new cluster.

        The old one cannot be mended: a GCS that keeps its state in memory, as it does unless told otherwise, comes back as that of
        another cluster, which the nodes of the old one do not join.
        """
        driver = self._driver
        if driver is None or driver.process.poll() is not None or "done  " not in driver.said():
            return False  # there is none, or it may not have joined yet
        self._cluster_there.clear()
        try:
            self.nodes.head.kill_gcs()
            # It may have ended: it was just through, or gave up on the store.
            with suppress(AssertionError, ProcessLookupError):
                driver.reaches(lambda: "does not answer" in driver.said(), "it says that its cluster is gone")
                driver.signal(signal.SIGINT)
            driver.process.wait(LIMIT)
            for node in (self.nodes.head, *self.workers):
                node.kill()
            self._make_cluster()
        finally:
            self._cluster_there.set()
        return True

    def _in(self, seconds: float, act: Any) -> None:
        timer = threading.Timer(seconds, act)
        timer.start()
        self._later.append(timer)


def main() -> int:
    """Disturb, compare, print the counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fod-bench-") as name, moto(Path(name)) as servers:
        bench = Bench(Path(name))
        try:
            with FaultyProxy(servers["moto"].endpoint) as proxy:
                chaos = Chaos(bench, servers["moto"], proxy, options.seed)
                sweeps = threading.Thread(target=chaos.sweep_on)
                sweeps.start()
                try:
                    chaos.disturb(60 * options.minutes)
                finally:
                    chaos.stop_faults()
                    sweeps.join()
                return report(chaos)
        finally:
            bench.close()


def report(chaos: Chaos) -> int:
    """Print what was given and what was found wrong; the exit code."""
    import os

    os.environ |= chaos.server.environment() | {"FOD_BENCH_CACHE": str(chaos.bench.folder / "cache")}
    store = open_store(chaos.uri)
    wrong = _wrong(chaos, store)
    records = records_in(store)
    print("\nfaults given:")
    for fault in FAULTS:
        print(f"  {fault:32}{chaos.given[fault]:5}")
    requests = {kind: count for kind, count in chaos.proxy.counts.items() if kind != "request"}
    print(
        f"  in all {chaos.given.total()}; connections disturbed: {requests} of {chaos.proxy.counts['request']} requests"
    )
    print(f"drivers: {dict(chaos.drivers)}")
    generations = Counter(int(record.run.claim.split("-")[0]) for record in records.values())
    resumed = sum(bool(record.run.resumed_after) for record in records.values())
    begun = sum(generation * count for generation, count in generations.items())
    print(
        f"{chaos.sweeps} sweeps: trainings begun {begun}, recorded {len(records)}, resumed from a checkpoint {resumed}"
    )
    print(f"records by the generation of their claim: {dict(sorted(generations.items()))}")
    for line in wrong:
        print(f"WRONG: {line}")
    survived = f"all {chaos.given.total()} faults survived: nothing lost, nothing twice, nothing half"
    print(f"{len(wrong)} things are wrong" if wrong else survived)
    return 1 if wrong else 0


def _wrong(chaos: Chaos, store: Store) -> list[str]:
    """Everything that is not as it should be."""
    wrong: list[str] = []
    for sweep in range(1, chaos.sweeps + 1):
        chaos.bench.start("run", chaos.job(sweep, store="quiet"), "--quiet").process.wait()
    expected = chaos.bench.digests("quiet")
    wrong += faults_of(store, expected)
    if len(expected) != chaos.sweeps * 2 * len(CATEGORIES) * SEEDS:
        wrong.append(f"the quiet run made {len(expected)} records")
    verified = chaos.bench.start("store", "verify", "--store", chaos.uri, **chaos.server.environment()).finished()
    if verified.code != 0:
        wrong.append(f"store verify: {verified.out or verified.err}")
    return wrong


def _time() -> str:
    return time.strftime("%H:%M:%S")


if __name__ == "__main__":
    sys.exit(main())
