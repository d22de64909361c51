"""Faces in images: found by a detector of the user's own, and blurred as ImageNet's were."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import cv2
import numpy as np

from dataset.images import open_stored
from dataset.store.storage import open_input
from filters.images.models import ImageModel, ModelError
from filters.images.models import load as load_model
from filters.lines import locate

LEAST_SCORE = 0.3
"""Boxes below are not even kept as a measure; YuNet scores most things that are no faces lower."""
_OVERLAP = 0.3  # of two boxes of one face, above which the lower score goes; FaceDetectorYN's own default
_MOST_FACES = 5000  # FaceDetectorYN's own default
_FLAT = 4 + 1  # numbers of a box: its corners and its score

Box = tuple[float, float, float, float]
"""x_min, y_min, x_max, y_max as shares of the width and height, as DataComp's `face_bboxes`."""


@dataclass(frozen=True)
class FacesConfig:
    """What is done about faces. Nothing is done until a detector is named, for no package brings one."""

    yunet: str = ""
    """The file of OpenCV's YuNet detector (face_detection_yunet_2023mar.onnx of opencv_zoo): a path or URL."""
    model: ImageModel | None = None
    """Any other detector: it answers a fixed number of boxes an image, each x_min, y_min, x_max, y_max and score, as
    shares of its square input, which is made by `stretch` or `pad`; boxes with a score of 0 fill up."""
    action: Literal["blur", "drop", "mark"] = "blur"
    """`blur` them in the shards, `drop` the image, or only `mark` them: a sample's json has its boxes in any case."""
    min_score: float = 0.6
    """The least score, from 0.3 to 1, of what counts as a face. One blurred too many costs little; OpenCV's own samples
    ask for 0.9."""

    def __post_init__(self) -> None:
        if self.yunet and self.model is not None:
            raise ValueError("yunet and model are two detectors; name one")
        if self.model is not None and (self.model.resize == "crop" or self.model.resize_to):
            raise ValueError("model.resize must be stretch or pad, without resize_to: a crop would hide faces")
        if not LEAST_SCORE <= self.min_score <= 1:
            raise ValueError(f"min_score must be from {LEAST_SCORE} to 1, not {self.min_score}")

    @property
    def path(self) -> str:
        """The detector's file; empty if there is none."""
        return self.yunet or (self.model.path if self.model else "")


Detector = Callable[[Sequence[bytes]], list[list[tuple[Box, float]]]]
"""Encoded images → the boxes and scores of each, by falling score."""


@lru_cache(maxsize=2)
def load(yunet: str, model: ImageModel | None, checksum: str) -> Detector:
    """Return the detector, loaded once in a process; again if its content has changed.

    Raises:
        ModelError: there is no such file, or it is no detector.
    """
    return _yunet(yunet) if model is None else _load_other_detector(model)


def _yunet(path: str) -> Detector:
    try:
        with open_input(locate(path)) as file:
            content = np.frombuffer(file.read(), np.uint8)
        detector: Any = cv2.FaceDetectorYN.create(
            "onnx", content, np.empty(0, np.uint8), (64, 64), LEAST_SCORE, _OVERLAP, _MOST_FACES
        )
        detector.detect(np.zeros((64, 64, 3), np.uint8))
    except FileNotFoundError:
        raise ModelError(f"faces.yunet names {path}, which does not exist") from None
    except cv2.error as error:
        raise ModelError(f"faces.yunet: {path} is not OpenCV's YuNet: {' '.join(str(error).split())[:200]}") from None

    def detect(bodies: Sequence[bytes]) -> list[list[tuple[Box, float]]]:
        answers = []
        for body in bodies:
            rgb = np.asarray(open_stored(body).convert("RGB"))
            height, width, _ = rgb.shape
            detector.setInputSize((width, height))
            _, faces = detector.detect(np.ascontiguousarray(rgb[:, :, ::-1]))
            rows = np.empty((0, 15)) if faces is None else faces
            corners = np.concatenate([rows[:, :2], rows[:, :2] + rows[:, 2:4]], axis=1) / [width, height, width, height]
            answers.append(_boxes(corners, rows[:, -1]))
        return answers

    return detect


def _load_other_detector(model: ImageModel) -> Detector:
    predict = load_model(model, "faces.model")
    if predict.outputs % _FLAT:
        raise ModelError(
            f"faces.model: {model.path} answers {predict.outputs} numbers an image, which is no number of boxes: "
            "each is x_min, y_min, x_max, y_max and score"
        )

    def detect(bodies: Sequence[bytes]) -> list[list[tuple[Box, float]]]:
        answers = []
        for body, row in zip(bodies, predict(bodies), strict=True):
            boxes = row.reshape(-1, _FLAT).astype(np.float64)
            corners = boxes[:, :4]
            if model.resize == "pad":
                width, height = open_stored(body).size
                share = np.array([width, height] * 2) / max(width, height)
                corners = (corners - (1 - share) / 2) / share
            answers.append(_boxes(corners, boxes[:, 4]))
        return answers

    return detect


def _boxes(corners: np.ndarray, scores: np.ndarray) -> list[tuple[Box, float]]:
    """Boxes within the image, of any extent, by falling score."""
    corners = np.clip(corners, 0, 1)
    good = (scores >= LEAST_SCORE) & (corners[:, 2] > corners[:, 0]) & (corners[:, 3] > corners[:, 1])
    order = [position for position in np.argsort(-scores, kind="stable") if good[position]]
    return [(tuple(corners[position].tolist()), float(scores[position])) for position in order]


def blur(rgb: np.ndarray, boxes: Sequence[Box]) -> np.ndarray:
    """Return an image with its faces blurred, as those of ImageNet were (Yang et al. 2022, arXiv:2103.06191).

    Each box grows by a tenth of its longer side; the blur's σ is a tenth of the longest; its edge is blurred as well.

    Args:
        rgb: uint8 (height, width, 3).
    """
    height, width, _ = rgb.shape
    mask = np.zeros((height, width, 1), np.float32)
    longest = 0.0
    for x_min, y_min, x_max, y_max in boxes:
        left, top, right, bottom = x_min * width, y_min * height, x_max * width, y_max * height
        side = max(right - left, bottom - top)
        longest = max(longest, side)
        rows = slice(max(0, int(top - 0.1 * side)), int(np.ceil(bottom + 0.1 * side)))
        columns = slice(max(0, int(left - 0.1 * side)), int(np.ceil(right + 0.1 * side)))
        mask[rows, columns] = 1
    if not mask.any():
        return rgb
    sigma = max(0.1 * longest, 1.0)
    kernel = (2 * int(np.ceil(4 * sigma)) + 1,) * 2
    soft = cv2.GaussianBlur(mask, kernel, sigma).reshape(height, width, 1)
    share = np.maximum(soft, mask)  # inside the grown box nothing of the face shines through
    blurred = cv2.GaussianBlur(rgb, kernel, sigma)
    return np.asarray(np.rint(rgb * (1 - share) + blurred * share).astype(np.uint8))
