"""A sweep over three hosts and a bucket, one cut off and one killed in the middle: `python -m benchmarks.hosts`.

The hosts are network namespaces of this machine (`tests/helpers/hosts.py` says what they need). Each runs Ray as a service; the
run is driven from the first, which trains too. The store is on an S3 server that they reach over the network. While the second
host trains, it is cut off for a minute; its training goes on elsewhere. Then the third, at work too, is killed and stays away. The
second comes back, and trains again. In the end the store is compared with that of a quiet run.
Exit code 0 when nothing is wrong, 1 when something is, 2 where this machine allows no such hosts.
"""

from __future__ import annotations

import argparse
import os
import secrets
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from fod_bench.store import Store, open_store
from tests.helpers.commands import DRAWN, Bench, Finished, Running
from tests.helpers.hosts import ADDRESS, Host, Network, why_not, within
from tests.helpers.ray_nodes import SETTINGS
from tests.helpers.s3_servers import Server, moto
from tests.helpers.store_watch import Holder, faults_of, holders, records_in

HOSTS = 3
PORT = 6379
CATEGORIES = ["weave", "board"]


class Sweep:
    """Three hosts, each with Ray and one CPU, and the run of a job on them."""

    def __init__(self, bench: Bench, network: Network, server: Server, options: argparse.Namespace) -> None:
        self.bench, self.network, self.options = bench, network, options
        self.uri = server.address("hosts")
        self.environment = server.environment() | SETTINGS
        self.environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        os.environ |= server.environment() | {"FOD_BENCH_CACHE": str(bench.folder / "cache")}
        self.store: Store = open_store(self.uri)
        self.head = network.next_address()

    def quiet_run(self) -> Finished:
        """The same trainings on this machine alone, undisturbed."""
        return self.bench.start("run", self._job("quiet", store="quiet"), "--quiet").finished()

    def begin(self) -> tuple[list[Host], Running]:
        """Switch the hosts on and start the run."""
        hosts = [self._host() for _ in range(HOSTS)]
        job = self._job("hosts", store=self.uri)
        command = hosts[0].command(
            sys.executable, "-m", "fod_bench.cli.app", "run", job, "--address", f"{self.head}:{PORT}"
        )
        cache = str(self.bench.folder / "caches/driver")
        return hosts, self.bench.start_process(*command, **self.environment, FOD_BENCH_CACHE=cache)

    def disturb(self, hosts: list[Host], running: Running) -> tuple[Holder, Holder]:
        """Cut the second host off and kill the third, each while it trains; what they were at."""
        first, second, third = hosts
        cut = self._at_work(running, second, lambda one: one.checkpoints > 0)
        if self.options.reaches_store:
            second.cut_off_from(first)
        else:
            second.cut_off()
        end = time.monotonic() + self.options.seconds
        _say(f"{second.name} is cut off, in the middle of {_named(cut)}")

        def elsewhere() -> str:
            done = records_in(self.store).get(cut.key)
            if done is not None:
                return f"is recorded by {done.run.host}"
            other = [one for one in holders(self.store) if one.key == cut.key and one.claim != cut.claim]
            return f"goes on at {other[0].host}" if other else ""

        _say(f"{_named(cut)} {running.reaches(elsewhere, 'its training goes on elsewhere')}")
        killed = self._at_work(running, third, lambda one: one.checkpoints > 0 and one.key != cut.key)
        third.kill()
        _say(f"{third.name} is killed, in the middle of {_named(killed)}")
        running.reaches(lambda: time.monotonic() > end, "the time is over")
        second.connect()
        _say(f"{second.name} is connected again")
        again = self._at_work(running, second, lambda one: one.claim != cut.claim)
        _say(f"{second.name} trains again: {_named(again)}")
        return cut, killed

    def wrong(self, done: Finished, quiet: Finished, lost: tuple[Holder, Holder]) -> Iterator[str]:
        """Everything that is not as it should be."""
        records = records_in(self.store)
        if done.code:
            yield f"the run ended with {done.code}: {done.err}"
        if quiet.code:
            yield f"the quiet run ended with {quiet.code}: {quiet.err}"
        if done.out != quiet.out.replace("quiet:", "hosts:"):
            yield f"the run's table is not the quiet run's:\n{done.out}\n{quiet.out}"
        expected = self.bench.digests("quiet")
        if len(expected) != self.options.trainings:
            yield f"the quiet run made {len(expected)} records"
        yield from faults_of(self.store, expected)
        for holder in lost:
            run = records[holder.key].run if holder.key in records else None
            # who is cut off from the head alone may end it while its claim still holds
            if run is not None and run.claim != holder.claim and not run.resumed_after:
                yield f"{_named(holder)} began anew, though there was a checkpoint"
        verified = self.bench.start("store", "verify", "--store", self.uri, **self.environment).finished()
        if verified.code:
            yield f"store verify: {verified.out or verified.err}"

    def _host(self) -> Host:
        address = self.network.next_address()
        joins = (f"--address={self.head}:{PORT}", "--include-log-monitor=false")
        temporary = Path(self.bench.environment["RAY_TMPDIR"]) / address.rpartition(".")[2]
        temporary.mkdir()
        return self.network.add(
            str(Path(sys.executable).with_name("ray")),
            "start",
            "--block",
            *(joins if address != self.head else ("--head", f"--port={PORT}", "--include-dashboard=false")),
            f"--node-ip-address={address}",
            "--num-cpus=1",
            f"--temp-dir={temporary}",
            f"--object-store-memory={100 << 20}",
            "--disable-usage-stats",
            **self.environment,
            RAY_TMPDIR=str(temporary),
            FOD_BENCH_CACHE=str(self.bench.folder / "caches" / address),
        )

    def _job(self, name: str, **keys: Any) -> str:
        return self.bench.job(
            name,
            datasets={"drawn": {**DRAWN, "categories": CATEGORIES}},
            settings={"epochs": self.options.epochs, "evaluate_every": self.options.epochs // 4},
            seeds=list(range(self.options.trainings // len(CATEGORIES))),
            checkpoint_seconds=1.0,
            lease_seconds=self.options.lease,
            **keys,
        )

    def _at_work(self, running: Running, host: Host, fits: Callable[[Holder], bool]) -> Holder:
        def found() -> Holder | None:
            return next((one for one in holders(self.store) if one.host == host.name and fits(one)), None)

        holder = running.reaches(found, f"{host.name} is at work")
        assert holder is not None
        return holder


def main() -> int:
    """Make room for the hosts, run the sweep within; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long the second host is cut off (60)")
    parser.add_argument("--reaches-store", action="store_true", help="it is cut off from the cluster's head only")
    parser.add_argument("--trainings", type=int, default=24, help="even (24)")
    parser.add_argument("--epochs", type=int, default=160, help="of each training (160)")
    parser.add_argument("--lease", type=float, default=20.0, help="seconds after which a claim is taken over (20)")
    parser.add_argument("--within", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.within is not None:
        return sweep(options)
    if reason := why_not():
        print(f"not run: {reason}")
        return 2
    with TemporaryDirectory(prefix="fb", dir="/tmp") as folder:  # short: Ray's sockets lie below it
        return within("benchmarks.hosts", [*sys.argv[1:], f"--within={folder}"])


def sweep(options: argparse.Namespace) -> int:
    """Run, disturb, compare, print what was found; the exit code."""
    folder: Path = options.within
    bench = Bench(folder, folder)
    try:
        network = Network(bench)
        with moto(folder, ADDRESS) as servers:
            made = Sweep(bench, network, servers["moto"], options)
            _say(f"a quiet run of {options.trainings} trainings")
            quiet = made.quiet_run()
            hosts, running = made.begin()
            _say(f"the run on {HOSTS} hosts")
            try:
                lost = made.disturb(hosts, running)
                done = running.finished()
            except AssertionError:
                for host in hosts:
                    print(f"{host.name}: {host.service.said()[-2000:]}")
                raise
            finally:
                print(running.said(), flush=True)
            return report(made, list(made.wrong(done, quiet, lost)))
    finally:
        bench.close()


def report(made: Sweep, wrong: list[str]) -> int:
    """Print what was recorded and what is wrong; the exit code."""
    records = records_in(made.store).values()
    by_host = Counter(record.run.host for record in records)
    resumed = sum(bool(record.run.resumed_after) for record in records)
    print(
        f"recorded {len(records)} trainings, resumed from a checkpoint {resumed}; by host {dict(sorted(by_host.items()))}"
    )
    for line in wrong:
        print(f"WRONG: {line}")
    print(f"{len(wrong)} things are wrong" if wrong else "whole: nothing lost, nothing twice, equal to the quiet run's")
    return 1 if wrong else 0


def _named(holder: Holder) -> str:
    return f"training {holder.key[:8]}"


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
