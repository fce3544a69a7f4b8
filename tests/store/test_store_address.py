"""The address of a store in a bucket: what it says, what is refused, and that no secret in it is repeated."""

from __future__ import annotations

import os
import subprocess
import sys
import traceback
from pathlib import Path

import pytest

from fod_bench.errors import StoreError
from fod_bench.store import open_store

KEY, SECRET = "AKIAEXAMPLEKEYID0001", "wJalrXUtnFEMI-secret-part"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, os.devnull)


@pytest.mark.parametrize(
    ("given", "whole"),
    [
        ("s3://bucket", "s3://bucket?region=us-east-1"),
        ("s3://bucket/a/b/", "s3://bucket/a/b?region=us-east-1"),
        ("S3://bucket/a?region=eu-west-1", "s3://bucket/a?region=eu-west-1"),
        ("s3://bucket/a?addressing=auto", "s3://bucket/a?region=us-east-1"),
        ("s3://bucket/a?addressing=virtual", "s3://bucket/a?region=us-east-1&addressing=virtual"),
        (
            "s3://bucket/a?endpoint=https%3A%2F%2Fhost:9000/&addressing=path",
            "s3://bucket/a?endpoint=https://host:9000&region=us-east-1&addressing=path",
        ),
    ],
)
def test_the_whole_address(given: str, whole: str) -> None:
    assert open_store(given).uri == whole
    assert open_store(whole).uri == whole


def test_the_environment_at_opening_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A worker on another node, with another environment, opens the same place."""
    config = tmp_path / "config"
    config.write_text("[profile lab]\nregion = eu-north-1\nendpoint_url = http://profile:81\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.setenv("AWS_PROFILE", "lab")
    assert open_store("s3://bucket/a").uri == "s3://bucket/a?endpoint=http://profile:81&region=eu-north-1"
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://environment:82")
    uri = open_store("s3://bucket/a").uri
    assert uri == "s3://bucket/a?endpoint=http://environment:82&region=eu-north-1"
    monkeypatch.delenv("AWS_PROFILE")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://other:83")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-west-2")
    assert open_store(uri).uri == uri


@pytest.mark.parametrize(
    ("address", "message"),
    [
        (f"s3://{KEY}:{SECRET}@bucket/a", "keys never stand in an address"),
        (f"s3://bucket/a?endpoint=http://{KEY}:{SECRET}@host", "holds a user name or password"),
        (f"s3://bucket/a?aws_secret_access_key={SECRET}", "unknown key 'aws_secret_access_key'"),
        (f"s3://bucket/a?{SECRET}", "unknown key in the address"),
        (f"s3://bucket/a?endpoint={SECRET}", "no address of a server"),
        (f"s3://bucket/a?region={SECRET}/{SECRET}", "the region in the address should be"),
        (f"s3://bucket/a?addressing={SECRET}", "one of auto, path, virtual"),
        (f"s3://bucket/a#{SECRET}", "nothing may follow a '#'"),
        (f"s3://bucket:{SECRET}/a", "names no bucket"),
        (f"s3://bucket/ {SECRET}", "the prefix should be segments"),
        (f"s3://bucket/a?endpoint=http://host&endpoint=http://{SECRET}", "gives a key twice"),
        (f"gs://{KEY}:{SECRET}@bucket", "unknown kind of store 'gs'"),
        (f"https://{KEY}:{SECRET}@host/bucket", "unknown kind of store 'https'"),
        (f"s3:/{SECRET}/a", "no '//' after 's3:'"),
        ("s3://", "names no bucket"),
        ("s3:///prefix", "names no bucket"),
        ("s3://bucket/a/../b", "the prefix should be segments"),
        ("s3://bucket/a?endpoint=host:9000", "no address of a server"),
        ("s3://bucket/a?endpoint=http://host/bucket", "no address of a server"),
        ("s3://bucket/a?endpoint=http://host:port", "no address of a server"),
        ("s3://[bucket/a", "cannot be read"),
    ],
)
def test_refused_without_repeating_a_secret(address: str, message: str) -> None:
    with pytest.raises(StoreError, match=message) as caught:
        open_store(address)
    told = "".join(traceback.format_exception(caught.value)[-1:])
    assert KEY not in told and SECRET not in told and "\n" not in str(caught.value)


def test_an_endpoint_of_the_environment_is_checked_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{KEY}:{SECRET}@host")
    with pytest.raises(StoreError, match="the endpoint that boto3 is configured with holds a user name") as caught:
        open_store("s3://bucket")
    assert SECRET not in str(caught.value)


def test_a_profile_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(StoreError, match="s3://bucket: cannot open it: the profile that AWS_PROFILE names"):
        open_store("s3://bucket")


def test_boto_is_not_imported_before_it_is_needed(tmp_path: Path) -> None:
    script = (
        "import sys; from fod_bench.store import open_store; open_store(sys.argv[1]); print('boto3' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
