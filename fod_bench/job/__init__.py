"""The job file: read, validated before anything runs, and expanded into the cells it asks for."""

from fod_bench.features.offered import BACKBONES, backbone_strides
from fod_bench.job.datasets import DatasetSpec, Limit
from fod_bench.job.expand import CellSpec, Expansion, expand
from fod_bench.job.load import (
    content_digest,
    dump_job,
    job_digest,
    load_job,
    parse_job,
    parse_job_data,
    plain_job,
    run_id,
)
from fod_bench.job.resources import Resources
from fod_bench.job.schema import DEFAULT_VARIANT, Job

__all__ = [
    "BACKBONES",
    "DEFAULT_VARIANT",
    "CellSpec",
    "DatasetSpec",
    "Expansion",
    "Job",
    "Limit",
    "Resources",
    "backbone_strides",
    "content_digest",
    "dump_job",
    "expand",
    "job_digest",
    "load_job",
    "parse_job",
    "parse_job_data",
    "plain_job",
    "run_id",
]
