"""`decode: gpu`, with torchvision's CPU decoder in the place of nvJPEG."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image

from tests.train import tiny
from train.config import from_keys
from train.data import gpu_decode
from train.data.gpu_decode import GpuDecoder, check, collect, decode_onto
from train.data.loader import join, open_corpus, samples_of
from train.data.transforms import DRAWS, Augment

CPU = torch.device("cpu")


def encoded(kind: str = "jpeg", mode: str = "RGB", **options: Any) -> bytes:
    """A smooth picture of 90 x 60 pixels, of which no two parts are alike."""
    across, down = np.meshgrid(np.linspace(0, 255, 90), np.linspace(0, 255, 60))
    image = Image.fromarray(np.stack([across, down, 255 - (across + down) / 2], 2).astype(np.uint8))
    file = io.BytesIO()
    image.convert(mode).save(file, kind, **options)
    return file.getvalue()


def turned(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(quality=95, exif=exif)


@pytest.mark.parametrize("augment", [Augment(32), Augment(32, "resized", 0.3, 1.0), Augment(32, "center")])
def test_the_crop_is_that_of_the_readers(augment: Augment) -> None:
    draws = np.random.default_rng(0).random(DRAWS).tolist()
    images, expected = torch.zeros(2, 8, 3, 32, 32, dtype=torch.uint8)
    left = []
    for place in range(8):
        augment.write(turned(place + 1), draws, expected[place : place + 1])
        found = augment.crop_undecoded(turned(place + 1), draws)
        assert found is not None
        left.append((place, *found))
    jpegs = collect(0, left)
    assert jpegs is not None and decode_onto(jpegs, images) == []
    apart = (images.int() - expected.int()).abs().float()
    assert apart.mean() < 0.5 and apart.max() <= 3


@pytest.mark.parametrize(
    "data",
    [encoded("png"), encoded(mode="L"), encoded(mode="CMYK"), encoded()[:-2], encoded(icc_profile=b"x" * 200)],
    ids=["png", "grey", "cmyk", "cut off", "profile"],
)
def test_what_is_no_plain_jpeg_the_readers_decode(data: bytes) -> None:
    assert Augment(32).crop_undecoded(data, [0.5] * DRAWS) is None


def test_an_image_that_the_gpu_refuses_is_decoded_on_the_cpu(
    tiny_dataset: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = from_keys(tiny_dataset, model=tiny.MODEL, batch_size=16)
    corpus = open_corpus(config.dataset, config.data, config.seed, f"{tiny_dataset}/runs/clip")
    tokenize = open_clip.get_tokenizer(tiny.MODEL)
    by_readers = samples_of(config.data, config.training.batch_size, corpus, tokenize, 32)[1]
    samples = samples_of(config.data, config.training.batch_size, corpus, tokenize, 32, undecoded=True)
    parts = [samples.part(1)]
    real, asked = gpu_decode._decode, []

    def picky(files: Sequence[torch.Tensor], device: torch.device) -> Any:
        asked.append(len(files))
        if any(torch.equal(file, refused) for file in files):
            raise RuntimeError("nvjpeg: no\nat some place")
        return real(list(files), device)

    jpegs = parts[0].jpegs
    assert jpegs is not None and len(jpegs.places) == 16
    refused = jpegs.files[jpegs.ends[4] : jpegs.ends[5]].clone()
    monkeypatch.setattr(gpu_decode, "_decode", picky)
    batch = GpuDecoder(samples.part).finish(parts, join(parts))
    assert asked == [16, *[1] * 16]
    assert capsys.readouterr().err == "decoded on the CPU, for cpu refuses it: nvjpeg: no\n"
    assert torch.equal(batch.images[5], by_readers.images[5])
    assert torch.equal(batch.texts, by_readers.texts) and torch.equal(batch.rows, by_readers.rows)
    assert (batch.images.int() - by_readers.images.int()).abs().float().mean() < 0.5
    assert (batch.jpegs, batch.damaged) == (None, [])


def test_a_machine_that_decodes_nothing_on_its_gpu_is_told_before_it_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"^decode must be cpu where the model is trained on the CPU, not 'gpu'$"):
        check(CPU)

    def without(*given: Any) -> Any:
        raise RuntimeError("decode_jpegs_cuda: torchvision not compiled with nvJPEG support")

    monkeypatch.setattr(gpu_decode, "_decode", without)
    with pytest.raises(ValueError, match=r"^decode must be cpu here: torchvision decodes no JPEG on cuda: .* nvJPEG"):
        check(torch.device("cuda"))
