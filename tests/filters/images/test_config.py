"""The config of the image stage; its decision is tested in tests/sql."""

from __future__ import annotations

import pytest

from filters.images.config import ImageFilterConfig


def test_impossible_values_are_named() -> None:
    with pytest.raises(ValueError, match="min_side must be at least 1, not 0"):
        ImageFilterConfig(min_side=0)
    for value in (0.5, float("nan")):
        with pytest.raises(ValueError, match="max_aspect must be at least 1"):
            ImageFilterConfig(max_aspect=value)
