"""Archives of small data sets, sound and hostile, and a server that sends them as a test says."""

from __future__ import annotations

import hashlib
import io
import tarfile
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from fod_bench.datasets.fetch.sources import SOURCES, Source
from tests.helpers.dataset_builders import btad_category
from tests.helpers.scripted_server import Answer, Request

MEMBERS = {f"set/{name}/train/ok/0000.png": b"an image of " + name.encode() for name in ("01", "02", "03")}
"""Files of a set that has BTAD's categories, in a folder of its own as in the published archive."""


def zipped(members: Mapping[str, bytes] = MEMBERS) -> bytes:
    """A zip file with these files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in members.items():
            packed.writestr(name, content)
    return buffer.getvalue()


def taped(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    """A .tar.xz with these entries, as they are given."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:xz") as tape:
        for info, content in members:
            if info.isreg():
                info.size = len(content)
            tape.addfile(info, io.BytesIO(content) if info.isreg() else None)
    return buffer.getvalue()


def entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    """An entry of a tar, of any kind."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def real_set(folder: Path) -> bytes:
    """A zip file of three tiny products in BTAD's layout."""
    for name, suffix, mask in (("01", ".bmp", ".png"), ("02", ".png", ".png"), ("03", ".bmp", ".bmp")):
        btad_category(folder, name, suffix, mask)
    files = {f"BTech_Dataset/{p.relative_to(folder)}": p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    return zipped(files)


def source_of(content: bytes, url: str, name: str = "btad", **changes: object) -> Source:
    """A source whose archive is `content`, at `url`."""
    like = SOURCES[name]
    algorithm = changes.pop("algorithm", "sha256")
    checksum = hashlib.new(str(algorithm), content).hexdigest()
    return replace(like, url=url, checksum=checksum, algorithm=algorithm, **changes)  # type: ignore[arg-type]


def sends(request: Request, content: bytes, cut: int | None = None, tag: str = '"one"') -> Answer:
    """What a server that knows ranges answers, broken off after `cut` bytes."""
    start = int(request.headers.get("range", "bytes=0-")[6:-1])
    if request.headers.get("if-range", tag) != tag:
        start = 0
    if start >= len(content) > 0:
        return Answer(416, {"Content-Range": f"bytes */{len(content)}"})
    headers = {"ETag": tag, "Content-Length": str(len(content) - start)}
    if start:
        headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
    return Answer(206 if start else 200, headers, content[start:][:cut])
