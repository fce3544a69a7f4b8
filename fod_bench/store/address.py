"""The address of a store: what may be written, and what it means. Imports nothing heavy: a job file is checked with it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from fod_bench.errors import StoreError
from fod_bench.store.base import is_name

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]")
_REGION = re.compile(r"[A-Za-z0-9-]{1,64}")
_QUERY_KEY = re.compile(r"[a-z_-]{1,24}")
_ADDRESSING = ("auto", "path", "virtual")
_EXAMPLE = "s3://bucket/prefix?endpoint=https://host:port"


class S3Address(NamedTuple):
    """A place in a bucket."""

    bucket: str
    prefix: str = ""
    """What the keys of all objects begin with: empty, or segments and a slash at the end."""
    endpoint: str | None = None
    """Address of the server; None: what the environment says, by default AWS."""
    region: str | None = None
    """None: what the environment says, by default us-east-1."""
    addressing: str = "auto"
    """`path` (https://host/bucket), `virtual` (https://bucket.host), or `auto`: path for a server of one's own."""

    @property
    def place(self) -> str:
        """Bucket and prefix alone, as a person calls the store: `s3://bucket/prefix`."""
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")

    @property
    def uri(self) -> str:
        """The whole address. It never holds credentials: none can be in an address."""
        given = {"endpoint": self.endpoint, "region": self.region, "addressing": self.addressing}
        query = {key: value for key, value in given.items() if value not in (None, "auto")}
        return self.place + ("?" + urlencode(query, safe=":/") if query else "")


def parse_address(uri: str) -> Path | S3Address:
    """The folder or the place in a bucket that `uri` names.

    Raises `StoreError` for what is no address of a store. Its text does not repeat what may be a secret.
    """
    if not uri.strip():
        raise StoreError("the store's address is empty: give a folder, such as results/store")
    scheme = _SCHEME.match(uri)
    if scheme is None:
        if re.match("(s3|file):", uri, re.IGNORECASE):
            raise StoreError(f"the store's address has no '//' after {uri[: uri.index(':') + 1]!r}; write {_EXAMPLE}")
        try:
            return Path(uri).expanduser()
        except RuntimeError:
            raise StoreError(f"store {uri}: names a home folder that is not known; write the path in full") from None
    if scheme[1].lower() == "file":
        parts = urlsplit(uri)
        if parts.netloc not in ("", "localhost") or not parts.path:
            raise StoreError("store file://…: a file address needs three slashes, such as file:///data/store")
        return Path(unquote(parts.path))
    if scheme[1].lower() == "s3":
        return _s3_address(uri)
    raise StoreError(
        f"store {scheme[1]}://…: unknown kind of store {scheme[1]!r}; give a folder, such as results/store, or {_EXAMPLE}"
    )


def is_bucket(address: str) -> bool:
    """Whether it is meant as a place in a bucket."""
    return address[:3].lower() == "s3:"


def bucket_address(address: str, what: str) -> S3Address:
    """The place in a bucket that `address` names, of `what`, such as a data set. Raises `StoreError` as `parse_address`."""
    scheme = _SCHEME.match(address)
    if scheme is None or scheme[1].lower() != "s3":
        raise StoreError(f"{what} {address}: is no place in a bucket; write {_EXAMPLE}")
    return _s3_address(address, what)


def check_endpoint(endpoint: str, source: str) -> str:
    """`endpoint` itself, if it is a server's address and nothing more. Raises `StoreError` that calls it `source`."""
    try:
        parts = urlsplit(endpoint)
        whole = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        whole = False
    if whole and "@" in parts.netloc:
        raise StoreError(f"{source} holds a user name or password; {_CREDENTIALS}")
    if (
        not whole
        or not endpoint.isprintable()
        or " " in endpoint
        or parts.path.strip("/")
        or parts.query
        or parts.fragment
    ):
        raise StoreError(f"{source} is no address of a server; write it as https://host or http://host:port")
    return endpoint.rstrip("/")


_CREDENTIALS = "keys never stand in an address: put them in the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY) or in ~/.aws"


def _s3_address(uri: str, what: str = "store") -> S3Address:
    try:
        parts = urlsplit(uri)
    except ValueError:
        raise StoreError(f"the {what}'s s3:// address cannot be read; write {_EXAMPLE}") from None
    if "@" in parts.netloc:
        raise StoreError(f"the {what}'s s3:// address holds a user name or password; {_CREDENTIALS}")
    if not _BUCKET.fullmatch(parts.netloc):
        raise StoreError(
            f"the {what}'s s3:// address names no bucket: 3 to 255 letters, digits, '.', '-', '_' come next, as in {_EXAMPLE}"
        )
    place = f"{what} s3://{parts.netloc}"
    prefix = parts.path.strip("/")
    if (prefix and not is_name(prefix)) or not uri.isprintable():
        raise StoreError(
            f"{place}: the prefix should be segments of letters, digits and ._+@=-, joined by '/', as in {_EXAMPLE}"
        )
    if parts.fragment:
        raise StoreError(f"{place}: nothing may follow a '#' in an address; write {_EXAMPLE}")
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    for key, _ in pairs:
        if key not in ("endpoint", "region", "addressing"):
            named = f" {key!r}" if _QUERY_KEY.fullmatch(key) else ""  # anything else might be a secret
            raise StoreError(
                f"{place}: unknown key{named} in the address; it takes endpoint, region and addressing; {_CREDENTIALS}"
            )
    query = dict(pairs)
    if len(query) < len(pairs):
        raise StoreError(f"{place}: the address gives a key twice")
    endpoint, region, addressing = (query.get(key) for key in ("endpoint", "region", "addressing"))
    if endpoint is not None:
        endpoint = check_endpoint(endpoint, f"{place}: the endpoint in the address")
    if region is not None and not _REGION.fullmatch(region):
        raise StoreError(f"{place}: the region in the address should be a name such as eu-west-1")
    if addressing is not None and addressing not in _ADDRESSING:
        raise StoreError(f"{place}: the addressing should be one of {', '.join(_ADDRESSING)}")
    return S3Address(parts.netloc, prefix and prefix + "/", endpoint, region, addressing or "auto")
