from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from filters.images.embeddings import Head, cosines, from_column, load_head, load_open_clip, to_column
from pipeline.stages.image import encoder as embedding
from tests.filters import models
from tests.train import tiny
from train.checkpoints.export import export
from train.checkpoints.load import load as load_trained

CAPTIONS = tiny.CAPTIONS[:5]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> str:
    return models.tiny_run(tmp_path_factory.mktemp("run"))


def test_every_name_of_a_model_gives_the_same_embeddings(run: str, tmp_path: Path) -> None:
    from PIL import Image

    _, weights = export(run, tmp_path / "model")
    images = [tiny.picture(caption) for caption in CAPTIONS]
    trained = load_trained(run, "cpu")
    expected = trained.images(Image.open(io.BytesIO(image)) for image in images)
    names = [run, f"{run}/checkpoints/step-00000000", str(tmp_path / "model"), f"local-dir:{tmp_path / 'model'}"]
    for name in (*names, f"{tiny.MODEL}/{weights}"):
        encoder = embedding.load(embedding.location(name), embedding.identity(name))
        assert encoder.images(images).dtype == np.float16
        assert np.abs(encoder.images(images) - expected).max() < 1e-3
        assert np.abs(encoder.texts(CAPTIONS) - trained.texts(CAPTIONS)).max() < 1e-3


def test_the_identity_of_a_model_is_its_content(run: str, tmp_path: Path) -> None:
    other = models.tiny_run(tmp_path, seed=2)
    assert embedding.identity(run) != embedding.identity(other)
    Path(other, "log.jsonl").write_text("{}")
    before = embedding.identity(other)
    Path(other, "log.jsonl").write_text("{}{}")
    assert embedding.identity(other) == before
    assert embedding.identity("ViT-B-32/laion2b_s34b_b79k") == "ViT-B-32/laion2b_s34b_b79k"


@pytest.mark.parametrize(
    ("name", "says"), [("ViT-B-32", "names no weights"), ("ViT-B-32/no_such_tag", "makes no model of")]
)
def test_a_model_that_open_clip_does_not_know_is_told(name: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        load_open_clip(name)


@given(st.integers(0, 6), st.integers(1, 8), st.integers(0, 100))
def test_embeddings_go_into_a_column_and_come_back(count: int, width: int, seed: int) -> None:
    vectors = np.random.default_rng(seed).normal(size=(count, width)).astype(np.float16)
    column = pa.chunked_array([to_column(vectors)])
    assert column.type == pa.list_(pa.float16(), width)
    assert (from_column(column) == vectors).all()
    assert np.allclose(cosines(vectors, vectors), 1, atol=1e-6)
    assert np.allclose(cosines(vectors, -2 * vectors), -1, atol=1e-6)


def test_a_head_of_linear_layers_is_what_torch_makes_of_it(tmp_path: Path) -> None:
    torch.manual_seed(0)
    layers = torch.nn.Sequential(
        torch.nn.Linear(16, 8), torch.nn.Dropout(), torch.nn.Linear(8, 4, False), torch.nn.Linear(4, 1)
    )
    torch.save(layers.state_dict(), tmp_path / "head.pth")
    vectors = np.random.default_rng(0).normal(size=(7, 16)).astype(np.float32)
    with torch.inference_mode():
        expected = layers.eval()(torch.from_numpy(vectors)).numpy()[:, 0]
    answer = load_head(Head(name="aesthetic", path=str(tmp_path / "head.pth")), "image.heads.aesthetic")(vectors)
    assert answer == pytest.approx(expected, abs=1e-6)
    with pytest.raises(ValueError, match=r"image.heads.aesthetic: .*head.pth cannot be run on 15 numbers"):
        load_head(Head(name="aesthetic", path=str(tmp_path / "head.pth")), "image.heads.aesthetic")(vectors[:, :15])


def test_a_head_may_be_onnx_and_end_in_a_sigmoid(tmp_path: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("ReduceSum", ["x"], ["y"], keepdims=1, axes=[1])],
        "sum",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 1])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=8)
    (tmp_path / "sum.onnx").write_bytes(model.SerializeToString())
    head = Head(name="sum", path=str(tmp_path / "sum.onnx"), activation="sigmoid")
    answer = load_head(head, "key")(np.array([[0, 0], [1, 1]], np.float32))
    assert answer == pytest.approx([0.5, 0.880797], abs=1e-6)


@pytest.mark.parametrize("name", ["none.pth", "text.pth", "text.onnx", "other.pth"])
def test_a_bad_head_is_told_in_one_sentence(tmp_path: Path, name: str) -> None:
    for ending in ("pth", "onnx"):
        (tmp_path / f"text.{ending}").write_text("no model")
    torch.save({"weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=rf"^image\.heads\.a:? .*{name}") as raised:
        load_head(Head(name="a", path=str(tmp_path / name)), "image.heads.a")
    assert "\n" not in str(raised.value)
