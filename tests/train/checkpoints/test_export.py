"""open_clip loads what we export, without us, and it is the same model."""

from __future__ import annotations

import io
import json
import shutil
import sys
from pathlib import Path

import open_clip
import pytest
import torch
import yaml
from PIL import Image

from pipeline.cli import main
from tests.train import tiny
from train.checkpoints.export import PARITY, export, export_onnx
from train.checkpoints.load import load
from train.config import from_keys
from train.loop import train

CAPTIONS = tiny.CAPTIONS[8:12]


def test_open_clip_loads_the_export_and_gives_equal_outputs(tiny_run: str, tmp_path: Path) -> None:
    config, weights = export(tiny_run, tmp_path / "model")
    assert (config.name, weights.name) == ("open_clip_config.json", "open_clip_model.safetensors")
    assert weights.stat().st_mode == config.stat().st_mode
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
    made = tmp_path / "run" / "checkpoints" / "step-00000001"
    made.mkdir(parents=True)
    (made / "checkpoint.json").write_bytes(b"not a checkpoint")
    with pytest.raises(ValueError, match="is not a checkpoint"):
        export(str(made), tmp_path / "model")
    assert not (tmp_path / "model").exists()


@pytest.fixture(scope="module")
def graphs(tiny_run: str, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Both towers in ONNX: torch takes seconds to write them."""
    return export_onnx(tiny_run, tmp_path_factory.mktemp("onnx"))


def test_onnx_gives_the_features_of_the_model(tiny_run: str, graphs: list[Path]) -> None:
    import onnxruntime

    image, text = graphs
    assert (image.name, text.name) == ("image.onnx", "text.onnx")
    ours = load(tiny_run, "cpu")
    images = [Image.open(io.BytesIO(tiny.picture(caption))) for caption in CAPTIONS]
    pixels = torch.stack([ours.clip.transform(image) for image in images]).numpy()
    for path, inputs, expected in (
        (image, {"pixels": pixels}, ours.images(images)),
        (text, {"tokens": ours.clip.tokenize(CAPTIONS).numpy()}, ours.texts(CAPTIONS)),
    ):
        (found,) = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(["features"], inputs)
        assert found == pytest.approx(expected, abs=PARITY)


def test_onnx_of_another_model_is_refused(
    tiny_dataset: str, graphs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = from_keys(tiny_dataset, model=tiny.MODEL, batch_size=16, epochs=0.25, workers=0, seed=1)
    other = train(config, str(tmp_path / "run"), progress=lambda record: None).run
    monkeypatch.setattr(torch.onnx, "export", lambda model, inputs, path, **options: shutil.copy(graphs[0], path))
    with pytest.raises(ValueError, match=r"image\.onnx gives other features than the model, by"):
        export_onnx(other, tmp_path)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ValueError, match=r"^--onnx needs the package onnxruntime"):
        export_onnx(other, tmp_path)


def test_a_folder_for_the_hub_has_a_card_with_figures_and_the_datasheet(
    tiny_dataset: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = Path(shutil.copytree(tiny_dataset, tmp_path / "data"))
    config = from_keys(str(dataset), name="a *bold* name", model=tiny.MODEL, batch_size=16, epochs=1, workers=0)
    run = train(config, str(tmp_path / "run"), progress=lambda record: None).run
    assert main(["export", run, str(tmp_path / "bare"), "--hub"]) == 0
    bare = (tmp_path / "bare" / "README.md").read_text()
    assert "had no datasheet" in bare and "It was not examined" in bare

    (dataset / "datasheet.md").write_text("# What it is")
    assert main(["eval", run, "--pairs", "8"]) == 0
    assert main(["export", run, str(tmp_path / "hub"), "--hub"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(tmp_path / "hub" / "README.md")
    text = (tmp_path / "hub" / "README.md").read_text()
    _, front, body = text.split("---\n", 2)
    described = yaml.safe_load(front)
    assert (described["library_name"], described["pipeline_tag"]) == ("open_clip", "zero-shot-image-classification")
    figures = {row["metrics"][0]["type"]: row["metrics"][0]["value"] for row in described["model-index"][0]["results"]}
    assert figures == {
        row["metric"]: row["value"] for row in json.loads((tmp_path / "run" / "evaluation.json").read_text())
    }
    assert r"# a \*bold\* name" in body
    assert "| retrieval | image\\_to\\_text\\_r1 |" in body
    assert (tmp_path / "hub" / "datasheet.md").read_text() == "# What it is"
    assert "[datasheet](datasheet.md)" in body
    assert open_clip.create_model(f"local-dir:{tmp_path / 'hub'}") is not None


def test_the_weights_are_chosen(tiny_dataset: str, tmp_path: Path) -> None:
    config = from_keys(tiny_dataset, model=tiny.MODEL, batch_size=16, epochs=1, workers=0, ema=0.9)
    run = train(config, str(tmp_path / "run"), progress=lambda record: None).run
    bytes_of = {kind: export(run, tmp_path / kind, kind)[1].read_bytes() for kind in ("auto", "model", "ema")}
    assert bytes_of["auto"] == bytes_of["ema"] != bytes_of["model"]
