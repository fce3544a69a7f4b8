"""Real S3 servers on this machine for the tests: started on free ports over http and TLS, ended with the process that started them.

Needs nothing of pytest, so that benchmarks can use it too. Moto is here; `s3_swift` and `s3_ceph` start the others.
"""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import boto3
from botocore.config import Config
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.helpers.commands import LIMIT, die_with_parent

BUCKET = "fod-bench-tests"

_MOTO = """
import contextlib, json, sys, threading
from moto.server import DomainDispatcherApplication, create_backend_app
from moto.moto_server.werkzeug_app import MotoRequestHandler
from werkzeug.serving import make_server
application = DomainDispatcherApplication(create_backend_app)
one_at_a_time = threading.Lock()
def serve(environ, start_response):
    # Moto looks for the object and puts it without a lock: on a busy machine two conditional puts may both find none.
    with one_at_a_time if "HTTP_IF_NONE_MATCH" in environ else contextlib.nullcontext():
        return application(environ, start_response)
servers = [
    make_server(sys.argv[1], 0, serve, threaded=True, request_handler=MotoRequestHandler, ssl_context=context)
    for context in (None, tuple(sys.argv[2:]))
]
print(json.dumps([server.server_port for server in servers]), flush=True)
threading.Thread(target=servers[0].serve_forever, daemon=True).start()
servers[1].serve_forever()
"""


@dataclass(frozen=True)
class Server:
    """An S3 server that answers, with one bucket in it."""

    endpoint: str
    """`http://…` or `https://…`."""
    access_key: str
    secret_key: str
    authority: Path | None = None
    """The certificate that a client of an https endpoint must trust."""

    def environment(self) -> dict[str, str]:
        """What a process needs in its environment to use this server, and no setting of the person at the machine."""
        made = {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
            "NO_PROXY": urlsplit(self.endpoint).hostname or "",
        }
        return made | ({"AWS_CA_BUNDLE": str(self.authority)} if self.authority else {})

    def address(self, prefix: str, endpoint: str = "") -> str:
        """What `open_store` takes for `prefix` of the bucket; `endpoint` is that of a proxy in front."""
        return f"s3://{BUCKET}/{prefix}?endpoint={quote(endpoint or self.endpoint, safe=':/')}"

    def client(self) -> Any:
        """A bare boto3 client, to look and to meddle behind a store's back."""
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            region_name="us-east-1",
            verify=str(self.authority) if self.authority else None,
            config=Config(
                s3={"addressing_style": "path"},
                proxies={},
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )


@contextlib.contextmanager
def moto(folder: Path, address: str = "127.0.0.1") -> Iterator[dict[str, Server]]:
    """Moto's server in a process of its own: `moto` and `moto-tls`, two doors to the same buckets. It believes any key.

    `address`: that it listens on. The certificate is for 127.0.0.1.
    """
    certificate, key = make_certificate(folder)
    with Daemons(folder) as daemons:
        process = daemons.start(
            "moto", [sys.executable, "-c", _MOTO, address, str(certificate), str(key)], answers=True
        )
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"moto did not start: {daemons.last_words('moto')}")
        plain, tls = json.loads(line)
        servers = {
            "moto": Server(f"http://{address}:{plain}", "moto-access", "moto-secret-key"),
            "moto-tls": Server(f"https://{address}:{tls}", "moto-access", "moto-secret-key", certificate),
        }
        daemons.wait_for_bucket(servers["moto"])
        yield servers


class Daemons:
    """Processes that end with the `with` block, and with this process should it be killed; each has a log in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._restarts: dict[str, Callable[[], object]] = {}

    def __enter__(self) -> Daemons:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes.values():
            process.kill()  # everything they know is thrown away, so nothing need be put in order
        for process in self._processes.values():
            process.wait()
            if process.stdout is not None:
                process.stdout.close()

    def start(
        self, name: str, command: Sequence[str], environment: Mapping[str, str] | None = None, answers: bool = False
    ) -> subprocess.Popen[bytes]:
        """Start `command`; with `answers` its standard output can be read, otherwise it goes to the log as well."""
        with self._log(name).open("ab") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if answers else log,
                stderr=log,
                env=dict(environment) if environment is not None else None,
                preexec_fn=die_with_parent(),
            )
        self._processes[name] = process
        return process

    def start_stubbornly(self, name: str, command: Sequence[str], environment: Mapping[str, str], starts: int) -> None:
        """`start` for a process that sometimes ends while it comes up: `wait` starts it anew, up to `starts` times in all."""
        self.start(name, command, environment)
        if starts > 1:
            self._restarts[name] = lambda: self.start_stubbornly(name, command, environment, starts - 1)

    def run(self, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        """Run `command` to its end. Raises `RuntimeError` with its last line if it fails."""
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=environment, timeout=LIMIT
        )
        if done.returncode:
            raise RuntimeError(f"{command[0]} failed: {(done.stderr or done.stdout).strip()[-500:]}")

    def wait(self, condition: Callable[[], bool], what: str) -> None:
        """Poll until `condition` holds. Raises `RuntimeError` when a process ends before or it takes too long."""
        end = time.monotonic() + LIMIT
        while not condition():
            for name, process in list(self._processes.items()):
                if process.poll() is None:
                    continue
                if name in self._restarts:
                    self._restarts.pop(name)()
                else:
                    raise RuntimeError(f"{name} ended with {process.returncode}: {self.last_words(name)}")
            if time.monotonic() > end:
                logs = "; ".join(f"{name}: {self.last_words(name, 200)}" for name in self._processes)
                raise RuntimeError(f"waited {LIMIT:g} s for {what}; {logs}")
            time.sleep(0.05)

    def wait_for_port(self, endpoint: str) -> None:
        """Wait until `endpoint` accepts connections."""
        address = urlsplit(endpoint)

        def accepts() -> bool:
            with contextlib.suppress(OSError), socket.create_connection((address.hostname, address.port or 0), 1):
                return True
            return False

        self.wait(accepts, endpoint)

    def wait_for_bucket(self, server: Server) -> None:
        """Make the bucket as soon as the server answers."""
        self.wait_for_port(server.endpoint)
        client = server.client()

        def made() -> bool:
            with contextlib.suppress(Exception):  # every way in which a server that is just coming up may refuse
                client.create_bucket(Bucket=BUCKET)
                return True
            return False

        self.wait(made, f"a bucket at {server.endpoint}")

    def last_words(self, name: str, characters: int = 1000) -> str:
        """The end of a process's log."""
        return self._log(name).read_text(errors="replace")[-characters:].strip()

    def _log(self, name: str) -> Path:
        return self._folder / f"{name}.log"


def free_ports(count: int) -> list[int]:
    """Ports nobody listens at, all different."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 signed by itself, and its key: two files in `folder`."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "fod-bench tests")])
    now = datetime.datetime.now(datetime.timezone.utc)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        .sign(key, hashes.SHA256())
    )
    certificate_file, key_file = folder / "certificate.pem", folder / "key.pem"
    certificate_file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        )
    )
    return certificate_file, key_file
