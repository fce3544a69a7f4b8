"""Archives that nobody should unpack: what they hold never lands outside, and nothing of them is taken for a data set."""

from __future__ import annotations

import io
import lzma
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from fod_bench.datasets.fetch import fetch
from fod_bench.datasets.fetch.unpack import Bounds, unpack
from fod_bench.errors import DatasetError
from tests.helpers.archives import MEMBERS, entry, source_of, taped, zipped

ROOM = Bounds(10**6, 100)
SOUND = [(entry(name), content) for name, content in MEMBERS.items()]


def zip_entry(name: str, kind: int = 0, flags: int = 0) -> bytes:
    """A zip file with one entry of this file type."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed:
        info = zipfile.ZipInfo("placeholder")
        info.filename = name
        info.external_attr = (kind | 0o644) << 16
        info.flag_bits = flags
        packed.writestr(info, "/etc/passwd")
    return buffer.getvalue()


def unpacked(tmp_path: Path, content: bytes, name: str, bounds: Bounds = ROOM) -> Path:
    archive = tmp_path / name
    archive.write_bytes(content)
    target = tmp_path / "in/target"
    target.mkdir(parents=True)
    unpack(archive, target, bounds)
    return target


HOSTILE = {
    "tar: upwards": (taped((entry("../evil"), b"x")), "leads out of the folder"),
    "tar: upwards inside": (taped((entry("a/../../evil"), b"x")), "leads out of the folder"),
    "tar: absolute": (taped((entry("/tmp/evil"), b"x")), "leads out of the folder"),
    "tar: symbolic link": (taped((entry("link", tarfile.SYMTYPE, "/etc"), b"")), "is a link"),
    "tar: link inside": (taped((entry("link", tarfile.SYMTYPE, "other"), b"")), "is a link"),
    "tar: through a link": (
        taped((entry("a", tarfile.SYMTYPE, ".."), b""), (entry("a/evil"), b"x")),
        "is a link",
    ),
    "tar: hard link": (taped((entry("link", tarfile.LNKTYPE, "/etc/passwd"), b"")), "is a link"),
    "tar: device": (taped((entry("null", tarfile.CHRTYPE), b"")), "a pipe, a socket or a device"),
    "tar: disk": (taped((entry("disk", tarfile.BLKTYPE), b"")), "a pipe, a socket or a device"),
    "tar: pipe": (taped((entry("pipe", tarfile.FIFOTYPE), b"")), "a pipe, a socket or a device"),
    "tar: twice": (taped((entry("a"), b"1"), (entry("a"), b"2")), "holds a twice"),
    "tar: control characters": (taped((entry("a\x1b[31m"), b"x")), r"a\\x1b\[31m has control characters"),
    "tar: backslash": (taped((entry("..\\evil"), b"x")), "leads out of the folder"),
    "zip: upwards": (zip_entry("../evil"), "leads out of the folder"),
    "zip: absolute": (zip_entry("/tmp/evil"), "leads out of the folder"),
    "zip: drive": (zip_entry("C:evil"), "leads out of the folder"),
    "zip: link": (zip_entry("link", stat.S_IFLNK), "is a link"),
    "zip: device": (zip_entry("null", stat.S_IFCHR), "a pipe, a socket or a device"),
    "zip: pipe": (zip_entry("pipe", stat.S_IFIFO), "a pipe, a socket or a device"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_archives(tmp_path: Path, case: str) -> None:
    content, said = HOSTILE[case]
    name = "archive.zip" if case.startswith("zip") else "archive.tar.xz"
    with pytest.raises(DatasetError, match=said):
        unpacked(tmp_path, content, name)
    outside = {path for path in tmp_path.rglob("*") if path.is_file()} - {tmp_path / name}
    assert all(path.is_relative_to(tmp_path / "in/target") for path in outside)
    assert not any(path.is_symlink() for path in tmp_path.rglob("*"))


def test_an_encrypted_zip_is_refused(tmp_path: Path) -> None:
    content = bytearray(zipped({"a": b"x"}))
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(mark) + offset] |= 1
    with pytest.raises(DatasetError, match="is encrypted"):
        unpacked(tmp_path, bytes(content), "a.zip")


def test_a_name_twice_in_a_zip(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed, pytest.warns(UserWarning, match="Duplicate"):
        packed.writestr("a", "1")
        packed.writestr("a", "2")
    with pytest.raises(DatasetError, match="holds a twice"):
        unpacked(tmp_path, buffer.getvalue(), "a.zip")


@pytest.mark.parametrize("name", ["a.zip", "a.tar.xz"])
def test_what_grows_beyond_its_bounds(tmp_path: Path, name: str) -> None:
    bomb = bytes(5 * 10**6)
    content = zipped({"big": bomb}) if name == "a.zip" else taped((entry("big"), bomb))
    assert len(content) < 10**4
    with pytest.raises(DatasetError, match="unpacks to more than"):
        unpacked(tmp_path, content, name)
    assert sum(path.stat().st_size for path in (tmp_path / "in").rglob("*") if path.is_file()) <= ROOM.bytes


def test_many_small_files_beyond_the_bounds(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="holds more than 100 files"):
        unpacked(tmp_path, zipped({f"{number}": b"" for number in range(101)}), "a.zip")


def test_a_size_that_a_zip_lies_about(tmp_path: Path) -> None:
    content = bytearray(zipped({"a": bytes(3 * 10**6)}))
    for mark, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        place = content.index(mark) + offset
        content[place : place + 4] = (10).to_bytes(4, "little")
    with pytest.raises(DatasetError, match="is damaged"):
        unpacked(tmp_path, bytes(content), "a.zip")


def test_a_header_that_is_too_long_fills_no_memory(tmp_path: Path) -> None:
    header = entry("x", tarfile.XHDTYPE)
    header.size = 1 << 32
    with pytest.raises(DatasetError, match="header in it is too long"):
        unpacked(tmp_path, lzma.compress(header.tobuf(tarfile.USTAR_FORMAT) + bytes(4096)), "a.tar.xz")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("cut.tar.xz", taped(*SOUND)[:-40]),
        ("cut.zip", zipped()[:-40]),
        ("noise.tar.xz", b"\xfd7zXZ\x00" + bytes(200)),
        ("noise.zip", b"PK\x03\x04" + bytes(200)),
        ("no-tar.tar.xz", lzma.compress(b"this is no tar" * 100)),
        ("cut-inside.tar.xz", lzma.compress(lzma.decompress(taped((entry("a"), b"x" * 5000)))[:2000])),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_damaged_archives(tmp_path: Path, name: str, content: bytes) -> None:
    with pytest.raises(DatasetError, match="is damaged"):
        unpacked(tmp_path, content, name)


def test_a_header_that_cannot_be_read_is_not_taken_for_the_end(tmp_path: Path) -> None:
    content = bytearray(lzma.decompress(taped(*SOUND)))
    content[2 * 512 + 148] ^= 1  # the checksum of the second header
    with pytest.raises(DatasetError, match="what follows its last file is none"):
        unpacked(tmp_path, lzma.compress(bytes(content)), "a.tar.xz")


def test_a_sound_tar(tmp_path: Path) -> None:
    folder = (entry("set", tarfile.DIRTYPE), b"")
    target = unpacked(tmp_path, taped(folder, *SOUND), "a.tar.xz")
    assert {p.relative_to(target).as_posix() for p in target.rglob("*.png")} == set(MEMBERS)
    assert all(not path.stat().st_mode & 0o111 for path in target.rglob("*.png"))


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ([*SOUND, (entry("set/late", tarfile.SYMTYPE, "/etc"), b"")], "is a link"),
        (SOUND[:2], "03 are not in it"),
    ],
    ids=["a link at its end", "a category missing"],
)
def test_nothing_half_unpacked_is_taken_for_whole(
    tmp_path: Path, members: list[tuple[tarfile.TarInfo, bytes]], said: str
) -> None:
    content = taped(*members)
    archive = tmp_path / "mine.tar.xz"
    archive.write_bytes(content)
    source = source_of(content, "http://127.0.0.1:9/x.tar.xz")
    with pytest.raises(DatasetError, match=said):
        fetch(source, tmp_path / "data", archive=archive)
    assert {path.name for path in (tmp_path / "data").iterdir()} == {".fod-bench-fetch.lock"}
