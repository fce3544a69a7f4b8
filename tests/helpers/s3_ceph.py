"""A Ceph cluster of one monitor, one manager and one disk in memory, with Ceph's S3 gateway before it.

Needs Debian's packages radosgw, ceph-mon, ceph-osd and ceph-mgr; `make test-ceph` installs them.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from tests.helpers.s3_servers import Daemons, Server, free_ports, make_certificate

PROGRAMS = ("ceph", "ceph-mon", "ceph-mgr", "ceph-osd", "monmaptool", "radosgw", "radosgw-admin")
_ACCESS_KEY, _SECRET_KEY = "ceph-access", "ceph-secret-key"


@contextlib.contextmanager
def ceph(folder: Path) -> Iterator[dict[str, Server]]:
    """`ceph` and `ceph-tls`, two doors to the same buckets."""
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        raise RuntimeError(
            f"Ceph is not installed, {', '.join(missing)} missing: `make test-ceph` installs it (as root)"
        )
    monitor, plain, tls = free_ports(3)
    certificate, key = make_certificate(folder)
    both = folder / "gateway.pem"
    both.write_bytes(key.read_bytes() + certificate.read_bytes())
    cluster, configuration = str(uuid.uuid4()), folder / "ceph.conf"
    configuration.write_text(_configuration(folder, cluster, monitor, plain, tls, both))
    for name in ("monitor", "manager", "disk", "run"):
        (folder / name).mkdir()
    environment = {"PATH": os.environ["PATH"], "CEPH_CONF": str(configuration)}

    with Daemons(folder) as daemons:
        # Monitor and disk are formatted first; -f keeps a daemon in the foreground, so that it stays our child.
        monitors = str(folder / "monitors")
        daemons.run(
            ["monmaptool", "--create", "--fsid", cluster, "--addv", "a", f"[v1:127.0.0.1:{monitor}]", monitors],
            environment,
        )
        daemons.run(["ceph-mon", "-i", "a", "--mkfs", "--monmap", monitors], environment)
        daemons.start("ceph-mon", ["ceph-mon", "-f", "-i", "a"], environment)
        disk = str(uuid.uuid4())
        daemons.run(["ceph", "--connect-timeout", "60", "osd", "new", disk], environment)
        daemons.start("ceph-mgr", ["ceph-mgr", "-f", "-i", "x"], environment)
        daemons.run(["ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", disk], environment)
        # Ceph 16's disk now and then ends without a word while it comes up for the first time.
        daemons.start_stubbornly("ceph-osd", ["ceph-osd", "-f", "-i", "0"], environment, starts=5)
        daemons.start("radosgw", ["radosgw", "-f", "-n", "client.rgw"], environment)
        servers = {
            "ceph": Server(f"http://127.0.0.1:{plain}", _ACCESS_KEY, _SECRET_KEY),
            "ceph-tls": Server(f"https://127.0.0.1:{tls}", _ACCESS_KEY, _SECRET_KEY, certificate),
        }
        daemons.wait_for_port(servers["ceph"].endpoint)
        account = [
            "--uid",
            "tests",
            "--display-name",
            "tests",
            "--access-key",
            _ACCESS_KEY,
            "--secret-key",
            _SECRET_KEY,
        ]
        daemons.run(["radosgw-admin", "user", "create", *account], environment)
        daemons.wait_for_bucket(servers["ceph"])
        yield servers


def _configuration(folder: Path, cluster: str, monitor: int, plain: int, tls: int, certificate: Path) -> str:
    """Text of ceph.conf: one copy of everything, kept in memory, nobody has to prove who he is inside the cluster."""
    return f"""
[global]
fsid = {cluster}
mon host = v1:127.0.0.1:{monitor}
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind msgr2 = false
auth cluster required = none
auth service required = none
auth client required = none
keyring = /dev/null
# The path of a socket must be short, and ours need not be.
admin socket =
run dir = {folder}/run
log file = {folder}/$name.log
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 4
osd pool default pgp num = 4
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
mon max pg per osd = 1000
mon data avail crit = 1

[mon]
mon data = {folder}/monitor
mon initial members = a

[mgr]
mgr data = {folder}/manager
mgr initial modules =

[osd]
osd data = {folder}/disk
osd objectstore = memstore
osd memory target = 1073741824
memstore device bytes = 4294967296
osd class load list = *
osd class default list = *

[client.rgw]
rgw frontends = beast endpoint=127.0.0.1:{plain} ssl_endpoint=127.0.0.1:{tls} ssl_certificate={certificate}
"""
