"""What "the same backbone" means for each method of the paper's tables that can be run here.

The paper (Sec. 4.2) ran five methods again "with the same backbone as in our model", from "unmodified code from the official
repositories". No official code takes that backbone, so what is printed has to be read, and what is measured here has to be said.
"""

from __future__ import annotations

SAME_BACKBONE = {
    "DRAEM": "no backbone but its own two networks, as in the authors' code; the parameters that Table 5 prints are theirs, so the "
    "paper's column has no backbone either",
    "PatchSVDD": "no backbone but its own encoder, as in the authors' code, of 0.45 M parameters with its classifiers; which "
    "network the 15.3 M of Table 5 are is not known",
    "MKD": "the backbone is the frozen source, down to stride 32, and a small plain network imitates it; the published method has "
    "VGG-16 at 128×128 pixels. What the 24.9 M of Table 5 are is not known, and MKD's own publication has 0.877 and 0.907 on MVTec "
    "AD, not 0.966 and 0.970",
    "PatchCore": "features of the frozen backbone at FOD's levels",
    "CFLOW": "features of the frozen backbone at FOD's levels, where the official code takes a third, of stride 32; the 24.7 M of "
    "Table 5 fit no choice of levels",
    "PaDiM": "features of the frozen backbone at FOD's levels; the published number is that of another backbone",
    "FOD": "features of the frozen backbone",
}
"""By the row's name: what stands for the backbone here, and what can be told of the paper's. A row that is not among them has no
method here."""

_RERUN = (
    'The paper ran the others again "with the same backbone as in our model" and "unmodified code from the official repositories", '
    "which do not take it."
)
_QUOTED = "The others' published numbers are quoted, each with its own backbone."


def measurable(rows: tuple[str, ...]) -> tuple[str, ...]:
    """Those of a table's rows of which there is a method here."""
    return tuple(row for row in rows if row in SAME_BACKBONE)


def backbone_notes(number: int, rows: tuple[str, ...], ran: dict[str, str]) -> list[str]:
    """Notes under Table `number`, one for each of the `rows` that can be measured; `ran`: what ours were run with, by row."""
    notes = [f"{_QUOTED if number == 1 else _RERUN} What ours are is told row by row."]
    for row in measurable(rows):
        with_what = f" Ours: {ran[row]}." if row in ran else ""
        notes.append(f"{row}: {SAME_BACKBONE[row]}.{with_what}")
    return notes
