"""Names of the objects of a store, and the keys in them."""

from __future__ import annotations

import hashlib
import json
from typing import Any


def canonical_digest(content: Any) -> str:
    """SHA-256 (hex) of plain data as sorted, compact JSON: equal for equal data. Every key is one."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def record_name(key: str) -> str:
    """Store name of a trial's record."""
    return f"trials/{key}/record.json"


def reference_name(key: str) -> str:
    """Store name of reference features."""
    return f"references/{key}.safetensors"


def plan_name(run_id: str) -> str:
    """Store name of a run's plan."""
    return f"runs/{run_id}/plan.json"
