"""The line of JSON in which a bench says what it found."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any


def print_record(figures: Mapping[str, Any]) -> None:
    """Print figures as a line of strict JSON (RFC 8259), which has no word for NaN and infinity: they become null."""
    print(json.dumps(_strict(figures), allow_nan=False), flush=True)


def _strict(value: Any) -> Any:
    if isinstance(value, float):  # numpy's float64 too
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: _strict(item) for name, item in value.items()}
    return [_strict(item) for item in value] if isinstance(value, (list, tuple)) else value
