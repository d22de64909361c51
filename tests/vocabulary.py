"""The tokenizer of open_clip, whose 49,000 merges a process reads once: each of hundreds of models would take 0.3 s."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import pytest
from open_clip.tokenizer import SimpleTokenizer

_read = SimpleTokenizer.__init__


@cache
def _attributes(**options: Any) -> dict[str, Any]:
    made = object.__new__(SimpleTokenizer)
    _read(made, **options)
    return vars(made)


def _copy(self: SimpleTokenizer, *arguments: Any, **options: Any) -> None:
    if arguments or options.get("additional_special_tokens"):  # a list, which is no key
        _read(self, *arguments, **options)
    else:
        vars(self).update(_attributes(**options))


@contextmanager
def read_once() -> Iterator[None]:
    """Make, while the block runs, a tokenizer like an earlier one of what that has read."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SimpleTokenizer, "__init__", _copy)
        yield
