"""A Moto that lets a user do to the bucket what a policy of IAM allows, and notes what was done."""

from __future__ import annotations

import contextlib
import json
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import boto3

from tests.helpers.s3_servers import Daemons, Server

_MOTO = """
import json, sys
from moto.iam.access_control import IAMRequestBase
from moto.server import DomainDispatcherApplication, create_backend_app
from moto.moto_server.werkzeug_app import MotoRequestHandler
from werkzeug.serving import make_server
done, judge = open(sys.argv[1], "a", buffering=1), IAMRequestBase.check_action_permitted
def noting(self, resource):
    judge(self, resource)
    done.write(json.dumps([self._action, resource]) + "\\n")
IAMRequestBase.check_action_permitted = noting
application = DomainDispatcherApplication(create_backend_app)
server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=MotoRequestHandler)
print(server.server_port, flush=True)
server.serve_forever()
"""


@dataclass(frozen=True)
class PolicedServer:
    """The server, with the user's keys, and what was done there."""

    server: Server
    log: Path

    def done(self) -> set[tuple[str, str]]:
        """Right that was made use of, and the resource: the bucket, or an object in it."""
        return {(right, resource) for right, resource in map(json.loads, self.log.read_text().splitlines())}


@contextlib.contextmanager
def policed_moto(folder: Path, policy: str) -> Iterator[PolicedServer]:
    """With one user, who has `policy` and nothing else. Of racing conditional puts this Moto may let two win."""
    log = folder / "done.jsonl"
    log.touch()
    with Daemons(folder) as daemons:
        process = daemons.start("policed", [sys.executable, "-c", _MOTO, str(log)], answers=True)
        assert process.stdout is not None
        endpoint = f"http://127.0.0.1:{int(process.stdout.readline())}"
        daemons.wait_for_bucket(Server(endpoint, "root", "root"))
        root = {"endpoint_url": endpoint, "region_name": "us-east-1"}
        iam = boto3.client("iam", aws_access_key_id="root", aws_secret_access_key="root", **root)
        iam.create_user(UserName="worker")
        iam.put_user_policy(UserName="worker", PolicyName="bucket", PolicyDocument=policy)
        key = iam.create_access_key(UserName="worker")["AccessKey"]
        judge = urllib.request.Request(f"{endpoint}/moto-api/reset-auth", b"0", {"Content-Type": "text/plain"})
        urllib.request.urlopen(judge).close()  # from now on
        yield PolicedServer(Server(endpoint, key["AccessKeyId"], key["SecretAccessKey"]), log)
