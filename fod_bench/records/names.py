"""Names of the objects of a store, spelled here and nowhere else, and the keys in them.

    features/<feature key>/manifest.json, <claim>/train.safetensors, <claim>/test.safetensors
    images/<image key>/manifest.json, <claim>/train.safetensors, <claim>/test.safetensors
    truth/<truth key>.safetensors
    references/<reference key>.safetensors
    trials/<train key>/record.json, failure.json, failure.log, checkpoints/<claim>-<number>.safetensors
    trials/<train key>/<claim>/<epoch kept>.safetensors, scores-<epoch kept>.safetensors, curves.json
    trials/<train key>/<claim>/normal-<epoch kept>-<score name>.json
    claims/<key>/<generation>.json, <generation>.beat
    runs/<run id>/job.yaml, plan.json, resources.json, state/<driver>.json
    index/generations/<number>.parquet, index/records/<token>.parquet, index/newest.json, index/changes/<train key>.<token>

Whatever there are many of has a key right after its kind. Keys are hashes, so their names spread evenly over a bucket's partitions.
The store's own probe and mark are named in `fod_bench.store.probe`.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any, Literal, get_args

FEATURES, IMAGES, TRUTH, REFERENCES = "features/", "images/", "truth/", "references/"
TRIALS, CLAIMS, RUNS = "trials/", "claims/", "runs/"
GENERATIONS, CHANGES, INDEXED = "index/generations/", "index/changes/", "index/records/"
"""Beginnings of names, for listings."""

Kind = Literal[
    "features",
    "images",
    "truth",
    "references",
    "records",
    "weights",
    "scores",
    "curves",
    "normal",
    "checkpoints",
    "failures",
    "claims",
    "runs",
    "states",
    "index",
    "probe",
    "mark",
]
KINDS: tuple[Kind, ...] = get_args(Kind)

_CLAIM = r"\d+-[0-9a-f]+"
_NAMES: dict[Kind, str] = {
    "features": rf"features/[^/]+/(manifest\.json|{_CLAIM}/(train|test)\.safetensors)",
    "images": rf"images/[^/]+/(manifest\.json|{_CLAIM}/(train|test)\.safetensors)",
    "truth": r"truth/[^/]+\.safetensors",
    "references": r"references/[^/]+\.safetensors",
    "records": r"trials/[^/]+/record\.json",
    "weights": rf"trials/[^/]+/{_CLAIM}/(?!scores-)[^/]+\.safetensors",
    "scores": rf"trials/[^/]+/{_CLAIM}/scores-[^/]+\.safetensors",
    "curves": rf"trials/[^/]+/{_CLAIM}/curves\.json",
    "normal": rf"trials/[^/]+/{_CLAIM}/normal-[^/]+\.json",
    "checkpoints": r"trials/[^/]+/checkpoints/[^/]+\.safetensors",
    "failures": r"trials/[^/]+/failure\.(json|log)",
    "claims": r"claims/[^/]+/\d+\.(json|beat)",
    "runs": r"runs/[^/]+/(job\.yaml|plan\.json|resources\.json)",
    "states": r"runs/[^/]+/state/[^/]+\.json",
    "index": r"index/(newest\.json|generations/\d{8}\.parquet|records/[0-9a-f]+\.parquet|changes/[^/]+\.[0-9a-f]+)",
    "probe": r"probe/.+",
    "mark": r"fod-bench\.json",
}
_ANY = re.compile("|".join(f"(?P<{kind}>{pattern})" for kind, pattern in _NAMES.items()))


_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def canonical_digest(content: Any) -> str:
    """SHA-256 (hex) of plain data as sorted, compact JSON: equal for equal data. Every key is one."""
    return hashlib.sha256(_CANONICAL.encode(content).encode()).hexdigest()


def kind_of(name: str) -> Kind | None:
    """What the object `name` is; None for what this program does not write."""
    found = _ANY.fullmatch(name)
    return next(kind for kind in KINDS if found[kind] is not None) if found else None


def key_of(name: str) -> str:
    """The key in the name of features, images, truth, references, anything of a trial, or a claim."""
    return name.split("/")[1].partition(".")[0]


def run_of(name: str) -> str:
    """Run id in the name of an object of a run."""
    return name.split("/")[1]


def is_first(name: str) -> bool:
    """Whether other objects belong to it: a record, a manifest or a plan. Where it is, they are whole."""
    within = name.startswith((TRIALS, FEATURES, IMAGES))
    return is_plan(name) or (within and name.endswith(("/record.json", "/manifest.json")))


def set_folder(key: str, root: str = FEATURES) -> str:
    """Beginning of the names of a set of features, or of `IMAGES`."""
    return f"{root}{key}/"


def manifest_name(key: str, root: str = FEATURES) -> str:
    """Store name of the manifest of a set; where it exists, the set is whole."""
    return f"{set_folder(key, root)}manifest.json"


def set_file_name(key: str, claim: str, part: str, root: str = FEATURES) -> str:
    """Store name of the arrays of one split of a set, made under a claim."""
    return f"{set_folder(key, root)}{claim}/{part}.safetensors"


def truth_name(key: str) -> str:
    """Store name of the labels and masks of a category at one size."""
    return f"{TRUTH}{key}.safetensors"


def reference_name(key: str) -> str:
    """Store name of reference features."""
    return f"{REFERENCES}{key}.safetensors"


def trial_folder(key: str) -> str:
    """Beginning of the names of all that is kept of a trial."""
    return f"{TRIALS}{key}/"


def record_name(key: str) -> str:
    """Store name of a trial's record."""
    return f"{trial_folder(key)}record.json"


def kept_folder(key: str, claim: str) -> str:
    """Beginning of the names of what a trial leaves beside its record, made under a claim."""
    return f"{trial_folder(key)}{claim}/"


def weights_name(key: str, claim: str, epoch: str) -> str:
    """Store name of a trial's weights of an epoch that is kept: `last`, `best_image`, `best_pixel`."""
    return f"{kept_folder(key, claim)}{epoch}.safetensors"


def scores_name(key: str, claim: str, epoch: str) -> str:
    """Store name of a trial's scores of the test images at an epoch that is kept, named as its weights are."""
    return f"{kept_folder(key, claim)}scores-{epoch}.safetensors"


def curves_name(key: str, claim: str) -> str:
    """Store name of what every epoch of a trial left."""
    return f"{kept_folder(key, claim)}curves.json"


def normal_name(key: str, claim: str, epoch: str, score: str) -> str:
    """Store name of how a trial's detector of an epoch scores its training images."""
    return f"{kept_folder(key, claim)}normal-{epoch}-{score}.json"


def checkpoints_prefix(key: str, claim: str = "") -> str:
    """Beginning of the names of a trial's checkpoints, of all or of those made under a claim."""
    return f"{trial_folder(key)}checkpoints/" + (f"{claim}-" if claim else "")


def checkpoint_name(key: str, claim: str, number: int) -> str:
    """Store name of a trial's checkpoint, the `number`-th of its claim."""
    return f"{checkpoints_prefix(key, claim)}{number:06d}.safetensors"


def failure_prefix(key: str) -> str:
    """Beginning of the names of what is kept of a trial's failure."""
    return f"{trial_folder(key)}failure."


def failure_name(key: str) -> str:
    """Store name of the mark that a trial failed by its own fault, and would again."""
    return f"{failure_prefix(key)}json"


def failure_log_name(key: str) -> str:
    """Store name of all that is known of a trial's last failure."""
    return f"{failure_prefix(key)}log"


def claim_folder(key: str) -> str:
    """Beginning of the names of the claims of a key."""
    return f"{CLAIMS}{key}/"


def claim_name(key: str, generation: int) -> str:
    """Store name of a claim."""
    return f"{claim_folder(key)}{generation:08d}.json"


def beat_name(key: str, generation: int) -> str:
    """Store name of the heartbeat of a claim's holder."""
    return f"{claim_folder(key)}{generation:08d}.beat"


def run_folder(run_id: str) -> str:
    """Beginning of the names of all that is kept of a run."""
    return f"{RUNS}{run_id}/"


def job_name(run_id: str) -> str:
    """Store name of a run's job, as YAML with every default spelled out."""
    return f"{run_folder(run_id)}job.yaml"


def plan_name(run_id: str) -> str:
    """Store name of a run's plan."""
    return f"{run_folder(run_id)}plan.json"


def resources_name(run_id: str) -> str:
    """Store name of what a run has chosen of `resources: auto`."""
    return f"{run_folder(run_id)}resources.json"


def is_plan(name: str) -> bool:
    """Whether the object is a run's plan."""
    return kind_of(name) == "runs" and name.endswith("/plan.json")


def state_name(run_id: str, driver: str) -> str:
    """Store name of what one driver of a run tells of itself."""
    return f"{run_folder(run_id)}state/{driver}.json"


def newest_name() -> str:
    """Store name of the number of a generation of the index, than which none that there was last is older."""
    return "index/newest.json"


def generation_name(number: int) -> str:
    """Store name of a generation of the index of records."""
    return f"{GENERATIONS}{number:08d}.parquet"


def generation_number(name: str) -> int:
    """Number in the name of a generation; 0 for a strange name."""
    digits = name.removeprefix(GENERATIONS).removesuffix(".parquet")
    return int(digits) if digits.isdecimal() else 0


def indexed_name(token: str) -> str:
    """Store name of the records that one generation of the index tells of."""
    return f"{INDEXED}{token}.parquet"


def change_name(key: str, token: str) -> str:
    """Store name of the note that a trial's record, or what is kept of its failure, is about to change."""
    return f"{CHANGES}{key}.{token}"


def changed_key(name: str) -> str:
    """Train key in the name of such a note."""
    return name.removeprefix(CHANGES).rpartition(".")[0]
