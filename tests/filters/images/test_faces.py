from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper
from PIL import Image

from filters.images.faces import FacesConfig, blur, load
from filters.images.models import ImageModel, ModelError
from tests.filters import models


def encoded(rgb: np.ndarray) -> bytes:
    sink = io.BytesIO()
    Image.fromarray(rgb).save(sink, "PNG")
    return sink.getvalue()


def with_face(height: int, width: int, top: int, left: int, side: int = 8) -> np.ndarray:
    """Grey, with one red square, which the tests' detector takes for a face."""
    rgb = np.full((height, width, 3), 100, np.uint8)
    rgb[top : top + side, left : left + side] = (255, 0, 0)
    return rgb


def test_yunet_answers_boxes_as_shares_of_the_image(tmp_path: Path) -> None:
    detect = load(models.red_yunet(tmp_path / "yunet.onnx"), None, "")
    pictures = [with_face(64, 128, 16, 64), with_face(96, 64, 0, 0), np.full((40, 50, 3), 100, np.uint8)]
    first, second, none = detect([encoded(rgb) for rgb in pictures])
    for found, middle in ((first, (64 / 128, 16 / 64)), (second, (0, 0))):
        ((box, score),) = found
        assert score == pytest.approx(1, abs=0.01)
        # YuNet's box of no offset has its middle at the corner of its square, and is cut at the image's edge
        assert ((box[0] + box[2]) / 2 - middle[0]) == pytest.approx(0, abs=0.07)
        assert ((box[1] + box[3]) / 2 - middle[1]) == pytest.approx(0, abs=0.07)
        assert 0 <= box[0] < box[2] <= 1 and 0 <= box[1] < box[3] <= 1
    assert none == []


def boxes_model(path: Path, boxes: list[list[float]]) -> str:
    """A detector that sees the same boxes in every image."""
    values = np.array(boxes, np.float32)
    nodes = [
        helper.make_node("ReduceMean", ["pixels"], ["mean"], axes=[1, 2, 3], keepdims=1),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
        helper.make_node("Reshape", ["nothing", "column"], ["base"]),
        helper.make_node("Add", ["base", "boxes"], ["out"]),
    ]
    constants = [
        helper.make_tensor("zero", TensorProto.FLOAT, [1], [0.0]),
        helper.make_tensor("column", TensorProto.INT64, [3], [-1, 1, 1]),
        helper.make_tensor("boxes", TensorProto.FLOAT, (1, *values.shape), values.ravel().tolist()),
    ]
    return models.save(path, nodes, ["n", 3, 32, 32], {"out": ["n", *values.shape]}, constants)


@pytest.mark.parametrize(("resize", "expected"), [("stretch", (0.25, 0.5, 0.5, 0.75)), ("pad", (0.25, 0.5, 0.5, 1.0))])
def test_any_other_detector_answers_boxes_of_its_square(
    tmp_path: Path, resize: Any, expected: tuple[float, ...]
) -> None:
    path = boxes_model(tmp_path / "a.onnx", [[0, 0, 0.1, 0.1, 0.1], [0.25, 0.5, 0.5, 0.75, 0.9], [0, 0, 0, 0, 0]])
    detect = load("", ImageModel(path, 32, resize), "")
    ((box, score),) = detect([encoded(np.zeros((20, 40, 3), np.uint8))])[0]
    assert box == pytest.approx(expected) and score == pytest.approx(0.9)


def test_a_bad_detector_is_told(tmp_path: Path) -> None:
    (tmp_path / "text.onnx").write_text("no model")
    colour = models.mean_colour(tmp_path / "colour.onnx", side="any", batch=1)
    for path, says in (("none.onnx", "does not exist"), ("text.onnx", "not OpenCV's"), (colour, "not OpenCV's")):
        with pytest.raises(ModelError, match=f"^faces.yunet:? .*{says}"):
            load(str(tmp_path / path), None, "")
    with pytest.raises(ModelError, match="answers 3 numbers an image, which is no number of boxes"):
        load("", ImageModel(colour, 8, "stretch"), "")
    for wrong, says in (
        ({"yunet": "a", "model": ImageModel("b", resize="pad")}, "name one"),
        ({"model": ImageModel("b")}, "a crop would hide faces"),
        ({"min_score": 0.1}, "min_score"),
    ):
        with pytest.raises(ValueError, match=says):
            FacesConfig(**wrong)


shares = st.floats(0, 1)


@given(st.lists(st.tuples(shares, shares, shares, shares), max_size=3), st.integers(1, 60), st.integers(1, 60))
def test_blur_leaves_the_rest_as_it_is(
    corners: list[tuple[float, float, float, float]], height: int, width: int
) -> None:
    boxes = [(min(a, c), min(b, d), max(a, c), max(b, d)) for a, b, c, d in corners]
    rgb = np.random.default_rng(height).integers(0, 256, (height, width, 3)).astype(np.uint8)
    blurred = blur(rgb, boxes)
    assert blurred.shape == rgb.shape and blurred.dtype == np.uint8
    if not boxes:
        assert (blurred == rgb).all()
    longest = max((max((c - a) * width, (d - b) * height) for a, b, c, d in boxes), default=0)
    reach = 0.1 * longest + 4 * max(0.1 * longest, 1.0) + 2
    rows, columns = np.mgrid[:height, :width]
    far = np.ones((height, width), dtype=bool)
    for a, b, c, d in boxes:
        far &= (
            (columns < a * width - reach)
            | (columns > c * width + reach)
            | (rows < b * height - reach)
            | (rows > d * height + reach)
        )
    assert (blurred[far] == rgb[far]).all()


def test_what_was_in_a_box_cannot_be_told_from_its_mean() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (100, 100, 3)).astype(np.uint8)
    inside = blur(rgb, [(0.2, 0.2, 0.8, 0.8)])[30:70, 30:70].astype(float)
    assert inside.std() < rgb.std() / 10
