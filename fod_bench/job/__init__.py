"""The job file: read, validated before anything runs, and expanded into the cells it asks for."""

from fod_bench.job.backbones import BACKBONES, backbone_strides
from fod_bench.job.expand import (
    CellSpec,
    Expansion,
    cell_score,
    expand,
    training_setting,
)
from fod_bench.job.load import dump_job, job_digest, load_job, run_id
from fod_bench.job.parts import DatasetSpec, Limit, Resources
from fod_bench.job.references import REFERENCES, ReferenceSpec
from fod_bench.job.schema import DEFAULT_VARIANT, Job
from fod_bench.job.settings import METHODS, SettingFields, Settings

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
