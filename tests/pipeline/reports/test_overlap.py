"""The data-overlap analysis of the paper's section 5."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from scipy.stats import beta, binom

from pipeline.cli import main
from pipeline.config_errors import ConfigError
from pipeline.reports import overlap as module
from pipeline.reports.overlap import figure, format_table, overlap, statistics
from tests.filters.models import mean_colour
from tests.pipeline.pages import crawl, encoded, texture


class Colours:
    """An encoder that knows an image by its brightest channel, and a text by the colour it names."""

    batch_size = 3

    def images(self, images: Iterable[Image.Image]) -> np.ndarray:
        means = [np.asarray(image, np.float32).mean(axis=(0, 1)) for image in images]
        return np.eye(3, dtype=np.float32)[[int(mean.argmax()) for mean in means]].reshape(-1, 3)

    def texts(self, texts: Sequence[str]) -> np.ndarray:
        places = [next(place for place, word in enumerate(("red", "green", "blue")) if word in text) for text in texts]
        return np.eye(3, dtype=np.float32)[places]


def picture(seed: int, channel: int) -> bytes:
    pixels = texture(seed).copy()
    pixels[:, :, channel] = np.minimum(255, pixels[:, :, channel].astype(np.int64) + 60)
    return encoded(pixels)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A dataset, and a task of which it holds three images; the model is right on these and wrong on two others."""
    folder = tmp_path_factory.mktemp("overlap")
    held = {f"{n}.jpg": (f"A coloured castle, number {n}", picture(n, n)) for n in range(3)}
    out = crawl(folder, "out", held)
    task = folder / "colours"
    for channel, name in enumerate(("red", "green", "blue")):
        (task / name).mkdir(parents=True)
        (task / name / "held.jpg").write_bytes(encoded(np.asarray(texture_of(held[f"{channel}.jpg"][1])), quality=70))
        (task / name / "new.jpg").write_bytes(picture(10 + channel, 0))
    (task / "red" / "broken.jpg").write_bytes(b"no image")
    return out, task


def texture_of(body: bytes) -> Image.Image:
    import io

    return Image.open(io.BytesIO(body))


def test_a_set_is_split_by_what_the_dataset_holds(
    world: tuple[str, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out, task = world
    monkeypatch.setattr(module, "load", lambda checkpoint: Colours())
    (row,) = overlap("any", out, [str(task)])
    assert (row["task"], row["images"], row["overlap"]) == ("colours", 6, 3)
    assert (row["accuracy_all"], row["accuracy_overlap"]) == (pytest.approx(4 / 6), 1.0)
    assert row["accuracy_clean"] == pytest.approx(1 / 3)
    assert row["p_value"] == pytest.approx((1 / 3) ** 3)  # all three right, at a chance of one third
    assert row["gain"] == pytest.approx(1 / 3)
    assert json.loads((Path(out) / "overlap" / "overlap.json").read_text()) == [row]
    assert (Path(out) / "overlap" / "overlap.png").read_bytes().startswith(b"\x89PNG")
    assert main(["overlap", "any", out, "--tasks", str(task)]) == 0
    assert "overlap: median 50.0%, mean 50.0%" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="there is no evaluation set"):
        overlap("any", out, [str(task / "nothing")])
    with pytest.raises(ConfigError, match=r"max_hamming must be 0\.\.31"):
        overlap("any", out, [str(task)], max_hamming=32)


def test_a_copy_detection_model_counts_beside_the_hash(
    world: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, task = world
    monkeypatch.setattr(module, "load", lambda checkpoint: Colours())
    file = tmp_path / "detector.yaml"

    def found(**section: Any) -> int:
        file.write_text(yaml.safe_dump({"decontaminate": section}))
        return overlap("any", out, [str(task)], str(file))[0]["overlap"]

    model = {"path": mean_colour(tmp_path / "copies.onnx"), "size": 8}
    assert found(model=model, min_cosine=1.0) == 3  # by PDQ
    assert found(model=model, min_cosine=-1.0) == 6
    with pytest.raises(ConfigError, match=r"detector\.yaml: there is no key min_cosin; did you mean min_cosine"):
        found(min_cosin=0.5)
    with pytest.raises(ConfigError, match=r"decontaminate\.model names nowhere\.onnx, which does not exist"):
        found(model={"path": "nowhere.onnx"})


def test_the_tests_are_the_exact_ones() -> None:
    held = np.arange(1000) < 40
    right = np.arange(1000) % 2 == 0
    right[:40] = np.arange(40) < 29
    row = statistics("set", right, held, sets=20)
    assert row["accuracy_clean"] == 0.5
    assert row["p_value"] == pytest.approx(binom.sf(28, 40, 0.5))
    assert row["overlap_low"] == pytest.approx(beta.ppf(0.0025, 29, 12))
    assert row["overlap_high"] == pytest.approx(beta.ppf(0.9975, 30, 11))
    assert row["significant"] and not row["significant_bonferroni"]
    assert statistics("set", right, held, sets=2)["significant_bonferroni"]


@pytest.mark.parametrize("held", [np.zeros(8, dtype=bool), np.ones(8, dtype=bool)])
def test_a_set_without_a_side_has_no_test(held: np.ndarray) -> None:
    row = statistics("set", np.ones(8, dtype=bool), held, sets=1)
    assert row["gain"] == (None if held.all() else 0)
    assert (row["p_value"], row["significant"]) == (None, False)
    assert "set" in format_table([row])
    assert figure([row]).startswith(b"\x89PNG")
