"""Where the published data sets come from: address, checksum, licence, and how large they may be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fod_bench.datasets.btad import BTAD
from fod_bench.datasets.mvtec import MVTEC
from fod_bench.datasets.mvtec3d import MVTEC3D

_GB = 10**9
_CC_BY_NC_SA = "https://creativecommons.org/licenses/by-nc-sa/4.0/"


@dataclass(frozen=True)
class Source:
    """The archive of one data set, and what its publisher asks of those who use it."""

    name: str
    """Name of its layout, and of the folder it is unpacked to."""
    title: str
    url: str
    algorithm: Literal["sha256", "md5"]
    checksum: str
    """Hexadecimal digest of the archive."""
    page: str
    """Where the publisher offers it."""
    licence: str
    """In one sentence."""
    licence_url: str
    """Empty where the publisher gives none."""
    citation: str
    categories: tuple[str, ...]
    """Folders that the unpacked set has to have."""
    max_archive: int
    """Bytes; a larger file is not the archive."""
    max_unpacked: int
    """Bytes that unpacking may write."""
    max_files: int = 60_000

    @property
    def file_name(self) -> str:
        return self.url.rpartition("/")[2]

    @property
    def magic(self) -> bytes:
        """What a file of the archive's kind begins with."""
        return b"PK\x03\x04" if self.file_name.endswith(".zip") else b"\xfd7zXZ\x00"

    def terms(self) -> str:
        """Licence and citation, as a person is to read them before anything is fetched."""
        lines = [self.title, "", f"Licence:  {self.licence}"]
        if self.licence_url:
            lines.append(f"          {self.licence_url}")
        lines += [f"Source:   {self.page}", f"Cite:     {self.citation}"]
        return "\n".join(lines)


SOURCES: dict[str, Source] = {
    source.name: source
    for source in (
        Source(
            name=MVTEC.name,
            title="MVTec AD, the MVTec anomaly detection data set: 15 categories, 5354 images",
            url="https://www.mydrive.ch/shares/150996/b52ecdcbf521176e9db9c731f2304b27/download/"
            "420938113-1629960298/mvtec_anomaly_detection.tar.xz",
            algorithm="sha256",
            checksum="cf4313b13603bec67abb49ca959488f7eedce2a9f7795ec54446c649ac98cd3d",
            page="https://www.mvtec.com/company/research/datasets/mvtec-ad",
            licence="CC BY-NC-SA 4.0: name the authors, no commercial use, share alike. © MVTec Software GmbH",
            licence_url=_CC_BY_NC_SA,
            citation="Bergmann, Batzner, Fauser, Sattlegger, Steger: The MVTec Anomaly Detection Dataset, IJCV 2021; "
            "Bergmann, Fauser, Sattlegger, Steger: MVTec AD, CVPR 2019",
            categories=tuple(MVTEC.published),
            max_archive=8 * _GB,
            max_unpacked=16 * _GB,
        ),
        Source(
            name=BTAD.name,
            title="BTAD, the beanTech anomaly detection data set: 3 products, 2540 images",
            url="https://avires.dimi.uniud.it/papers/btad/btad.zip",
            algorithm="sha256",
            checksum="461c9387e515bfed41ecaae07c50cf6b10def647b36c9e31d239ab2736b10d2a",
            page="https://avires.dimi.uniud.it/papers/btad/",
            licence="none that we know of is stated by the publisher; others pass it on under CC BY-NC-SA 4.0 (name the "
            "authors, no commercial use, share alike). Ask the authors where that does not do",
            licence_url="",
            citation="Mishra, Verk, Fornasier, Piciarelli, Foresti: VT-ADL: A Vision Transformer Network for Image Anomaly "
            "Detection and Localization, ISIE 2021",
            categories=tuple(BTAD.published),
            max_archive=8 * _GB,
            max_unpacked=20 * _GB,
        ),
        Source(
            name=MVTEC3D.name,
            title="MVTec 3D-AD, the MVTec 3D anomaly detection data set: 10 categories, 4147 images with depth",
            url="https://www.mydrive.ch/shares/150646/25de33f1276dd418cd856f2f48a84cdb/download/"
            "428824485-1643299897/mvtec_3d_anomaly_detection.tar.xz",
            algorithm="md5",
            checksum="d8bb2800fbf3ac88e798da6ae10dc819",
            page="https://www.mvtec.com/company/research/datasets/mvtec-3d-ad",
            licence="CC BY-NC-SA 4.0: name the authors, no commercial use, share alike. © MVTec Software GmbH",
            licence_url=_CC_BY_NC_SA,
            citation="Bergmann, Jin, Sattlegger, Steger: The MVTec 3D-AD Dataset for Unsupervised 3D Anomaly Detection and "
            "Localization, VISAPP 2022",
            categories=tuple(MVTEC3D.published),
            max_archive=24 * _GB,
            max_unpacked=100 * _GB,
        ),
    )
}
"""Data sets that can be fetched, by name."""
