"""Patterns of files' names in a config: which folder they are looked for in, and how the names below it look.

A name is a pattern only where nothing has that very name, so that in a folder called `c[1]` its own files are found,
and not those of its neighbour `c1`.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable

MAGIC = re.compile(r"[*?\[]")


def split_pattern(path: str, is_folder: Callable[[str], bool]) -> tuple[str, str]:
    """Return the folder that a pattern's files lie below, and the pattern of their names below it.

    Args:
        path: parted by slashes.
        is_folder: whether there is a folder of a name; asked of names that could be patterns.
    """
    parts = path.split("/")
    for place, part in enumerate(parts[:-1]):
        if MAGIC.search(part) and not is_folder("/".join(parts[: place + 1])):
            return "/".join(parts[:place]), "/".join(parts[place:])
    return "/".join(parts[:-1]), parts[-1]


def matches(path: str, folder: str, pattern: str) -> bool:
    """Return whether a file below a folder has a name as the pattern says; both as `split_pattern` has them."""
    return fnmatch.fnmatchcase(path[len(folder) + 1 :] if folder else path.lstrip("/"), pattern)
