"""How large an image is stored: img2dataset's resize modes, by its names (img2dataset/resizer.py, version 1.47)."""

from __future__ import annotations

from typing import Literal

import numpy as np

ResizeMode = Literal["no", "keep_ratio", "keep_ratio_largest", "center_crop", "border"]
MODES: tuple[ResizeMode, ...] = ("no", "keep_ratio", "keep_ratio_largest", "center_crop", "border")

_SHORTER = ("keep_ratio", "center_crop")  # modes that speak of the shorter side; the others of the longer one
_WHITE = 255


def is_resized(width: int, height: int, mode: ResizeMode, side: int, *, only_if_bigger: bool) -> bool:
    """Return whether an image of a size is changed at all."""
    if mode == "no" or side == 0:
        return False
    return not only_if_bigger or (min if mode in _SHORTER else max)(width, height) > side


def scaled_size(width: int, height: int, mode: ResizeMode, side: int) -> tuple[int, int]:
    """Return the size of the whole image, aspect kept, with its shorter or longer side at `side` pixels."""
    share = side / (min if mode in _SHORTER else max)(width, height)
    return max(1, round(width * share)), max(1, round(height * share))


def make_square(pixels: np.ndarray, mode: ResizeMode, side: int) -> np.ndarray:
    """Return a scaled image made square where the mode says so: its centre, or it on white. uint8 (height,
    width, 3).
    """
    height, width = pixels.shape[:2]
    if mode == "center_crop":
        top, left = (height - side) // 2, (width - side) // 2
        return pixels[top : top + side, left : left + side]
    if mode == "border":
        top, left = (side - height) // 2, (side - width) // 2
        square = np.full((side, side, 3), _WHITE, np.uint8)
        square[top : top + height, left : left + width] = pixels
        return square
    return pixels
