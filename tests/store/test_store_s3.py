"""What is particular to a store in a bucket: its error lines, its retries, and that no secret is ever told."""

from __future__ import annotations

import hashlib
import http.client
import io
import logging
import os
import re
import socket
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fod_bench.errors import DamagedObjectError, StoreError
from fod_bench.store import ObjectMissingError, Store, open_store
from fod_bench.store.s3.connection import read_time
from fod_bench.store.s3_answers import WholeHeaders
from tests.helpers.commands import LIMIT
from tests.helpers.s3_servers import BUCKET, Server
from tests.helpers.scripted_server import TOLD, XML, Answer, Request, part_of, refusal, serving

KEY, SECRET, TOKEN = "AKIAEXAMPLEKEYID0001", "wJalrXUtnFEMI-secret-part", "session-token-value"
LISTING = (
    b"<?xml version='1.0'?><ListBucketResult><Name>bucket</Name><IsTruncated>false</IsTruncated><Contents>"
    b"<Key>some/prefix/a</Key><LastModified>2026-01-02T03:04:05.678Z</LastModified><Size>1</Size></Contents>"
    b"</ListBucketResult>"
)
EMPTY_SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in os.environ:
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    for name, value in {
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_SESSION_TOKEN": TOKEN,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": "127.0.0.1",
        "FOD_BENCH_CACHE": str(tmp_path / "cache"),
    }.items():
        monkeypatch.setenv(name, value)


def at(endpoint: str, patience: float = LIMIT) -> Store:
    return open_store(f"s3://bucket/some/prefix?endpoint={endpoint}", patience)


def line(error: Exception) -> str:
    """The text of an error, which must be one line about the bucket and hold no secret, nor may a traceback of it."""
    text = str(error)
    everything = text + repr(error) + "".join(traceback.format_exception(error))
    assert text.startswith("store s3://bucket/some/prefix: cannot ") and "\n" not in text
    assert not [secret for secret in (KEY, SECRET, TOKEN) if secret in everything]
    return text


@pytest.mark.parametrize(
    "text",
    [
        "2026-03-01T23:00:05Z",
        "2026-03-01T23:00:05.000Z",
        "2026-03-01T23:00:05.000000Z",
        "2026-03-02T01:00:05+02:00",
        "20260301T230005Z",
        "Sun, 01 Mar 2026 23:00:05 GMT",
        1772406005,
    ],
)
def test_times_are_read_in_every_form(text: Any) -> None:
    assert read_time(text).timestamp() == 1772406005


class TestErrors:
    @pytest.mark.parametrize(
        ("status", "code", "said"),
        [
            (404, "NoSuchBucket", "there is no bucket 'bucket' at http://127.0.0.1:"),
            (
                403,
                "AccessDenied",
                "access denied (403 AccessDenied); the credentials that boto3 finds need s3:GetObject",
            ),
            (403, "InvalidAccessKeyId", "refuses the credentials (InvalidAccessKeyId); check the access key"),
            (403, "SignatureDoesNotMatch", "refuses the credentials (SignatureDoesNotMatch)"),
            (400, "ExpiredToken", "refuses the session token (ExpiredToken)"),
            (403, "RequestTimeTooSkewed", "the clock of this machine"),
            (400, "AuthorizationHeaderMalformed", "bucket 'bucket' is not in region us-east-1"),
            (301, "PermanentRedirect", "bucket 'bucket' is not in region us-east-1"),
            (501, "NotImplemented", "answered 501 NotImplemented"),
            (400, f"{SECRET} and more", "answered 400"),
        ],
    )
    @pytest.mark.parametrize("operation", ["put", "create", "get", "list", "delete"])
    def test_a_refusal_is_told_at_once(self, status: int, code: str, said: str, operation: str) -> None:
        asked: list[Request] = []

        def script(request: Request) -> Answer:
            asked.append(request)
            if status == 301 and request.method == "HEAD":  # boto3 asks where the bucket is
                return Answer(200, {"x-amz-bucket-region": "eu-west-1"})
            return refusal(status, code, f"The key {KEY} with {SECRET}")

        with serving(script) as endpoint:
            store = at(endpoint)
            calls: dict[str, Callable[[], Any]] = {
                "put": lambda: store.put("a", b"x"),
                "create": lambda: store.create("a", b"x"),
                "get": lambda: store.get("a"),
                "list": lambda: list(store.list()),
                "delete": lambda: store.delete("a"),
            }
            with pytest.raises(StoreError) as caught:
                calls[operation]()
        assert said in line(caught.value)
        assert "list it" in str(caught.value) if operation == "list" else "object a" in str(caught.value)
        assert len(asked) <= 3, "boto3 itself asks for the region again; nobody else repeats it"

    def test_a_bucket_that_is_not_there(self, s3: Callable[[str], Server]) -> None:
        endpoint = s3("moto").endpoint
        store = open_store(f"s3://nowhere/a?endpoint={endpoint}")
        for call in (lambda: store.put("a", b"x"), lambda: store.get("a"), lambda: list(store.list())):
            with pytest.raises(StoreError, match="there is no bucket 'nowhere' at") as caught:
                call()
            assert not isinstance(caught.value, ObjectMissingError)

    def test_no_credentials(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
            monkeypatch.delenv(name)
        with serving(lambda request: None) as endpoint, pytest.raises(StoreError) as caught:
            at(endpoint).put("a", b"x")
        assert "no credentials for bucket 'bucket'; set AWS_ACCESS_KEY_ID" in line(caught.value)

    def test_nobody_at_the_endpoint(self) -> None:
        with socket.socket() as taken:  # bound, but not listening
            taken.bind(("127.0.0.1", 0))
            endpoint = f"http://127.0.0.1:{taken.getsockname()[1]}"
            with pytest.raises(StoreError) as caught:
                at(endpoint, patience=0.5).get("a")
        assert f"read object a: {endpoint} unreachable for " in line(caught.value)
        assert "(last: no connection); is the endpoint right" in str(caught.value)

    def test_a_certificate_that_nobody_trusts(
        self, s3: Callable[[str], Server], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        endpoint = s3("moto-tls").endpoint
        for bundle in (None, "/nowhere/authority.pem"):
            monkeypatch.delenv("AWS_CA_BUNDLE")
            if bundle:
                monkeypatch.setenv("AWS_CA_BUNDLE", bundle)
            with pytest.raises(StoreError, match=r"its certificate is not trusted.*AWS_CA_BUNDLE"):
                at(endpoint).get("a")
            monkeypatch.setenv("AWS_CA_BUNDLE", "")

    def test_what_is_no_s3_server(self) -> None:
        page = Answer(200, {"Content-Type": "text/html"}, b"<!doctype html><p>Welcome<br>here")
        with serving(lambda request: page) as endpoint, pytest.raises(StoreError) as caught:
            list(at(endpoint).list())
        assert "is no S3 server; correct the endpoint" in line(caught.value)

    @pytest.mark.parametrize("read", [lambda store: store.put("a", b"x"), lambda store: list(store.list())])
    def test_a_server_that_redirects_everything(self, read: Callable[[Store], Any]) -> None:
        redirected = Answer(301, {"Location": "https://127.0.0.1/"}, b"<html>moved</html>")
        with serving(lambda request: redirected) as endpoint, pytest.raises(StoreError) as caught:
            read(at(endpoint))
        assert "redirects every request; correct the endpoint" in line(caught.value)

    def test_a_file_too_large_to_create(self, tmp_path: Path) -> None:
        with (tmp_path / "sparse").open("wb") as file:
            file.truncate((5 << 30) + 1)
        with serving(lambda request: None) as endpoint, pytest.raises(StoreError) as caught:
            at(endpoint).create("a", tmp_path / "sparse")
        assert "up to 5 GiB" in line(caught.value)

    def test_no_secret_in_what_is_logged(self, s3: Callable[[str], Server], caplog: pytest.LogCaptureFixture) -> None:
        server = s3("moto")
        caplog.set_level(logging.DEBUG, "fod_bench")
        store = open_store(server.address("logged"))
        store.put("a", b"x")
        store.open("a").close()
        assert server.secret_key not in caplog.text + store.uri + store.location("a") + repr(store)


class TestPatience:
    @pytest.mark.parametrize(
        ("fault", "last"),
        [
            (refusal(503, "SlowDown", KEY), "503 SlowDown"),
            (refusal(500, "InternalError"), "500 InternalError"),
            (refusal(429, "TooManyRequests"), "429 TooManyRequests"),
            (refusal(400, "RequestTimeout"), "400 RequestTimeout"),
            (Answer(502, {}, b"<html>bad gateway</html>"), "502"),
            (None, "connection broken"),
        ],
    )
    def test_what_passes_is_waited_for(self, fault: Answer | None, last: str) -> None:
        faults = [fault] * 5

        def script(request: Request) -> Answer | None:
            return faults.pop() if faults else Answer(200, {"ETag": '"1"'})

        with serving(script) as endpoint:
            at(endpoint).put("a", b"x")
            assert not faults
            faults += [fault] * 100
            with pytest.raises(StoreError) as caught:
                at(endpoint, patience=0.3).put("a", b"x")
        assert re.search(rf"unreachable for \d+ s \(last: {re.escape(last)}\)", line(caught.value))

    @pytest.mark.parametrize("cut", [0, 60, 150])
    def test_a_list_cut_short_is_no_short_list(self, cut: int) -> None:
        answers = [Answer(200, XML, LISTING[:cut]), Answer(200, XML, LISTING)]
        with serving(lambda request: answers.pop(0)) as endpoint:
            assert [info.name for info in at(endpoint).list()] == ["a"]

    def test_a_page_of_nothing_is_not_the_end_of_a_list(self) -> None:
        more = b"<IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>"
        empty = b"<ListBucketResult>" + more + b"</ListBucketResult>"

        def script(request: Request) -> Answer:
            return Answer(200, XML, LISTING if "continuation-token=t" in request.path else empty)

        with serving(script) as endpoint:
            assert [info.name for info in at(endpoint).list()] == ["a"]

    def test_a_body_is_continued_where_it_broke_off(self) -> None:
        content, ranges = os.urandom(3000), []

        def script(request: Request) -> Answer:
            ranges.append(request.headers.get("range"))
            start = int((request.headers.get("range") or "bytes=0-").removeprefix("bytes=").partition("-")[0])
            return part_of(content, start, cut=1000)

        with serving(script) as endpoint:
            assert at(endpoint).get("a") == content
        assert ranges == ["bytes=0-16777215", "bytes=1000-2999", "bytes=2000-2999"]

    def test_a_server_that_ignores_ranges(self) -> None:
        contents = {"small": b"x" * 1000, "large": bytes((16 << 20) + 1)}
        digests = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}

        def script(request: Request) -> Answer:
            name = request.path.rpartition("/")[2]
            return Answer(200, {"ETag": '"1"', "x-amz-meta-sha256": digests[name]}, contents[name])

        with serving(script) as endpoint:
            assert at(endpoint).get("small") == contents["small"]
            with pytest.raises(StoreError, match="cannot read object large: the server does not give parts of objects"):
                at(endpoint).get("large")

    @pytest.mark.parametrize("status", [200, 206, 416])
    def test_an_empty_object_has_no_range(self, status: int) -> None:
        headers = {"ETag": '"1"', "x-amz-meta-sha256": hashlib.sha256(b"").hexdigest()}

        def script(request: Request) -> Answer:
            if status == 416 and "range" in request.headers:
                return refusal(416, "InvalidRange")
            return Answer(200 if status == 416 else status, headers)

        with serving(script) as endpoint:
            assert at(endpoint).get("a") == b"" and list(at(endpoint).stream("a")) == [b""]

    def test_of_two_values_no_mixture_is_read(self) -> None:
        values, asked = [b"first" * 100, b"other" * 100], []

        def script(request: Request) -> Answer:
            asked.append(request)
            start = int((request.headers.get("range") or "bytes=0-").removeprefix("bytes=").partition("-")[0])
            return part_of(values[min(len(asked) - 1, 1)], start, cut=250 if len(asked) == 1 else None)

        with serving(script) as endpoint:
            assert at(endpoint).get("a") == values[1]


def test_headers_that_break_off_anywhere_are_no_headers() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\nETag: 1\r\nx-amz-meta-writer: ab\r\n\r\n"

    class Socket:
        def __init__(self, sent: bytes) -> None:
            self.sent = sent

        def makefile(self, *_: Any) -> io.BytesIO:
            return io.BytesIO(self.sent)

    for cut in range(len(head)):
        with pytest.raises(http.client.HTTPException):
            WholeHeaders(Socket(head[:cut])).begin()  # type: ignore[arg-type]
    whole = WholeHeaders(Socket(head + b"hello, world"))  # type: ignore[arg-type]
    whole.begin()
    assert whole.headers["x-amz-meta-writer"] == "ab" and whole.read() == b"hello, world"


class TestAnswersThatLackSomething:
    """An answer without what each of its kind has, or with a value that is none, was cut short: it is asked for again."""

    def outcome(self, operation: Callable[[Store], Any], lacking: Answer, whole: Answer, times: int = 3) -> Any:
        """Of an operation whose first answers lack something; it must have asked once more than that."""
        answers = [*[lacking] * times, whole]
        with serving(lambda request: answers.pop(0)) as endpoint:
            try:
                return operation(at(endpoint))
            finally:
                assert not answers

    @pytest.mark.parametrize(
        "lacking",
        [
            {"ETag": None},
            {"Last-Modified": None},
            {"Content-Length": None},
            {"ETag": None, "Last-Modified": None, "Content-Length": None},
            {"Last-Modified": "Sun, 01 Mar"},
            {"Last-Modified": "some day"},
            {"Last-Modified": "99999999999999999999"},
            {"Content-Length": "12x"},
            {"Content-Length": "-5"},
        ],
        ids=str,
    )
    @pytest.mark.parametrize(
        "operation", [lambda store: store.info("a").modified, lambda store: store.exists("a")], ids=["info", "exists"]
    )
    def test_of_an_object(self, operation: Callable[[Store], Any], lacking: dict[str, str | None]) -> None:
        whole = TOLD | {"Content-Length": "5"}
        found = self.outcome(operation, Answer(200, whole | lacking), Answer(200, whole))
        assert found is True or found == 1772406005.0

    @pytest.mark.parametrize("date", [None, "", "Sun, 01 Mar", "some day"])
    def test_of_the_time(self, date: str | None) -> None:
        whole = {"Date": "Sun, 01 Mar 2026 23:00:05 GMT"}
        assert self.outcome(lambda store: store.now(), Answer(404, {"Date": date}), Answer(404, whole)) == 1772406005.0

    @pytest.mark.parametrize("operation", ["put", "create"])
    def test_of_a_write(self, operation: str) -> None:
        outcome = self.outcome(lambda store: getattr(store, operation)("a", b"x"), Answer(200), Answer(200, TOLD))
        assert outcome is (True if operation == "create" else None)

    @pytest.mark.parametrize(
        ("status", "lacking"),
        [
            (200, {"ETag": None}),
            (200, {"Content-Length": "x"}),
            (206, {"Content-Range": None}),
            (206, {"Content-Range": "bytes 0-"}),
            (206, {"Content-Range": "bytes 0-4/*"}),
        ],
    )
    def test_of_a_read(self, status: int, lacking: dict[str, str | None]) -> None:
        whole = TOLD | {"Content-Range": "bytes 0-4/5", "x-amz-meta-sha256": hashlib.sha256(b"hello").hexdigest()}
        answers = Answer(status, whole | lacking, b"hello"), Answer(206, whole, b"hello")
        assert self.outcome(lambda store: store.get("a"), *answers) == b"hello"

    @pytest.mark.parametrize(
        "body", [b"", b"<html>Not found</html>", b"<Error><Code>NoSuch"], ids=["empty", "page", "cut"]
    )
    def test_of_a_refusal_that_does_not_say_it_is_one(self, body: bytes) -> None:
        """An object is missing when the server says so, not when something on the way has no page."""
        whole = TOLD | {"x-amz-meta-sha256": hashlib.sha256(b"hello").hexdigest()}
        answers = Answer(404, XML, body), Answer(200, whole, b"hello")
        assert self.outcome(lambda store: store.get("a"), *answers, times=1) == b"hello"

    @pytest.mark.parametrize(
        ("field", "instead"),
        [
            ("IsTruncated", ""),
            ("Key", ""),
            ("Size", ""),
            ("LastModified", ""),
            ("Size", "<Size>some</Size>"),
            ("Size", "<Size/>"),
            ("LastModified", "<LastModified>2026-01</LastModified>"),
            ("IsTruncated", "<IsTruncated>true</IsTruncated>"),
        ],
    )
    def test_of_a_list(self, field: str, instead: str) -> None:
        lacking = re.sub(f"<{field}>.*</{field}>", instead, LISTING.decode()).encode()
        assert lacking != LISTING
        answers = Answer(200, XML, lacking), Answer(200, XML, LISTING)
        (found,) = self.outcome(lambda store: list(store.list()), *answers)
        assert found[:3] == ("a", 1, 1767323045.678)

    @pytest.mark.parametrize(
        "body", [b"", b"<InitiateMultipartUploadResult><Bucket>b</Bucket></InitiateMultipartUploadResult>"]
    )
    def test_of_an_upload(self, body: bytes) -> None:
        begun = "<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>"
        done = Answer(200, XML, b"<CompleteMultipartUploadResult><ETag>1</ETag></CompleteMultipartUploadResult>")
        lacking = {"begin": [Answer(200, XML, body)] * 2, "part": [Answer(200)] * 2, "end": [Answer(200, XML, b"")] * 2}

        def script(request: Request) -> Answer:
            step = "part" if request.method == "PUT" else "begin" if request.path.endswith("?uploads") else "end"
            whole = {"begin": Answer(200, XML, begun.encode()), "part": Answer(200, TOLD), "end": done}
            return lacking[step].pop() if lacking[step] else whole[step]

        with serving(script) as endpoint:
            at(endpoint).put("a", bytes((64 << 20) + 1))
        assert not any(lacking.values())

    def test_of_the_list_of_uploads(self) -> None:
        empty = b"<ListMultipartUploadsResult><IsTruncated>false</IsTruncated></ListMultipartUploadsResult>"
        more = empty.replace(b"false", b"true")
        upload = empty.replace(b"</List", b"<Upload><Key>some/prefix/a</Key></Upload></List")
        answers = [Answer(404), *(Answer(200, XML, body) for body in (b"", more, upload, empty))]
        with serving(lambda request: answers.pop(0)) as endpoint:
            assert at(endpoint).abandon_uploads(0) == () and not answers  # type: ignore[attr-defined]

    def test_one_that_always_lacks_it_ends_in_a_line_that_names_it(self) -> None:
        with serving(lambda request: Answer(200, {"Content-Length": "5"})) as endpoint:
            for operation in (lambda store: store.info("a"), lambda store: store.create("a", b"x")):
                with pytest.raises(StoreError) as caught:
                    operation(at(endpoint, patience=0.3))
                assert "(last: answer cut short, without ETag)" in line(caught.value)


class TestCreate:
    """Who made the object is decided exactly, whatever got lost on the way."""

    def create(self, writer: Callable[[str], str | None], refused: int = 412, first: Answer | None = None) -> bool:
        """`create` where the first put gets `first` for an answer, all others `refused`; `writer` is who stands then.

        It is given the number that this call writes; for None there is no object, and a later put succeeds.
        """
        puts: list[str] = []

        def script(request: Request) -> Answer | None:
            if request.method == "PUT":
                assert request.headers["if-none-match"] == "*"
                puts.append(request.headers["x-amz-meta-writer"])
                if len(puts) == 1:
                    return first
                return (
                    Answer(200, {"ETag": '"1"'})
                    if writer(puts[0]) is None and len(puts) > 2
                    else refusal(refused, "No")
                )
            standing = writer(puts[0])
            if standing is None:
                return Answer(404)
            return Answer(200, TOLD | {"x-amz-meta-writer": standing, "x-amz-meta-sha256": EMPTY_SHA256})

        with serving(script) as endpoint:
            return at(endpoint).create("a", b"")

    def test_the_answer_to_the_first_attempt_was_lost(self) -> None:
        assert self.create(lambda mine: mine) is True

    def test_the_answer_that_tells_who_wrote_it_was_cut_short_too(self) -> None:
        """Then it names no writer, and looks like another program's object."""
        puts: list[str] = []
        looks = [Answer(200, {"Content-Length": "0"}), Answer(200, {"Content-Length": None})]

        def script(request: Request) -> Answer | None:
            if request.method == "PUT":
                puts.append(request.headers["x-amz-meta-writer"])
                return None if len(puts) == 1 else refusal(412, "PreconditionFailed")
            return looks.pop() if looks else Answer(200, TOLD | {"x-amz-meta-writer": puts[0]})

        with serving(script) as endpoint:
            assert at(endpoint).create("a", b"") is True
        assert not looks and len(puts) == 2

    @pytest.mark.parametrize("refused", [409, 412])
    def test_another_was_faster(self, refused: int) -> None:
        assert self.create(lambda mine: "another", refused, first=refusal(refused, "No")) is False
        assert self.create(lambda mine: "another", refused) is False, "the first attempt never arrived"

    def test_an_object_of_another_program_stands(self) -> None:
        assert self.create(lambda mine: "") is False

    def test_refused_for_an_object_that_is_gone(self) -> None:
        assert self.create(lambda mine: None, 409, first=refusal(409, "ConditionalRequestConflict")) is True


class TestDamage:
    @pytest.fixture
    def server(self, s3: Callable[[str], Server]) -> Server:
        return s3("moto")

    def test_altered_truncated_or_without_checksum(self, server: Server) -> None:
        store = open_store(server.address("damage"))
        store.put("a", b"content")
        client, where = server.client(), {"Bucket": BUCKET, "Key": "damage/a"}
        entries = client.head_object(**where)["Metadata"]
        for body, metadata, fault in (
            (b"contenT", entries, "its content does not match its checksum"),
            (b"cont", entries, "its content does not match its checksum"),
            (b"content", {}, "it has no checksum"),
        ):
            client.put_object(**where, Body=body, Metadata=metadata)
            for read in (store.get, store.open, lambda name: list(store.stream(name))):
                with pytest.raises(
                    DamagedObjectError, match=f"object a is damaged: {fault}; delete it to have it made"
                ):
                    read("a")

    def test_a_large_object_altered_in_the_middle(self, server: Server, tmp_path: Path) -> None:
        store, content = open_store(server.address("large")), bytearray(os.urandom(40 << 20))
        (tmp_path / "large").write_bytes(content)
        store.put("a", tmp_path / "large")
        assert store.get("a") == content
        client, where = server.client(), {"Bucket": BUCKET, "Key": "large/a"}
        entries = client.head_object(**where)["Metadata"]
        content[30 << 20] ^= 1
        client.put_object(**where, Body=bytes(content), Metadata=entries)
        with pytest.raises(DamagedObjectError):
            store.open("a")
        assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()], "nothing of it is kept"

    def test_a_failed_upload_leaves_no_parts(
        self, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store, path = open_store(server.address("parts"), patience=1), tmp_path / "large"
        path.write_bytes(bytes(65 << 20))
        real = os.pread

        def changing(file: int, size: int, start: int) -> bytes:
            os.utime(path, (1, 1))
            return real(file, size, start)

        monkeypatch.setattr(os, "pread", changing)
        with pytest.raises(StoreError, match="was changed while it was stored as a; store it again"):
            store.put("a", path)
        assert not store.exists("a")
        assert "Uploads" not in server.client().list_multipart_uploads(Bucket=BUCKET)
