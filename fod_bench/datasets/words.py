"""What the names of folders and files tend to say: normal, defective, mask, training, test."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Literal

GOOD_WORDS = ("good", "ok", "normal", "pass", "passed", "io", "gut", "fine", "healthy", "nominal")
"""Words for normal images, in lower case."""
_BAD = """bad ng nok ko nio notok nogood defect defects defective defekt anomaly anomalies anomalous abnormal fail failed failure
failures fault faults faulty fehler reject rejected rejects broken damaged damage scrap ausschuss schlecht crack cracks cracked
scratch scratches scratched dent dents dented stain stains contamination bent chipped"""
_BAD_WORDS = frozenset(_BAD.split())
_NOT = ("not", "no", "non", "without", "nicht", "kein", "keine", "ohne")
_MASKS = frozenset(
    [
        "mask",
        "masks",
        "maske",
        "masken",
        "gt",
        "groundtruth",
        "annotation",
        "annotations",
        "segmentation",
        "segmentations",
    ]
)
_SPLITS: dict[str, Literal["train", "test"]] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("test", "testing", "val", "valid", "validation", "eval"), "test"),
}
_MASK_NAME = r"(?:mask|gt|ground[ _-]?truth|seg|annotation)"
_MASK_SUFFIX = re.compile(rf"[ _.-]{_MASK_NAME}[ _-]?\(?\d*\)?$", re.IGNORECASE)
_MASK_PREFIX = re.compile(rf"^{_MASK_NAME}[ _.-]+", re.IGNORECASE)


def words(name: str) -> list[str]:
    """The words of a name in lower case, numbers among them: `NotOK_12` is not, ok, 12."""
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    return re.findall(r"[^\W\d_]+|\d+", apart.casefold())


def says_good(name: str) -> bool | None:
    """Whether a name is that of normal images (True), of defective ones (False), or tells nothing (None)."""
    found = words(name)
    if found in (["n", "i", "o"], ["i", "o"]):  # German: (nicht) in Ordnung
        return len(found) == 2
    for number, word in enumerate(found):
        good, bad = word in GOOD_WORDS, word in _BAD_WORDS
        if bad and found[number + 1 : number + 2] in (["free"], ["frei"]):
            good = True
        if good or bad:
            return good != (number > 0 and found[number - 1] in _NOT)
    return None


def is_masks(name: str) -> bool:
    """Whether a folder of this name holds masks."""
    found = words(name)
    pairs = pairwise(found)
    return bool(_MASKS & set(found)) or ("ground", "truth") in pairs


def split_of(name: str) -> Literal["train", "test"] | None:
    """The split that a folder of this name holds."""
    return _SPLITS.get(name.casefold())


def unmasked(stem: str) -> str | None:
    """The name of the image that a mask is of: `a` of `a_mask`, `a_mask_2` and `mask_a`. None where the name is no mask's."""
    image = _MASK_PREFIX.sub("", _MASK_SUFFIX.sub("", stem))
    return image if image and image != stem else None
