"""The job file: read, validated before anything runs, and expanded into the cells it asks for."""

from fod_bench.features.offered import BACKBONES, backbone_strides
from fod_bench.job.datasets import DatasetSpec, Limit
from fod_bench.job.expand import CellSpec, Expansion, cell_score, expand, training_setting
from fod_bench.job.load import dump_job, job_digest, load_job, run_id
from fod_bench.job.resources import Resources
from fod_bench.job.schema import DEFAULT_VARIANT, Job
from fod_bench.job.settings import METHODS, SettingFields, Settings
from fod_bench.methods.fod.references.specs import REFERENCES, ReferenceSpec

__all__ = [
    "BACKBONES",
    "DEFAULT_VARIANT",
    "METHODS",
    "REFERENCES",
    "CellSpec",
    "DatasetSpec",
    "Expansion",
    "Job",
    "Limit",
    "ReferenceSpec",
    "Resources",
    "SettingFields",
    "Settings",
    "backbone_strides",
    "cell_score",
    "dump_job",
    "expand",
    "job_digest",
    "load_job",
    "run_id",
    "training_setting",
]
