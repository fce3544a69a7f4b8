"""Data sets in a bucket: the same content as in a folder, the same keys; fetched once, checked, and no more than is asked for."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from fod_bench.datasets import Category, FolderSettings, SampleLimit, bucket, category_names, open_category, root_notes
from fod_bench.datasets.manifest import MANIFEST, Listed, dump_manifest, files_below, list_files, parse_manifest
from fod_bench.datasets.push import push, write_bucket_manifest, write_manifest
from fod_bench.errors import DatasetError, StoreError
from fod_bench.job import Limit, load_job
from fod_bench.plan import make_plan
from fod_bench.store.s3.files import BucketFiles
from tests.helpers.commands import TINY
from tests.helpers.dataset_builders import btad_category, folder_category, image, mask, mvtec3d_category
from tests.helpers.s3_servers import BUCKET, Server

HASH = "0" * 64


@pytest.fixture
def server(s3: Callable[[str], Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "own-cache"))
    monkeypatch.setattr(bucket, "REMEMBERED_SECONDS", -1.0)
    return s3("moto")


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that are read from a bucket."""
    read: list[str] = []
    original = BucketFiles.read

    def noting(self: BucketFiles, name: str, most: int) -> bytes | None:
        read.append(name)
        return original(self, name, most)

    monkeypatch.setattr(BucketFiles, "read", noting)
    return read


@pytest.fixture
def pushed(server: Server, tmp_path: Path, request: pytest.FixtureRequest) -> tuple[Path, str]:
    """A data set of two categories in a folder, and the same in a bucket."""
    root = tmp_path / "parts"
    folder_category(root, "nut")
    folder_category(root, "bolt")
    image(root / "bolt/train/good/000.png", value=7)
    (root / ".DS_Store").write_bytes(b"hidden")
    return root, push(root, server.address(place(request))).uri


def place(request: pytest.FixtureRequest) -> str:
    """A prefix for one test alone, whose last part is the folder's name."""
    return f"data/{hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:12]}/parts"


def read_all(category: Category) -> list[Any]:
    """Every image and mask of a category."""
    return [(np.asarray(category.read_image(one)).tolist(), _mask(category, one)) for one in category.samples]


def _mask(category: Category, sample: Any) -> Any:
    found = category.read_mask(sample)
    return None if found is None else found.tolist()


def cached(tmp_path: Path) -> list[Path]:
    return [path for path in (tmp_path / "cache").glob("*") if path.is_file()]


LAYOUTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "folder": (folder_category, "nut"),
    "btad": (lambda root: btad_category(root, "01", ".bmp", ".png"), "01"),
    "mvtec3d": (mvtec3d_category, "bagel"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_category_is_the_same_from_a_bucket(
    server: Server, tmp_path: Path, request: pytest.FixtureRequest, layout: str
) -> None:
    build, name = LAYOUTS[layout]
    root = tmp_path / "parts"
    build(root)
    uri = push(root, server.address(place(request))).uri
    here, there = open_category(layout, root, name), open_category(layout, uri, name)
    assert there.fingerprint() == here.fingerprint()
    assert there.samples == here.samples
    assert (there.found(), there.notes()) == (here.found(), here.notes())
    assert category_names(layout, uri) == category_names(layout, root)
    assert cached(tmp_path) == [], "nothing is fetched to know it"
    sent: Category = pickle.loads(pickle.dumps(there))
    assert read_all(sent) == read_all(here)
    assert sent.fingerprint_anew() == (here.fingerprint(), [])
    assert sent.noticed() == here.noticed()


def test_odd_names_and_forms_are_the_same_from_a_bucket(
    server: Server, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    root = tmp_path / "parts"
    for name in ("ä b", "a\u0308 c", "50%#?&+", "日本"):
        image(root / f"good/{name}.png")
        image(root / f"bad/{name}.PNG", value=200)
    image(root / "bad/größe.png", value=201)
    mask(root / "ground_truth/bad/größe/1.png")
    (root / "bad/notes.txt").write_text("left out")
    own = FolderSettings(masks="optional")
    uri = push(root, server.address(place(request))).uri
    assert category_names("folder", uri, own=own) == category_names("folder", root, own=own) == ["parts"]
    here, there = open_category("folder", root, "parts", own=own), open_category("folder", uri, "parts", own=own)
    assert (there.fingerprint(), there.samples) == (here.fingerprint(), here.samples)
    assert (there.found(), there.notes()) == (here.found(), here.notes())
    assert read_all(there) == read_all(here)


def test_only_the_files_in_use_are_fetched_and_only_once(
    pushed: tuple[Path, str], fetched: list[str], tmp_path: Path
) -> None:
    _, uri = pushed
    read_all(open_category("folder", uri, "nut"))
    files = [name for name in fetched if name != MANIFEST]
    assert all(name.startswith("nut/") for name in files)
    contents = [(pushed[0] / name).read_bytes() for name in files]
    assert len(set(contents)) == len(contents), "files of one content are fetched once"
    assert set(contents) == {path.read_bytes() for path in files_below(pushed[0] / "nut").values()}
    fetched.clear()
    for category in (
        open_category("folder", uri, "nut"),
        pickle.loads(pickle.dumps(open_category("folder", uri, "nut"))),
    ):
        read_all(category)
    assert set(fetched) == {MANIFEST}
    fetched.clear()
    limit: SampleLimit = Limit(train=1, test=1)
    limited = open_category("folder", uri, "bolt", limit=limit)
    assert len(read_all(limited)) == 2
    assert sorted(fetched) == ["bolt/test/good/000.png", "bolt/train/good/000.png", MANIFEST]


def test_several_at_once_fetch_once(pushed: tuple[Path, str], fetched: list[str]) -> None:
    content = pickle.dumps(open_category("folder", pushed[1], "nut"))
    fetched.clear()
    with ThreadPoolExecutor(6) as pool:
        images = list(pool.map(lambda _: read_all(pickle.loads(content)), range(6)))
    assert all(found == images[0] for found in images)
    assert len(fetched) == len(set(fetched)), "one of them fetches, the others wait"


def test_a_fetch_that_breaks_off_leaves_nothing_and_is_done_again(
    pushed: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    category = open_category("folder", pushed[1], "nut")
    original, left = bucket._fetch, iter(range(5))

    def failing(files: BucketFiles, name: str, entry: Listed) -> bytes:
        if next(left, None) is None:
            raise StoreError("the server is gone")
        return original(files, name, entry)

    monkeypatch.setattr(bucket, "_fetch", failing)
    with pytest.raises(StoreError, match="gone"):
        category.read_image(category.samples[0])
    assert cached(tmp_path) == [] and not list((tmp_path / "cache/.temporary").iterdir())
    monkeypatch.setattr(bucket, "_fetch", original)
    assert read_all(category) == read_all(open_category("folder", pushed[0], "nut"))


@pytest.mark.parametrize(
    "damage", [lambda content: content[:-1], lambda content: b"x" + content[1:], lambda content: b""]
)
def test_what_is_damaged_in_the_cache_is_fetched_again(
    pushed: tuple[Path, str], tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    read_all(open_category("folder", pushed[1], "nut"))
    (file,) = cached(tmp_path)
    content = file.read_bytes()
    file.unlink()
    file.write_bytes(damage(content))
    category = open_category("folder", pushed[1], "nut")
    assert read_all(category) == read_all(open_category("folder", pushed[0], "nut"))
    assert file.read_bytes() == content


@pytest.mark.parametrize("change", ["other", "longer", "gone"])
def test_what_is_not_the_file_of_the_manifest_is_refused(
    pushed: tuple[Path, str], server: Server, tmp_path: Path, change: str
) -> None:
    root, uri = pushed
    category = open_category("folder", uri, "nut")
    key = f"{uri.partition('?')[0].removeprefix(f's3://{BUCKET}/')}/nut/train/good/001.png"
    if change == "gone":
        server.client().delete_object(Bucket=BUCKET, Key=key)
    else:
        content = (root / "nut/train/good/001.png").read_bytes()
        changed = b"x" + content[1:] if change == "other" else content + b"x"
        server.client().put_object(Bucket=BUCKET, Key=key, Body=changed)
    with pytest.raises(DatasetError) as caught:
        category.read_image(category.samples[0])
    assert f"s3://{BUCKET}/{key}" in str(caught.value) and "fod-bench data push" in str(caught.value)
    assert cached(tmp_path) == []
    push(root, uri)
    assert read_all(category) == read_all(open_category("folder", root, "nut"))


def test_without_room_on_disk_images_are_read_all_the_same(
    pushed: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FOD_BENCH_CACHE_GIB", "0.0000001")
    assert read_all(open_category("folder", pushed[1], "nut")) == read_all(open_category("folder", pushed[0], "nut"))
    assert cached(tmp_path) == []


def test_a_damaged_image_is_named_by_its_place_in_the_bucket(
    server: Server, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    root = tmp_path / "parts"
    folder_category(root, "nut")
    (root / "nut/train/good/000.png").write_bytes(b"no image")
    uri = push(root, server.address(place(request))).uri
    category = open_category("folder", uri, "nut")
    with pytest.raises(DatasetError, match=f"image {uri.partition('?')[0]}/nut/train/good/000.png cannot be read"):
        category.read_image(category.samples[0])
    (root / "nut/ground_truth/crack/000_mask.png").unlink()
    push(root, uri)
    with pytest.raises(DatasetError, match=f"{uri.partition('?')[0]}/nut/test/crack/000.png has no mask"):
        open_category("folder", uri, "nut")


def test_pushing_again_sends_what_changed_and_the_keys_follow(
    pushed: tuple[Path, str], server: Server, tmp_path: Path
) -> None:
    root, uri = pushed
    before = open_category("folder", uri, "nut").fingerprint()
    image(root / "nut/train/good/000.png", value=5)
    again = push(root, uri)
    assert again.files - again.there == 1
    after = open_category("folder", uri, "nut").fingerprint()
    assert after == open_category("folder", root, "nut").fingerprint() != before


def test_a_manifest_beside_the_files_or_of_the_bucket_is_the_same(pushed: tuple[Path, str], server: Server) -> None:
    root, uri = pushed
    key = f"{uri.partition('?')[0].removeprefix(f's3://{BUCKET}/')}/{MANIFEST}"

    def stored() -> bytes:
        return bytes(server.client().get_object(Bucket=BUCKET, Key=key)["Body"].read())

    written, count = write_manifest(root)
    assert written.read_bytes() == stored() and count == len(files_below(root))
    server.client().delete_object(Bucket=BUCKET, Key=key)
    with pytest.raises(DatasetError, match=f"has no {MANIFEST}.*fod-bench data push"):
        open_category("folder", uri, "nut")
    assert write_bucket_manifest(uri) == (f"s3://{BUCKET}/{key}", count)
    assert stored() == written.read_bytes()
    assert open_category("folder", root, "nut").fingerprint() == open_category("folder", uri, "nut").fingerprint()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{", "no manifest"),
        (b"\xff\xfe", "no manifest"),
        (b"[]", "no manifest"),
        (b'{"format": 2, "files": {}}', "format"),
        (b'{"format": 1, "files": {"a": [1]}}', "files.a"),
        (json.dumps({"format": 1, "files": {"a": [-1, HASH]}}).encode(), "files.a"),
        (json.dumps({"format": 1, "files": {"a": [1, HASH[1:]]}}).encode(), "files.a"),
        *(
            (json.dumps({"format": 1, "files": {name: [1, HASH]}}).encode(), "no path of a file below it")
            for name in ("../a", "/etc/a", "a//b", "a/./b", "a/", "", "a\0b", "n" * 300)
        ),
        (json.dumps({"format": 1, "files": {"a": [1, HASH], "a/b": [1, HASH]}}).encode(), "as a file and as a folder"),
    ],
)
def test_a_manifest_that_is_none_or_leads_elsewhere_is_refused(content: bytes, said: str) -> None:
    with pytest.raises(DatasetError) as caught:
        parse_manifest(content, "s3://bucket/x")
    assert "s3://bucket/x" in str(caught.value) and said in str(caught.value) and "\n" not in str(caught.value)


def test_a_manifest_reads_back(tmp_path: Path) -> None:
    folder_category(tmp_path / "parts")
    (tmp_path / "parts" / '"quoted" ü\n.png').write_bytes(b"1")
    listed = list_files(files_below(tmp_path / "parts"))
    assert parse_manifest(dump_manifest(listed), "here") == listed
    for name, entry in listed.items():
        content = (tmp_path / "parts" / name).read_bytes()
        assert entry == (len(content), hashlib.sha256(content).hexdigest())


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda root: None, "no folder"),
        (lambda root: root.mkdir(), "holds no file"),
        (lambda root: (root.mkdir(), os.mkfifo(root / "pipe")), "pipe"),
        (lambda root: (root.mkdir(), (root / os.fsdecode(b"\xff.png")).write_bytes(b"")), "no UTF-8"),
    ],
)
def test_a_folder_that_cannot_be_pushed_is_named(tmp_path: Path, make: Callable[[Path], Any], said: str) -> None:
    make(tmp_path / "parts")
    with pytest.raises(DatasetError, match=said):
        write_manifest(tmp_path / "parts")


def job(tmp_path: Path, root: str, **keys: Any) -> Any:
    data = {"parts": {"layout": "folder", "root": root} | keys}
    (tmp_path / "job.yaml").write_text(yaml.safe_dump({"name": "tiny", "datasets": data, "settings": TINY}))
    return load_job(tmp_path / "job.yaml")


def test_a_plan_has_the_same_trainings_from_a_bucket(
    pushed: tuple[Path, str], fetched: list[str], tmp_path: Path
) -> None:
    root, uri = pushed
    here = make_plan(job(tmp_path, str(root)), download=False)
    there = make_plan(job(tmp_path, uri), download=False)
    assert list(there.trials) == list(here.trials) and len(here.trials) == 2
    assert there.run.features == here.run.features and there.faults() == here.faults() == []
    assert [name for name in fetched if name != MANIFEST] == []
    assert root_notes("folder", uri) == root_notes("folder", root)


@pytest.mark.parametrize("categories", [["nut", "bolt"], "all"])
def test_a_root_without_a_manifest_is_one_line_of_a_plan(
    server: Server, tmp_path: Path, request: pytest.FixtureRequest, categories: Any
) -> None:
    address = server.address(place(request))
    (fault,) = make_plan(job(tmp_path, address, categories=categories), download=False).faults()
    assert fault.startswith("datasets.parts: s3://") and MANIFEST in fault and "fod-bench data push" in fault
    assert "\n" not in fault and "--set" not in fault


def test_a_server_that_does_not_answer_is_asked_once(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bucket, "REMEMBERED_SECONDS", 60.0)
    asked: list[str] = []

    def gone(self: BucketFiles, name: str, most: int) -> bytes | None:
        asked.append(name)
        raise StoreError("data set s3://away/x: cannot read it: no answer")

    monkeypatch.setattr(BucketFiles, "read", gone)
    away = job(tmp_path, "s3://away-now/x", categories=["nut", "bolt"])
    (fault,) = make_plan(away, download=False).faults()
    assert "no answer" in fault and asked == [MANIFEST]


@pytest.mark.parametrize(
    ("root", "said"),
    [
        ("s3:/bucket/x", "no place in a bucket"),
        ("s3://key:secret@bucket/x", "user name or password"),
        ("s3://bucket/x?acces_key=hunter22", "unknown key"),
        ("s3://", "names no bucket"),
    ],
)
def test_an_address_that_is_none_is_refused_with_the_job(tmp_path: Path, root: str, said: str) -> None:
    with pytest.raises(Exception, match=said) as caught:
        job(tmp_path, root)
    assert "datasets.parts.root" in str(caught.value)
    assert "secret" not in str(caught.value) and "hunter22" not in str(caught.value)


@pytest.fixture(autouse=True)
def no_names_left() -> Iterator[None]:
    yield
    bucket._known.clear()


def test_the_names_of_a_bucket_leave_no_folder(pushed: tuple[Path, str]) -> None:
    names = bucket.bucket_root(pushed[1]).names
    assert names.is_dir()
    bucket._known.clear()
    assert not names.exists()


def test_pushing_follows_links_and_ends_where_they_lead_back(tmp_path: Path) -> None:
    folder_category(tmp_path / "elsewhere", "nut")
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts/nut").symlink_to(tmp_path / "elsewhere/nut")
    (tmp_path / "elsewhere/nut/back").symlink_to(tmp_path / "parts")
    found = files_below(tmp_path / "parts")
    assert set(files_below(tmp_path / "elsewhere/nut")) >= {"train/good/000.png"}
    assert "nut/train/good/000.png" in found and not any("back/nut/back/nut" in name for name in found)
    shutil.rmtree(tmp_path / "elsewhere")
