"""Images that a page describes in JSON-LD: schema.org's ImageObject with its caption."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from typing import Any

_TAG = re.compile(r"<[^<>]*>")
_SEPARATOR = re.compile("[/:#]")
_AMPERSAND = re.compile(r"&(?:amp|#0*38|#x0*26);", re.IGNORECASE)
_TYPES_WITH_PORTRAITS = frozenset({"person", "organization", "newsmediaorganization", "brand"})
_KEYS_OF_PORTRAITS = frozenset({"logo", "author", "publisher", "creator", "editor"})


def described_images(script: str) -> Iterator[tuple[str, str]]:
    """Yield (URL, caption) of each ImageObject in a script, in its order; the caption may be empty.

    The caption is `caption`, else `description`. Portraits and logos are left out: what stands there as a caption is
    the name of an author or a publisher. What is no JSON describes nothing.
    """
    try:
        data = json.loads(script.strip().rstrip(";"), strict=False)
    except (ValueError, RecursionError):
        return
    waiting = [data]
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting += [part for part in reversed(value) if isinstance(part, dict | list)]
        elif isinstance(value, dict):
            types = _types(value)
            if "imageobject" in types:
                if url := _text(value.get("contentUrl")) or _text(value.get("url")):
                    caption = _text(value.get("caption")) or _text(value.get("description"))
                    yield _AMPERSAND.sub("&", url), html.unescape(_TAG.sub("", caption))
            elif types.isdisjoint(_TYPES_WITH_PORTRAITS):
                parts = [(key, part) for key, part in value.items() if isinstance(part, dict | list)]
                waiting += reversed([part for key, part in parts if key.lower() not in _KEYS_OF_PORTRAITS])


def _types(value: dict[str, Any]) -> set[str]:
    types = value.get("@type")
    names = types if isinstance(types, list) else [types]
    return {
        name.lower() if name.isalpha() else _SEPARATOR.split(name)[-1].lower()
        for name in names
        if isinstance(name, str)
    }


def _text(value: Any) -> str:
    if isinstance(value, list):
        value = value[0] if value else ""
    return value.strip() if isinstance(value, str) else ""
