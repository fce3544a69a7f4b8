"""Fetching the published data sets: where they come from, the download, unpacking."""

from fod_bench.datasets.fetch.fetch import Fetched, Reporter, fetch
from fod_bench.datasets.fetch.sources import SOURCES, Source

__all__ = ["SOURCES", "Fetched", "Reporter", "Source", "fetch"]
