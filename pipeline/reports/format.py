"""Values of a result as people read them in a table."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from dataset.display import clean

_MOST_CHARACTERS = 1000  # of evidence that is none


def cell(value: Any) -> str:
    """Return a number with its thousands parted, bytes in hex, nothing for null; a stranger's text as `clean`."""
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


def evidence(text: str | None) -> dict[str, Any]:
    """Return a verdict's evidence by name; what is no JSON object, in a dataset of somebody else's, is shown as
    it is.
    """
    value = parse_json(text or "{}")
    return value if isinstance(value, dict) else {"evidence": str(text)[:_MOST_CHARACTERS]}


def parse_json(text: bytes | str) -> Any:
    """Return the value of a JSON text, which may be anybody's; None if it is none."""
    try:
        value = json.loads(text)
        repr(value)  # what is nested too deeply for that is shown by nobody
    except (ValueError, RecursionError):
        return None
    return value


def json_lines(data: bytes) -> Iterator[dict[str, Any]]:
    """Yield the objects of JSON lines; what is none is passed over: a log ends where its writer was killed."""
    for line in data.splitlines():
        if isinstance(value := parse_json(line), dict):
            yield value
