"""What botocore's errors mean: which pass by themselves, and which a person must put right.

Nothing of botocore's or the server's own wording is repeated, since it may carry an access key: only statuses, codes and
our words.
"""

from __future__ import annotations

import re
import ssl

import urllib3
from botocore import exceptions as boto
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from fod_bench.store.address import S3Address

REQUEST_ERRORS = (
    BotoCoreError,
    ClientError,
    ResponseParserError,
    RecursionError,
    urllib3.exceptions.HTTPError,
    OSError,
)
"""Whatever a request or the reading of its answer can raise. Botocore follows a server that redirects everything to the end of
the stack, hence `RecursionError`."""

_CODE = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,63}")

# A 409 is told to those who can decide it; elsewhere it is two writers who met.
_PASSING_STATUSES = {409, 429, 500, 502, 503, 504}
_PASSING_CODES = {
    "BadDigest",
    "IncompleteBody",
    "InternalError",
    "RequestLimitExceeded",
    "RequestTimeout",
    "ServiceUnavailable",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "TooManyRequests",
    "XAmzContentSHA256Mismatch",
}
_REGION_CODES = {
    "301",
    "307",
    "AuthorizationHeaderMalformed",
    "IllegalLocationConstraintException",
    "PermanentRedirect",
    "TemporaryRedirect",
}
_KEY_CODES = {"InvalidAccessKeyId", "SignatureDoesNotMatch", "AuthFailure", "InvalidSecurity"}
_TOKEN_CODES = {"ExpiredToken", "InvalidToken", "TokenRefreshRequired"}


class TruncatedAnswerError(BotoCoreError):
    """An answer that ends too early, which botocore took for a whole one; `lacks`: what it should have."""

    fmt = "answer cut short, without {lacks}"


def status_of(error: Exception) -> int:
    """The HTTP status of a server's refusal, 0 for any other error."""
    if not isinstance(error, ClientError):
        return 0
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def code_of(error: Exception) -> str:
    """The S3 code of a server's refusal, such as `SlowDown`; empty for any other error."""
    code = str(error.response.get("Error", {}).get("Code", "")) if isinstance(error, ClientError) else ""
    return code if _CODE.fullmatch(code) or code.isdecimal() else ""


def is_passing(error: Exception) -> bool:
    """Whether the same request may succeed in a while."""
    if isinstance(error, ClientError):
        return status_of(error) in _PASSING_STATUSES or code_of(error) in _PASSING_CODES
    if isinstance(error, boto.SSLError):
        return "EOF" in str(error) or "reset" in str(error)  # cut off in the handshake; others are about certificates
    if type(error) is boto.HTTPClientError:  # around anything: a file of certificates that is not there is one
        return not isinstance(error.__context__, FileNotFoundError | ssl.SSLError | RecursionError)
    passing = (
        boto.ConnectionError,
        boto.HTTPClientError,
        boto.IncompleteReadError,
        boto.ResponseStreamingError,
        TruncatedAnswerError,
        urllib3.exceptions.HTTPError,
        OSError,
    )
    return isinstance(error, passing)


def is_strange(error: Exception) -> bool:
    """Whether the answer is none that an S3 server gives: cut short, or of another kind of server."""
    if (
        isinstance(error, ClientError) and status_of(error) == 500
    ):  # which is what botocore makes of a page it cannot read
        headers = error.response["ResponseMetadata"].get("HTTPHeaders", {})
        return code_of(error) in ("", "500") and not headers.get("content-type", "").endswith("/xml")
    return isinstance(error, ResponseParserError)


def summary(error: Exception) -> str:
    """An error in a few words, such as `503 SlowDown`."""
    if isinstance(error, ClientError):
        code = code_of(error)
        return " ".join(dict.fromkeys(part for part in (str(status_of(error)), code) if part))
    if isinstance(error, boto.EndpointConnectionError):
        return "no connection"
    if isinstance(
        error, boto.ConnectTimeoutError | boto.ReadTimeoutError | urllib3.exceptions.TimeoutError | TimeoutError
    ):
        return "no answer in time"
    if isinstance(error, TruncatedAnswerError):
        return str(error)
    if isinstance(error, ResponseParserError | boto.IncompleteReadError):
        return "answer cut short"
    if isinstance(error, boto.HTTPClientError | boto.SSLError | urllib3.exceptions.HTTPError | OSError):
        return "connection broken"
    return type(error).__name__


def explanation(error: Exception, address: S3Address) -> str:
    """What is wrong, and what would be right, for an error that does not pass."""
    server = address.endpoint or "AWS"
    code, status = code_of(error), status_of(error)
    if code == "NoSuchBucket":
        return f"there is no bucket {address.bucket!r} at {server}; make it, or correct the store's address"
    if code in _KEY_CODES:
        return f"{server} refuses the credentials ({code}); check the access key and the secret key that boto3 finds"
    if code in _TOKEN_CODES:
        return f"{server} refuses the session token ({code}); it may have run out: log in again"
    if code == "RequestTimeTooSkewed":
        return f"the clock of this machine and that of {server} differ too much (RequestTimeTooSkewed); set the clock"
    if isinstance(error, RecursionError) or isinstance(error.__context__, RecursionError):
        return f"{server} redirects every request; correct the endpoint: https instead of http, or the right region"
    if is_strange(error):
        return f"what answers at {server} is no S3 server; correct the endpoint"
    if code in _REGION_CODES or status in (301, 307):
        return (
            f"bucket {address.bucket!r} is not in region {address.region or 'us-east-1'} ({summary(error)}); "
            "give the right one, as in s3://bucket/prefix?region=eu-west-1"
        )
    if status == 403:
        return (
            f"access denied ({summary(error)}); the credentials that boto3 finds need s3:GetObject, s3:PutObject, "
            f"s3:DeleteObject and s3:ListBucket for bucket {address.bucket!r} at {server}"
        )
    if status:
        return f"{server} answered {summary(error)}"
    if isinstance(error, boto.NoCredentialsError):
        return f"no credentials for bucket {address.bucket!r}; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
    if isinstance(error, boto.PartialCredentialsError):
        return "the credentials are not complete; an access key needs its secret key beside it"
    if isinstance(error, boto.ProfileNotFound):
        return "the profile that AWS_PROFILE names is not in the AWS configuration"
    if isinstance(error, boto.SSLError) or type(error) is boto.HTTPClientError:
        return (
            f"no TLS connection to {server}: its certificate is not trusted, or it speaks no TLS; let AWS_CA_BUNDLE name "
            "a file with its authority's certificate, or correct the endpoint"
        )
    return f"boto3 reports {type(error).__name__}; check its configuration and the store's address"
