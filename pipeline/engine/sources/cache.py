"""Small tables that a run keeps in `log/` for the next one, to be quick; a damaged one is as if it were not there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from dataset.ids import checksum
from dataset.store.storage import Storage


def read(storage: Storage, name: str) -> dict[str, Any]:
    """Return what `write` wrote; nothing, if there is none or its bytes are others by now."""
    try:
        kept = json.loads(storage.read(name))
        values: dict[str, Any] = kept["values"]
        return values if kept["checksum"] == checksum_of(values) else {}
    except (FileNotFoundError, ValueError, TypeError, KeyError, RecursionError):
        return {}


def write(storage: Storage, name: str, values: Mapping[str, Any]) -> None:
    """Keep a table, with its checksum."""
    kept = {"checksum": checksum_of(values), "values": dict(values)}
    storage.write(name, json.dumps(kept, sort_keys=True, indent=1).encode())


def checksum_of(values: Mapping[str, Any]) -> str:
    """Return what tells one content from another."""
    return checksum(json.dumps(values, sort_keys=True).encode())
