"""Hosts of their own on one machine, by Linux namespaces: each has its network, processes, name and shared memory.

    this program and its servers ── bridge ─┬─ host1
     10.77.0.1                              ├─ host2
                                            └─ host3

All of it, this program too, is within namespaces of its own: the machine's network is not touched, addresses cannot collide, and
the kernel ends every process in them when the program has ended, however that came about. Needs root, or a kernel that gives
every user namespaces; and util-linux, iproute2 and bash. Needs nothing of pytest, so that benchmarks can use it too.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from tests.helpers.commands import Bench, Running, children, die_with_parent

ADDRESS = "10.77.0.1"
"""Of this program, to the hosts."""
_OWN = ("--mount", "--uts", "--net", "--pid", "--fork", "--kill-child", "--mount-proc")
_PROGRAMS = ("unshare", "nsenter", "ip", "bash", "mount")
_TRIED = "ip link add one type bridge && ip link add two type veth peer name three && mount -t tmpfs tmpfs /dev/shm"
_BOOT = """
set -e
echo "$1" > /proc/sys/kernel/hostname
mount -t tmpfs tmpfs /dev/shm
ip link set lo up
until ip link show cable; do sleep 0.1; done > /dev/null 2>&1
ip address add "$2/24" dev cable
ip link set cable up
shift 2
set +e
while true; do "$@"; sleep 1; done
"""
"""What a host does: it joins the network, and starts its service again whenever that has ended."""


def why_not() -> str:
    """Why this machine can have no such hosts; empty where it can."""
    missing = [program for program in _PROGRAMS if shutil.which(program) is None]
    if missing:
        return f"{', '.join(missing)} not found"
    done = subprocess.run([*_unshare(), "sh", "-c", _TRIED], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    said = done.stderr.strip() or f"exit code {done.returncode}"
    return f"no namespaces may be made: {said.splitlines()[-1]}" if done.returncode else ""


def within(module: str, arguments: Sequence[str]) -> int:
    """Run `python -m module` where hosts can be made, and end what it has started with it; its exit code."""
    process = subprocess.Popen(
        [*_unshare(), sys.executable, "-m", module, *arguments], stdin=subprocess.DEVNULL, preexec_fn=die_with_parent()
    )
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return process.wait()
    finally:
        process.kill()
        process.wait()
        signal.signal(signal.SIGTERM, before)


def _unshare() -> list[str]:
    """The command that runs another in namespaces of its own; who is not root is root there."""
    return ["unshare", *(() if os.geteuid() == 0 else ("--user", "--map-root-user")), *_OWN]


@dataclass(frozen=True)
class Host:
    """A machine that is on, and the service it runs."""

    name: str
    address: str
    service: Running
    first: int
    """Its first process."""

    def command(self, *words: str) -> list[str]:
        """The command that runs another one on this host, in its service's folder."""
        return ["nsenter", f"--target={self.first}", "--mount", "--uts", "--net", "--pid", "--wd", *words]

    def cut_off(self) -> None:
        """Nothing gets to it or comes from it any more; neither side is told."""
        _ip("link", "set", self.name, "nomaster")

    def cut_off_from(self, other: Host) -> None:
        """It gets nothing to one other host any more, and reaches all the rest."""
        nobody = "02:00:00:00:00:01"
        self._ip("neighbour", "replace", other.address, "lladdr", nobody, "dev", "cable", "nud", "permanent")

    def connect(self) -> None:
        """Whatever was cut is whole again."""
        _ip("link", "set", self.name, "master", "bridge")
        self._ip("neighbour", "flush", "dev", "cable", "nud", "permanent")

    def _ip(self, *words: str) -> str:
        return _run(*self.command("ip", *words))

    def kill(self) -> None:
        """The power goes: the kernel ends all processes of a host with its first one."""
        with suppress(ProcessLookupError):
            os.kill(self.first, signal.SIGKILL)
        self.service.process.wait()


class Network:
    """The wire between the hosts; made once, in a program started by `within`."""

    def __init__(self, bench: Bench) -> None:
        self._bench, self._hosts = bench, 0
        _ip("link", "set", "lo", "up")
        _ip("link", "add", "bridge", "type", "bridge")
        _ip("address", "add", f"{ADDRESS}/24", "dev", "bridge")
        _ip("link", "set", "bridge", "up")

    def next_address(self) -> str:
        """That of the host that is added next."""
        return ADDRESS.removesuffix("1") + str(11 + self._hosts)

    def add(self, *service: str, **environment: str) -> Host:
        """Another host, which runs a command again and again, as a service."""
        address = self.next_address()
        self._hosts += 1
        name = f"host{self._hosts}"
        started = self._bench.start_process(
            "unshare", *_OWN, "bash", "-c", _BOOT, "bash", name, address, *service, **environment
        )
        (first,) = started.reaches(lambda: children(started.process.pid), f"{name} is on")
        _ip("link", "add", name, "type", "veth", "peer", "name", "cable", "netns", str(first))
        _ip("link", "set", name, "master", "bridge", "up")
        return Host(name, address, started, first)


def _ip(*words: str) -> str:
    return _run("ip", *words)


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout
