"""Reference features: what the inter-image branch knows of normal pictures (Appendix B.3). Imports no torch."""

from __future__ import annotations

from fod_bench.methods.settings import Reference
from fod_bench.records.names import canonical_digest

VERSION = 1
"""Raised when a change of the code changes what is made, so that old references are not taken for new ones."""


def reference_key(feature_key: str, spec: Reference) -> str:
    """Key of the reference features that `spec` makes of a feature set."""
    return canonical_digest({"features": feature_key, "reference": spec.model_dump(), "version": VERSION})[:32]


def reference_name(key: str) -> str:
    """Store name of reference features."""
    return f"references/{key}.safetensors"
