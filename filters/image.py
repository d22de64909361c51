"""Which decoded images are of use: their size and shape. Decided by sql/decisions/image.sql."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class ImageFilterConfig:
    """Bounds on an image's original size, before it was made smaller for storage."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    min_side: int = 64
    """Pixels of the shorter side; below are mostly icons and tracking pixels (DataComp's basic filter asks for 200)."""
    max_aspect: float = 3.0
    """Longer side over shorter side; beyond are mostly banners and rules (3 in DataComp, Gadre et al. 2023)."""

    def __post_init__(self) -> None:
        if self.min_side < 1:
            raise ValueError(f"min_side must be at least 1, not {self.min_side}")
        if not self.max_aspect >= 1:
            raise ValueError(f"max_aspect must be at least 1, not {self.max_aspect}")
