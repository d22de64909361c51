"""open_clip loads what we export, without us, and it is the same model."""

from __future__ import annotations

import io
from pathlib import Path

import open_clip
import pytest
import torch
from PIL import Image

from tests.train import tiny
from train.evaluate.load import load
from train.export import export

CAPTIONS = tiny.CAPTIONS[8:12]


def test_open_clip_loads_the_export_and_gives_equal_outputs(tiny_run: str, tmp_path: Path) -> None:
    config, weights = export(tiny_run, tmp_path / "model")
    assert (config.name, weights.name) == ("open_clip_config.json", "open_clip_model.safetensors")
    ours = load(tiny_run, "cpu")
    images = [Image.open(io.BytesIO(tiny.picture(caption))) for caption in CAPTIONS]

    source = f"local-dir:{tmp_path / 'model'}"
    model, _, transform = open_clip.create_model_and_transforms(source)
    tokens = open_clip.get_tokenizer(source)(CAPTIONS)
    pixels = torch.stack([transform(image) for image in images])
    assert torch.equal(tokens, ours.clip.tokenize(CAPTIONS))
    assert torch.equal(pixels, torch.stack([ours.clip.transform(image) for image in images]))
    by_name = open_clip.create_model(tiny.MODEL, pretrained=str(weights))
    for theirs in (model.eval(), by_name.eval()):
        with torch.inference_mode():
            assert torch.equal(theirs.encode_image(pixels, normalize=True), torch.from_numpy(ours.images(images)))
            assert torch.equal(theirs.encode_text(tokens, normalize=True), torch.from_numpy(ours.texts(CAPTIONS)))
            assert torch.equal(theirs.logit_scale, ours.model.logit_scale)

    again = load(str(tmp_path / "model"), "cpu")
    assert (again.images(images) == ours.images(images)).all()
    assert (again.texts(CAPTIONS) == ours.texts(CAPTIONS)).all()


def test_the_same_run_gives_the_same_bytes(tiny_run: str, tmp_path: Path) -> None:
    first, second = (export(tiny_run, tmp_path / name) for name in "ab")
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_what_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        export(str(tmp_path), tmp_path / "model")
    (tmp_path / "a.pt").write_bytes(b"not a checkpoint")
    with pytest.raises(ValueError, match="is not a checkpoint"):
        export(str(tmp_path / "a.pt"), tmp_path / "model")
    assert not (tmp_path / "model").exists()
