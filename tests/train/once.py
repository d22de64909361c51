"""What every training does at its start and takes half of a tiny one's time, done once for all of a process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import pytest
from open_clip.tokenizer import SimpleTokenizer

from train import loop
from train.models.clip import Clip

_read = SimpleTokenizer.__init__
_count = loop.flops_per_sample


@cache
def _vocabulary(**options: Any) -> dict[str, Any]:
    """A tokenizer's attributes: to read its 49,000 merges takes a third of a second."""
    made = object.__new__(SimpleTokenizer)
    _read(made, **options)
    return vars(made)


def _tokenizer(self: SimpleTokenizer, *arguments: Any, **options: Any) -> None:
    if arguments or options.get("additional_special_tokens"):  # a list, which is no key
        _read(self, *arguments, **options)
    else:
        vars(self).update(_vocabulary(**options))


_counted: dict[tuple[Any, ...], float] = {}


def _flops(clip: Clip) -> float:
    learns = tuple(parameter.requires_grad for parameter in clip.model.parameters())
    key = (str(clip.model), clip.image_size, clip.config["text_cfg"].get("context_length"), learns)
    if key not in _counted:
        _counted[key] = _count(clip)
    return _counted[key]


@contextmanager
def done_once() -> Iterator[None]:
    """Within it no tokenizer's vocabulary is read twice, and no model's operations are counted twice."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SimpleTokenizer, "__init__", _tokenizer)
        patch.setattr(loop, "flops_per_sample", _flops)
        yield
