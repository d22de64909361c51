"""Which of a sample's captions an epoch shows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from dataset.ids import hash64
from dataset.webdataset.shards import DamagedSampleError


def choose(parts: Mapping[str, bytes], captions: Mapping[str, float], seed: int, epoch: int, row: int) -> str:
    """Return one of a sample's captions, by a hash of (seed, epoch, row).

    Args:
        parts: the sample's parts.
        captions: where captions are, with their weights: a part's name (`txt`), or `json.` and the path of a field
            (`json.caption`). A field may be a list of captions, which share its weight. Captions that the sample lacks,
            or that are empty, leave their weight to the others.
    Raises:
        DamagedSampleError: the sample has none of them.
    """
    captions_there = [
        (text, weight / len(texts))
        for name, weight in captions.items()
        if (texts := _texts(parts, name))
        for text in texts
    ]
    if not captions_there:
        raise DamagedSampleError(f"it has no {' or '.join(captions)}")
    if len(captions_there) == 1:
        return captions_there[0][0]
    point = hash64("caption", seed, epoch, row) / 2**64 * sum(weight for _, weight in captions_there)
    for text, weight in captions_there:
        point -= weight
        if point < 0:
            return text
    return captions_there[-1][0]


def _texts(parts: Mapping[str, bytes], name: str) -> list[str]:
    """The captions at one place, those that are not blank."""
    if name in parts:
        values: list[Any] = [parts[name].decode(errors="replace")]
    elif name.startswith("json.") and "json" in parts:
        try:
            value = json.loads(parts["json"])
            for field in name.split(".")[1:]:
                value = value[field]
        except (ValueError, TypeError, KeyError, IndexError, RecursionError):
            return []
        values = value if isinstance(value, list) else [value]
    else:
        return []
    return [text for text in values if isinstance(text, str) and text.strip()]
