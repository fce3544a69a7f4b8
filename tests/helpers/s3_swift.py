"""OpenStack Swift with its S3 interface: a real server that checks signatures and checksums, installed with pip alone.

It keeps one copy of everything in a folder. Of racing conditional creations it lets several win.
"""

from __future__ import annotations

import contextlib
import os
import pwd
from collections.abc import Iterator
from pathlib import Path

from tests.helpers.s3_servers import Daemons, Server, free_ports, make_certificate

ENVIRONMENT = Path(__file__).parents[2] / ".venv-swift"
"""Swift wants packages of its own, so it has a virtual environment of its own."""
_ACCESS_KEY, _SECRET_KEY = "tests:somebody", "swift-secret-key"
_RINGS = """
import sys
from swift.common.ring import RingBuilder
folder = sys.argv[1]
for kind, port in zip(("account", "container", "object"), map(int, sys.argv[2:])):
    builder = RingBuilder(part_power=3, replicas=1, min_part_hours=0)
    builder.add_dev({"region": 1, "zone": 1, "ip": "127.0.0.1", "port": port, "device": "disk", "weight": 1})
    builder.rebalance()
    builder.get_ring().save(f"{folder}/{kind}.ring.gz")
"""
_FILTERS = ("catch_errors", "listing_formats", "bulk", "s3api", "tempauth", "slo")


@contextlib.contextmanager
def swift(folder: Path) -> Iterator[dict[str, Server]]:
    """`swift` and `swift-tls`, two doors to the same buckets."""
    if not (ENVIRONMENT / "bin" / "swift-proxy-server").exists():
        raise RuntimeError(f"there is no Swift in {ENVIRONMENT}: run `make setup`")
    _check_attributes(folder)
    (folder / "devices" / "disk").mkdir(parents=True)
    certificate, key = make_certificate(folder)
    account, container, objects, plain, tls = free_ports(5)
    (folder / "swift.conf").write_text(
        "[swift-hash]\nswift_hash_path_suffix = tests\n[storage-policy:0]\nname = one\ndefault = yes\n"
    )
    environment = {"PATH": os.environ["PATH"], "SWIFT_DIR": str(folder)}
    with Daemons(folder) as daemons:
        ports = [str(port) for port in (account, container, objects)]
        daemons.run([str(ENVIRONMENT / "bin" / "python"), "-c", _RINGS, str(folder), *ports], environment)
        for kind, port in (("account", account), ("container", container), ("object", objects)):
            storage = {
                "pipeline:main": {"pipeline": f"{kind}-server"},
                f"app:{kind}-server": {
                    "use": f"egg:swift#{kind}",
                    # A listing that could not be brought up to date in this many seconds would stay behind: nothing here
                    # mends it later, as a full Swift does.
                    "container_update_timeout": 60,
                },
            }
            _start(daemons, folder, f"swift-{kind}-server", f"swift-{kind}-server", port, storage, environment)
        for name, port, tls_settings in (
            ("proxy", plain, {}),
            ("proxy-tls", tls, {"cert_file": certificate, "key_file": key}),
        ):
            sections = {
                "pipeline:main": {"pipeline": " ".join([*_FILTERS, "proxy-server"])},
                "app:proxy-server": {
                    "use": "egg:swift#proxy",
                    "account_autocreate": "true",
                    # The servers behind share two busy cores with the tests; their slowness is not what is tested.
                    "node_timeout": 60,
                    "conn_timeout": 10,
                },
            } | {f"filter:{part}": {"use": f"egg:swift#{part}"} for part in _FILTERS}
            user, _, person = _ACCESS_KEY.partition(":")
            sections["filter:tempauth"] |= {f"user_{user}_{person}": f"{_SECRET_KEY} .admin"}
            sections["filter:s3api"] |= {"location": "us-east-1", "force_swift_request_proxy_log": "false"}
            _start(daemons, folder, "swift-proxy-server", name, port, sections, environment, tls_settings)
        servers = {
            "swift": Server(f"http://127.0.0.1:{plain}", _ACCESS_KEY, _SECRET_KEY),
            "swift-tls": Server(f"https://127.0.0.1:{tls}", _ACCESS_KEY, _SECRET_KEY, certificate),
        }
        for port in (account, container, objects):
            daemons.wait_for_port(f"http://127.0.0.1:{port}")
        daemons.wait_for_port(servers["swift-tls"].endpoint)
        daemons.wait_for_bucket(servers["swift"])
        yield servers


def _start(
    daemons: Daemons,
    folder: Path,
    program: str,
    name: str,
    port: int,
    sections: dict[str, dict[str, object]],
    environment: dict[str, str],
    settings: dict[str, object] | None = None,
) -> None:
    """Write the configuration of one of Swift's servers and start it."""
    common = {
        "bind_ip": "127.0.0.1",
        "bind_port": port,
        "swift_dir": folder,
        "devices": folder / "devices",
        "mount_check": "false",
        "workers": 0,  # serve in the process itself: there is no child to be left behind
        "user": pwd.getpwuid(os.getuid()).pw_name,
        "log_udp_host": "127.0.0.1",  # there is no syslog here, and nobody at port 9
        "log_udp_port": 9,
    }
    text = ""
    for section, values in ({"DEFAULT": common | (settings or {})} | sections).items():
        text += f"[{section}]\n" + "".join(f"{key} = {value}\n" for key, value in values.items())
    path = folder / f"{name}.conf"
    path.write_text(text)
    daemons.start(name, [str(ENVIRONMENT / "bin" / program), str(path)], environment)


def _check_attributes(folder: Path) -> None:
    """Swift keeps what it knows of an object in extended attributes of its file. Raises `RuntimeError` without them."""
    try:
        os.setxattr(folder, "user.fod-bench", b"x" * 1000)
    except OSError as error:
        raise RuntimeError(
            f"Swift needs a disk with extended attributes and {folder} has none ({error.strerror}): set TMPDIR"
        ) from error
