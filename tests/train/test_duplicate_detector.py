"""The recipe of the paper's near-duplicate detector."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from pydantic import TypeAdapter

from filters.decontaminate import unit
from filters.onnx import ImageModel, load
from tests.train import tiny
from train.duplicate_detector import Recipe, main, network, save, tensor, train, variant

SMALL = Recipe(steps=2, batch_size=4, size=32, layers=(1, 1, 1, 1), device="cpu")


def images() -> list[Image.Image]:
    rng = np.random.default_rng(0)
    return [
        Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)).resize((48, 40), Image.Resampling.BICUBIC)
        for _ in range(8)
    ]


def test_every_weight_is_trained_and_the_same_seed_gives_the_same_network(tiny_dataset: str) -> None:
    torch.manual_seed(SMALL.seed)
    before = network(SMALL.layers).state_dict()
    after, right = train(tiny_dataset, SMALL)
    again, _ = train(tiny_dataset, SMALL)
    assert len(right) == SMALL.steps and all(0 <= share <= 1 for share in right)
    for name, value in after.state_dict().items():
        assert torch.isfinite(value).all()
        assert torch.equal(value, again.state_dict()[name])
        assert not torch.equal(value, before[name]) or not before[name].is_floating_point() or "filt" in name, name


@pytest.mark.parametrize("ending", ["onnx", "pt"])
def test_a_set_against_itself_is_all_duplicates(tmp_path: Path, ending: str) -> None:
    model = network((1, 1, 1, 1)).eval()
    settings = save(model, str(tmp_path / f"detector.{ending}"), 32)
    pictures = [np.asarray(image) for image in images()]
    vectors = unit(load(TypeAdapter(ImageModel).validate_python(settings), "model")(pictures))
    assert vectors.shape == (8, 512)
    assert (np.diag(vectors @ vectors.T) >= 0.604).all()
    assert ((vectors @ vectors.T).argmax(axis=1) == np.arange(8)).all()
    with torch.inference_mode():  # the file answers what the network does
        resized = [image.resize((32, 32), Image.Resampling.BICUBIC) for image in images()]
        assert np.allclose(unit(model(tensor(resized)).numpy()), vectors, atol=1e-4)


def test_a_variant_is_another_picture_of_the_size_asked_and_the_same_for_the_same_seed() -> None:
    (image, *_) = images()
    made = [np.asarray(variant(image, 32, np.random.default_rng(seed))) for seed in (1, 1, 2)]
    assert made[0].shape == (32, 32, 3)
    assert (made[0] == made[1]).all() and (made[0] != made[2]).any()


def test_the_command_prints_the_config_that_reads_its_file(
    tiny_dataset: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = str(tmp_path / "detector.pt")
    assert main([tiny_dataset, file, "--steps", "1", "--batch-size", "2", "--size", "32", "--device", "cpu"]) == 0
    printed = capsys.readouterr().out
    settings = yaml.safe_load(printed[printed.index("decontaminate:") :])["decontaminate"]["model"]
    assert load(TypeAdapter(ImageModel).validate_python(settings), "model").outputs == 512
    assert main([tiny_dataset, file, "--batch-size", str(len(tiny.CAPTIONS) + 1)]) == 2
    assert main([tiny_dataset, file, "--steps", "0"]) == 2
    assert "steps must be at least 1" in capsys.readouterr().err
