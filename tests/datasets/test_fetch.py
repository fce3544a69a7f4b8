"""Fetching a published set from a server that breaks off, lies, redirects or sends something else."""

from __future__ import annotations

import json
import os
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
import urllib3

from fod_bench.datasets import category_names, open_category
from fod_bench.datasets.fetch import SOURCES, fetch
from fod_bench.datasets.fetch.download import reason, shown
from fod_bench.datasets.fetch.sources import Source
from fod_bench.errors import DatasetError
from fod_bench.machine.system import try_lock
from tests.helpers.archives import MEMBERS, real_set, sends, source_of, zipped
from tests.helpers.scripted_server import Answer, Request, serving

ARCHIVE = zipped()


class Log:
    """Everything a fetch tells, and the pauses it made."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.done: dict[str, list[tuple[int, int | None]]] = {}
        self.pauses: list[float] = []

    def doing(self, what: str) -> Callable[[int, int | None], None]:
        steps = self.done.setdefault(what, [])
        return lambda done, total: steps.append((done, total))

    def note(self, text: str) -> None:
        self.notes.append(text)


class Server:
    """A server by a script, which keeps what it was asked."""

    def __init__(self, script: Callable[[Request, int], Answer | None]) -> None:
        self._script = script
        self.asked: list[Request] = []

    def __call__(self, request: Request) -> Answer | None:
        self.asked.append(request)
        return self._script(request, len(self.asked))


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


def fetched(source: Source, to: Path, log: Log, **options: Any) -> Path:
    return fetch(source, to, reporter=log, sleep=log.pauses.append, **options).folder


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def left(to: Path) -> set[str]:
    """What lies in the folder, but for the lock."""
    return {path.name for path in to.iterdir()} - {".fod-bench-fetch.lock"}


def test_a_set_is_fetched_and_read(tmp_path: Path, log: Log) -> None:
    content = real_set(tmp_path / "made")
    with serving(Server(lambda request, _: sends(request, content))) as url:
        folder = fetched(source_of(content, f"{url}/btad.zip"), tmp_path / "data", log)
    assert folder == tmp_path / "data/btad"
    category = open_category("btad", folder, category_names("btad")[0])
    assert [len(category.train), len(category.test)] == [2, 3]
    steps = log.done[f"fetch {url}/btad.zip"]
    assert steps[-1] == (len(content), len(content)) and log.notes == []
    assert left(tmp_path / "data") == {"btad", "btad.zip"}


def test_what_is_there_already_is_not_fetched_again(tmp_path: Path, log: Log) -> None:
    server = Server(lambda request, _: sends(request, ARCHIVE))
    with serving(server) as url:
        source = source_of(ARCHIVE, f"{url}/btad.zip")
        first = fetched(source, tmp_path, log)
        (tmp_path / "btad.zip").unlink()
        assert fetched(source, tmp_path, log) == first
    assert len(server.asked) == 1


def test_it_goes_on_where_the_server_broke_off(tmp_path: Path, log: Log) -> None:
    half = len(ARCHIVE) // 2
    server = Server(lambda request, number: sends(request, ARCHIVE, half if number == 1 else None))
    with serving(server) as url:
        folder = fetched(source_of(ARCHIVE, f"{url}/btad.zip"), tmp_path, log)
    assert files(folder) == {".fod-bench.json", *(name.removeprefix("set/") for name in MEMBERS)}
    assert server.asked[1].headers["range"] == f"bytes={half}-"
    assert server.asked[1].headers["if-range"] == '"one"'
    assert len(log.notes) == 1 and "broke off" in log.notes[0] and len(log.pauses) == 1


def test_it_goes_on_in_another_call(tmp_path: Path, log: Log) -> None:
    half = len(ARCHIVE) // 2
    broken = Server(lambda request, number: sends(request, ARCHIVE, half) if number == 1 else None)
    with serving(broken) as url, pytest.raises(DatasetError, match=r"cannot be downloaded.*the same command goes on"):
        fetched(source_of(ARCHIVE, f"{url}/btad.zip"), tmp_path, log)
    assert left(tmp_path) == {"btad.zip.part", "btad.zip.part.json"}
    server = Server(lambda request, _: sends(request, ARCHIVE))
    with serving(server) as url:
        fetched(source_of(ARCHIVE, f"{url}/btad.zip"), tmp_path, log)
    assert server.asked[0].headers["range"] == f"bytes={half}-"
    assert left(tmp_path) == {"btad", "btad.zip"}


def test_a_file_that_changed_meanwhile_is_begun_anew(tmp_path: Path, log: Log) -> None:
    old, half = zipped({"old": b"x" * 500}), 40

    def answer(request: Request, number: int) -> Answer:
        return sends(request, old, half, '"old"') if number == 1 else sends(request, ARCHIVE, None, '"new"')

    with serving(Server(answer)) as url:
        folder = fetched(source_of(ARCHIVE, f"{url}/btad.zip"), tmp_path, log)
    assert (folder / "01/train/ok/0000.png").read_bytes() == b"an image of 01"


def test_a_server_without_ranges_begins_anew(tmp_path: Path, log: Log) -> None:
    def answer(request: Request, number: int) -> Answer:
        return Answer(200, {"Content-Length": str(len(ARCHIVE))}, ARCHIVE[: 30 if number == 1 else None])

    with serving(Server(answer)) as url:
        assert files(fetched(source_of(ARCHIVE, f"{url}/btad.zip"), tmp_path, log))


@pytest.mark.parametrize(
    "lie",
    [
        pytest.param(lambda start: f"bytes {start + 7}-{len(ARCHIVE) - 1}/{len(ARCHIVE)}", id="another part"),
        pytest.param(lambda start: "bytes", id="nonsense"),
        pytest.param(lambda start: None, id="nothing"),
    ],
)
def test_a_server_that_lies_about_the_part(tmp_path: Path, log: Log, lie: Callable[[int], str | None]) -> None:
    def answer(request: Request, number: int) -> Answer:
        if number == 2:
            start = int(request.headers["range"][6:-1])
            return Answer(206, {"Content-Range": lie(start)}, ARCHIVE[start:])
        return sends(request, ARCHIVE, 40 if number == 1 else None)

    with serving(Server(answer)) as url:
        assert files(fetched(source_of(ARCHIVE, f"{url}/btad.zip"), tmp_path, log))
    assert any("another part" in note for note in log.notes)


def test_a_server_that_says_too_much_is_asked_until_it_has_no_more(tmp_path: Path, log: Log) -> None:
    def answer(request: Request, number: int) -> Answer:
        honest = sends(request, ARCHIVE)
        return (
            honest if number > 1 else Answer(200, {"Content-Length": str(len(ARCHIVE) + 99), "ETag": '"one"'}, ARCHIVE)
        )

    server = Server(answer)
    with serving(server) as url:
        assert files(fetched(source_of(ARCHIVE, f"{url}/btad.zip"), tmp_path, log))
    assert len(server.asked) == 2  # the second time it says that there is no more


def test_a_server_that_says_too_little_sends_another_file(tmp_path: Path, log: Log) -> None:
    short = {"Content-Length": str(len(ARCHIVE) - 9)}
    with (
        serving(Server(lambda request, _: Answer(200, short, ARCHIVE))) as url,
        pytest.raises(DatasetError, match=r"sent another file .* nothing is kept of it; other ways: --url"),
    ):
        fetched(source_of(ARCHIVE, f"{url}/btad.zip"), tmp_path, log)
    assert left(tmp_path) == set()


def test_a_server_without_a_length(tmp_path: Path, log: Log) -> None:
    with serving(Server(lambda request, _: Answer(200, {"Content-Length": None}, ARCHIVE))) as url:
        assert files(fetched(source_of(ARCHIVE, f"{url}/btad.zip"), tmp_path, log))


@pytest.mark.parametrize("length", [True, False], ids=["said", "not said"])
def test_what_is_too_large_is_not_received(tmp_path: Path, log: Log, length: bool) -> None:
    content = ARCHIVE + bytes(5000)
    headers = {} if length else {"Content-Length": None}
    with (
        serving(Server(lambda request, _: Answer(200, headers, content))) as url,
        pytest.raises(DatasetError, match=r"it is (another file|not the archive)"),
    ):
        fetched(source_of(ARCHIVE, f"{url}/btad.zip", max_archive=len(ARCHIVE)), tmp_path, log)
    assert not (tmp_path / "btad").exists()
    assert sum(path.stat().st_size for path in tmp_path.glob("*.part")) == 0


def test_a_web_page_is_known_by_its_first_bytes(tmp_path: Path, log: Log) -> None:
    page = Answer(200, {"Content-Type": "text/html"}, b"<html>Sign in</html>" * 100)
    with (
        serving(Server(lambda request, _: page)) as url,
        pytest.raises(DatasetError, match=r"is not the archive but text/html; other ways"),
    ):
        fetched(source_of(ARCHIVE, f"{url}/btad.zip"), tmp_path, log)


def test_a_wrong_file_of_the_right_kind_is_not_unpacked(tmp_path: Path, log: Log) -> None:
    other = zipped({"other": b"file"})
    with (
        serving(Server(lambda request, _: sends(request, other))) as url,
        pytest.raises(DatasetError, match="sent another file"),
    ):
        fetched(source_of(ARCHIVE, f"{url}/btad.zip"), tmp_path, log)
    assert left(tmp_path) == set()


def test_redirects_are_followed_and_circles_are_not(tmp_path: Path, log: Log) -> None:
    def answer(request: Request, number: int) -> Answer:
        if request.path == "/circle":
            return Answer(302, {"Location": "/circle"})
        return sends(request, ARCHIVE) if request.path == "/there" else Answer(302, {"Location": "/there"})

    with serving(Server(answer)) as url:
        assert files(fetched(source_of(ARCHIVE, f"{url}/btad.zip"), tmp_path / "one", log))
        with pytest.raises(DatasetError, match="redirected in a circle"):
            fetched(source_of(ARCHIVE, f"{url}/circle"), tmp_path / "two", log)
        assert log.pauses == []


def test_a_redirect_to_a_file_of_this_machine_is_not_followed(tmp_path: Path, log: Log) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(ARCHIVE)
    with (
        serving(Server(lambda request, _: Answer(302, {"Location": f"file://{secret}"}))) as url,
        pytest.raises(DatasetError, match="cannot be downloaded"),
    ):
        fetched(source_of(ARCHIVE, f"{url}/btad.zip"), tmp_path / "data", log)


def test_busy_servers_are_asked_later_and_refusals_are_told(tmp_path: Path, log: Log) -> None:
    def answer(request: Request, number: int) -> Answer:
        return Answer(503, {"Retry-After": "7"}) if number == 1 else sends(request, ARCHIVE)

    with serving(Server(answer)) as url:
        assert files(fetched(source_of(ARCHIVE, f"{url}/btad.zip"), tmp_path / "one", log))
    assert log.pauses == [7.0]
    with (
        serving(Server(lambda request, _: Answer(404))) as url,
        pytest.raises(DatasetError, match=r"the server answers 404.*get btad.zip from https://avires"),
    ):
        fetched(source_of(ARCHIVE, f"{url}/btad.zip"), tmp_path / "two", log)


def test_a_server_that_always_breaks_off_is_given_up(tmp_path: Path, log: Log) -> None:
    server = Server(lambda request, _: None)
    with serving(server) as url, pytest.raises(DatasetError, match="the server broke off"):
        fetched(source_of(ARCHIVE, f"{url}/btad.zip"), tmp_path, log)
    assert len(server.asked) == 5 and len(log.pauses) == 4
    assert left(tmp_path) == set()


def test_an_archive_that_is_there_is_checked(tmp_path: Path, log: Log) -> None:
    source = source_of(ARCHIVE, "http://127.0.0.1:9/btad.zip")  # nobody listens there
    (tmp_path / "btad.zip").write_bytes(ARCHIVE[:-1])
    with pytest.raises(DatasetError, match=r"is not the archive: its sha256 is .* move it away"):
        fetched(source, tmp_path, log)
    assert left(tmp_path) == {"btad.zip"}  # somebody else's, so it stays
    (tmp_path / "btad.zip").write_bytes(ARCHIVE)
    assert files(fetched(source, tmp_path, log))


def test_an_archive_from_elsewhere(tmp_path: Path, log: Log) -> None:
    mine = tmp_path / "download (1).zip"
    mine.write_bytes(ARCHIVE)
    source = source_of(ARCHIVE, "http://127.0.0.1:9/btad.zip", algorithm="md5")
    assert files(fetched(source, tmp_path / "data", log, archive=mine))
    assert mine.exists() and left(tmp_path / "data") == {"btad"}
    with pytest.raises(DatasetError, match="there is no file"):
        fetched(source, tmp_path / "other", log, archive=tmp_path / "none.zip")


def test_a_folder_of_somebody_else_stays(tmp_path: Path, log: Log) -> None:
    (tmp_path / "btad").mkdir()
    (tmp_path / "btad/mine.txt").write_text("mine")
    with pytest.raises(DatasetError, match=r"is there already and is not of this archive.*data check"):
        fetched(source_of(ARCHIVE, "http://127.0.0.1:9/btad.zip"), tmp_path, log)
    assert (tmp_path / "btad/mine.txt").read_text() == "mine"


def test_the_leavings_of_a_call_that_died_are_not_taken_for_whole(tmp_path: Path, log: Log) -> None:
    (tmp_path / ".btad.unpacking/set/01").mkdir(parents=True)
    (tmp_path / "btad.zip").write_bytes(ARCHIVE)
    folder = fetched(source_of(ARCHIVE, "http://127.0.0.1:9/btad.zip"), tmp_path, log)
    assert len(files(folder)) == 4 and left(tmp_path) == {"btad", "btad.zip"}
    assert json.loads((folder / ".fod-bench.json").read_text())["archive"] == "btad.zip"


def test_one_at_a_time(tmp_path: Path, log: Log) -> None:
    with (tmp_path / ".fod-bench-fetch.lock").open("wb") as lock:
        assert try_lock(lock)
        with pytest.raises(DatasetError, match="another fetch is at work"):
            fetched(source_of(ARCHIVE, "http://127.0.0.1:9/btad.zip"), tmp_path, log)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://host/a.zip", "btad.zip", "http://", "http://[::1"])
def test_an_address_that_is_none(tmp_path: Path, log: Log, url: str) -> None:
    with pytest.raises(DatasetError, match="no http or https address"):
        fetched(source_of(ARCHIVE, "https://127.0.0.1/btad.zip"), tmp_path, log, url=url)


@pytest.mark.parametrize(
    ("leads_to", "said"),
    [
        ("ftp://me:SECRET@host/a.zip?token=SECRET", "leads to what is no http or https address"),
        ("http://[SECRET/a.zip?token=SECRET", "leads to what is no http or https address"),
        ("http://.SECRET/a.zip?token=SECRET", "leads to what is no http or https address"),
        ("http://host:SECRET/a.zip?token=SECRET", "leads to what is no http or https address"),
        (None, "the server refuses the connection"),
    ],
)
def test_why_a_download_failed_is_said_without_its_address(
    tmp_path: Path, log: Log, leads_to: str | None, said: str
) -> None:
    with serving(lambda request: Answer(302, {"Location": leads_to or "http://127.0.0.1:9/?token=SECRET"})) as url:
        address = f"{url}/btad.zip?token=SECRET"
        with pytest.raises(DatasetError, match=said) as refused:
            fetched(source_of(ARCHIVE, url), tmp_path, log, url=address)
    told = "\n".join([str(refused.value), *log.notes, *log.done])
    assert "SECRET" not in told and "token" not in told


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            requests.ConnectionError(urllib3.exceptions.MaxRetryError(
                None,  # type: ignore[arg-type]
                "/a.zip?token=SECRET",
                urllib3.exceptions.SSLError(ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number")),
            )),
            "SSLError: [SSL: WRONG_VERSION_NUMBER] wrong version number",
        ),
        (
            requests.ConnectionError(urllib3.exceptions.MaxRetryError(
                None,  # type: ignore[arg-type]
                "/a.zip?token=SECRET",
                urllib3.exceptions.ProxyError("no proxy", OSError("Tunnel connection failed: 403 Forbidden")),
            )),
            "OSError: Tunnel connection failed: 403 Forbidden",
        ),
        (requests.ConnectionError("http://host/a.zip?token=SECRET: odd"), "ConnectionError"),
        (requests.ConnectionError(OSError(113, "No route to host")), "OSError: No route to host"),
    ],
)  # fmt: skip
def test_the_innermost_cause_is_said(error: Exception, said: str) -> None:
    assert reason(error) == said


def test_the_mark_tells_what_is_known_of_the_archive(tmp_path: Path, log: Log) -> None:
    def origin(folder: Path) -> str:
        return str(json.loads((folder / ".fod-bench.json").read_text())["origin"])

    (tmp_path / "mine.zip").write_bytes(ARCHIVE)
    (tmp_path / "there").mkdir()
    (tmp_path / "there/btad.zip").write_bytes(ARCHIVE)
    with serving(lambda request: sends(request, ARCHIVE)) as url:
        source = source_of(ARCHIVE, f"{url}/btad.zip")
        mirror = f"{url}/mirror/btad.zip"
        loaded = fetched(source, tmp_path / "loaded", log, url=f"{mirror}?token=SECRET")
    assert origin(loaded) == f"downloaded from {mirror}"
    assert origin(fetched(source, tmp_path / "given", log, archive=tmp_path / "mine.zip")) == "given by --archive"
    assert origin(fetched(source, tmp_path / "there", log)) == "was there already"


@pytest.mark.parametrize("url", ["ftp://me:SECRET@host/a.zip?token=SECRET", "http://[::1?token=SECRET"])
def test_an_address_that_is_none_is_refused_without_its_secrets(tmp_path: Path, log: Log, url: str) -> None:
    with pytest.raises(DatasetError, match="is no http or https address") as refused:
        fetched(source_of(ARCHIVE, "http://h/btad.zip"), tmp_path, log, url=url)
    assert "SECRET" not in str(refused.value)


def test_secrets_of_an_address_are_not_shown() -> None:
    assert shown("https://me:secret@host:1/a/b.zip?token=secret#x") == "https://host:1/a/b.zip"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written(tmp_path: Path, log: Log) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(DatasetError, match="cannot be used"):
        fetched(source_of(ARCHIVE, "http://127.0.0.1:9/btad.zip"), tmp_path / "data", log)


def test_the_published_sets_are_told_as_they_are() -> None:
    page = (Path(__file__).parents[2] / "docs/data.md").read_text(encoding="utf-8")
    for source in SOURCES.values():
        assert source.url in page and f"{source.algorithm} `{source.checksum}`" in page
        assert source.licence in source.terms() and source.page in source.terms()
