"""Values of a result as people read them in a table."""

from __future__ import annotations

from typing import Any

from dataset.display import clean


def cell(value: Any) -> str:
    """A number with its thousands parted, bytes in hex, nothing for null; a stranger's text as `clean`."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.4g}"
    if isinstance(value, bytes):
        return value.hex()
    return clean(str(value))
