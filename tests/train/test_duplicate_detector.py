"""The recipe of the paper's near-duplicate detector."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from dataset.config_check import checked_config
from filters.duplicates.decontaminate import DecontaminateConfig
from filters.images.embeddings import unit
from filters.images.models import ImageModel, load
from tests.train import tiny
from train.duplicate_detector import NETWORKS, Recipe, as_input, least_cosine, main, network, save, train, variant

SMALL = Recipe(steps=2, batch_size=4, network="resnet10", width=8, size=32, workers=0, device="cpu")


def images() -> list[Image.Image]:
    rng = np.random.default_rng(0)
    return [
        Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)).resize((48, 40), Image.Resampling.BICUBIC)
        for _ in range(8)
    ]


def test_every_weight_is_trained_and_the_same_seed_gives_the_same_network(tiny_dataset: str) -> None:
    torch.manual_seed(SMALL.seed)
    before = network(SMALL.network, SMALL.width).state_dict()
    after, right = train(tiny_dataset, SMALL)
    again, _ = train(tiny_dataset, replace(SMALL, workers=1))
    assert len(right) == SMALL.steps and all(0 <= share <= 1 for share in right)
    for name, value in after.state_dict().items():
        assert torch.isfinite(value).all()
        assert torch.equal(value, again.state_dict()[name])
        assert not torch.equal(value, before[name]) or not before[name].is_floating_point() or "filt" in name, name


def test_a_few_steps_teach_to_tell_images_apart(tiny_dataset: str) -> None:
    _, right = train(tiny_dataset, replace(SMALL, steps=40, batch_size=16, learning_rate=3e-3))
    assert np.mean(right[-10:]) > 0.5 > np.mean(right[:3])  # chance is one in 16


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_begins_as_its_shortcuts_and_is_as_wide_as_asked(name: str) -> None:
    model = network(name, 8).eval()
    with torch.inference_mode():
        assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 512)
    block, layers = NETWORKS[name]
    assert sum(isinstance(module, block) for module in model.modules()) == sum(layers)
    assert model.get_submodule("conv1.6").get_parameter("parametrizations.weight.original1").shape[0] == 8
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in model.modules())


def test_the_least_cosine_is_the_first_of_the_precision_asked() -> None:
    rng = np.random.default_rng(0)
    copies, strangers = np.clip(rng.normal(0.8, 0.1, 1000), -1, 1), rng.normal(0.5, 0.1, 1000)

    def precision(limit: float) -> float:
        right = (copies >= limit).sum()
        return float(right / (right + (strangers >= limit).sum()))

    for wanted in (0.6, 0.9, 0.99):
        least = least_cosine(copies, strangers, wanted)
        assert precision(least) >= wanted > precision(least - 0.0001)
    assert least_cosine(strangers, np.ones(1000)) == 1.0  # strangers that no threshold tells apart


@pytest.mark.parametrize("ending", ["onnx", "pt"])
def test_a_set_against_itself_is_all_duplicates(tmp_path: Path, ending: str) -> None:
    model = network("resnet10", 8).eval()
    settings = save(model, str(tmp_path / f"detector.{ending}"), 32)
    pictures = [np.asarray(image) for image in images()]
    vectors = unit(load(checked_config(ImageModel, settings), "model")(pictures))
    assert vectors.shape == (8, 512)
    assert (np.diag(vectors @ vectors.T) >= 0.604).all()
    assert ((vectors @ vectors.T).argmax(axis=1) == np.arange(8)).all()
    with torch.inference_mode():  # the file answers what the network does
        resized = [np.asarray(image.resize((32, 32), Image.Resampling.BICUBIC)) for image in images()]
        assert np.allclose(unit(model(as_input(torch.from_numpy(np.stack(resized)))).numpy()), vectors, atol=1e-4)


def test_a_variant_is_another_picture_of_the_size_asked_and_the_same_for_the_same_seed() -> None:
    (image, *_) = images()
    made = [np.asarray(variant(image, 32, np.random.default_rng(seed))) for seed in (1, 1, 2)]
    assert made[0].shape == (32, 32, 3)
    assert (made[0] == made[1]).all() and (made[0] != made[2]).any()


def test_half_of_the_variants_get_a_frame_if_the_recipe_says_so() -> None:
    green = Image.new("RGB", (64, 64), (0, 200, 0))

    def framed(seed: int, border: float) -> bool:
        """Whether the middle of the left side is of another colour."""
        red, shown, blue = np.asarray(variant(green, 64, np.random.default_rng(seed), border))[32, 2].astype(int)
        return bool(shown < 60 or max(red, blue) > 90)

    assert not any(framed(seed, 0.0) for seed in range(20))
    assert 4 <= sum(framed(seed, 0.4) for seed in range(20)) <= 14
    with pytest.raises(ValueError, match="border must be at least 0 and below 1"):
        Recipe(border=1.0)


def test_the_command_prints_the_config_that_reads_its_file(
    tiny_dataset: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = str(tmp_path / "detector.pt")
    small = ["--network", "resnet10", "--width", "8", "--size", "32", "--workers", "0", "--device", "cpu"]
    assert main([tiny_dataset, file, "--steps", "1", "--batch-size", "2", *small]) == 0
    printed = capsys.readouterr().out
    written = (tmp_path / "detector.yaml").read_text()
    assert printed.endswith(written)
    config = checked_config(DecontaminateConfig, yaml.safe_load(written)["decontaminate"])
    assert config.model is not None and load(config.model, "model").outputs == 512
    assert 0 <= config.min_cosine <= 1 and "of the variants of held-out images are caught" in printed
    assert main([tiny_dataset, file, "--batch-size", str(len(tiny.CAPTIONS) + 1)]) == 2
    assert main([tiny_dataset, file, "--steps", "0"]) == 2
    assert "steps must be at least 1" in capsys.readouterr().err
    assert main([tiny_dataset, file, "--workers", "-1"]) == 2
    assert main([tiny_dataset, file, "--width", "7"]) == 2
    with pytest.raises(ValueError, match="network must be one of resnet50, resnet18, resnet10, not vgg"):
        Recipe(network="vgg")
