"""A config names no program that runs without its user's word, and a model's weights come from its own folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import yaml
from onnx import TensorProto, helper

from dataset.store.storage import Storage
from filters.images.models import ImageModel, ModelError, load
from pipeline import programs
from pipeline.build import build
from pipeline.config import build as make_config
from pipeline.config_errors import ConfigError
from pipeline.reports.overlap import _detector

MODEL = {"path": "somebody.pt", "size": 8}
FILTER = {"name": "own", "stage": "text", "measure": "own.py:f", "drop_when": "x"}


@pytest.mark.parametrize(
    ("section", "named"),
    [
        ({"filters": [FILTER]}, "filters.own.measure (own.py:f)"),
        ({"image": {"models": [{**MODEL, "name": "sharp"}]}}, "image.models.sharp (somebody.pt, TorchScript)"),
        ({"decontaminate": {"model": MODEL, "folders": ["x"]}}, "decontaminate.model (somebody.pt, TorchScript)"),
        (
            {"faces": {"model": {**MODEL, "path": "A.TORCHSCRIPT", "resize": "stretch"}}},
            "faces.model (A.TORCHSCRIPT, TorchScript)",
        ),
    ],
)
def test_a_program_runs_by_its_users_word_alone(section: dict[str, Any], named: str, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("raise SystemExit('it ran')")
    raw = {"sources": ["a.warc"], "out": str(tmp_path / "out"), **section}
    with pytest.raises(ConfigError, match=r"is a program, which can do whatever you can.*allow_programs: true") as told:
        programs.check(make_config(raw))
    assert str(told.value).startswith(named)
    programs.check(make_config({**raw, "allow_programs": True}))


def test_a_predicate_and_an_onnx_model_are_no_programs() -> None:
    image = {"models": [{**MODEL, "name": "sharp", "path": "a.onnx"}]}
    rule = {"name": "own", "stage": "image", "drop_when": "sharp > 0.5"}
    programs.check(make_config({"sources": ["a.warc"], "out": "out", "filters": [rule], "image": image}))


def test_a_run_names_its_programs_before_it_writes_anything(tmp_path: Path) -> None:
    (tmp_path / "a.warc").write_bytes(b"")
    (tmp_path / "own.py").write_text("raise SystemExit('it ran')")
    own = {**FILTER, "measure": f"{tmp_path}/own.py:f"}
    raw = {"sources": [str(tmp_path / "a.warc")], "out": str(tmp_path / "out"), "filters": [own]}
    with pytest.raises(ConfigError, match="allow_programs"):
        build(make_config(raw))
    assert not (tmp_path / "out").exists()


def test_a_datasets_own_config_allows_nothing(tmp_path: Path) -> None:
    own = Storage(str(tmp_path / "out"))
    own.write("config.yaml", yaml.safe_dump({"allow_programs": True, "decontaminate": {"model": MODEL}}).encode())
    with pytest.raises(ConfigError, match=r"decontaminate\.model \(somebody\.pt, TorchScript\) is a program"):
        _detector(own, None, None)
    (tmp_path / "mine.yaml").write_text("allow_programs: true\ndecontaminate: {model: {path: a.pt, size: 8}}\n")
    assert _detector(own, str(tmp_path / "mine.yaml"), None).model is not None


def _external(name: str, location: str) -> TensorProto:
    """A tensor whose values lie in another file."""
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[1, 3, 1, 1], data_location=TensorProto.EXTERNAL)
    for key, value in (("location", location), ("offset", "0"), ("length", "12")):
        tensor.external_data.add(key=key, value=value)
    return tensor


def _model(path: Path, location: str, place: str = "initializer", name: str = "w") -> ImageModel:
    """A model whose weights lie in a file beside it, or elsewhere.

    place: where it names them.
    """
    weights, initializers, first = _external(name, location), [], []
    if place == "initializer":
        initializers = [weights]
    elif place == "constant":
        first = [helper.make_node("Constant", [], [name], value=weights)]
    else:  # in one of two branches
        weights.name = "inner"
        answer = helper.make_tensor_value_info("outer", TensorProto.FLOAT, [1, 3, 1, 1])
        branch = helper.make_graph([helper.make_node("Identity", ["inner"], ["outer"])], "b", [], [answer], [weights])
        first = [helper.make_node("If", ["yes"], [name], then_branch=branch, else_branch=branch)]
        initializers = [helper.make_tensor("yes", TensorProto.BOOL, [], [True])]
    nodes = [
        *first,
        helper.make_node("Mul", ["x", name], ["y"]),
        helper.make_node("ReduceMean", ["y"], ["z"], axes=[2, 3]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 8, 8])],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, None)],
        initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    path.write_bytes(model.SerializeToString())
    return ImageModel(path=str(path), size=8)


@pytest.mark.parametrize("location", ["weights.bin", "sub/weights.bin"])
def test_weights_lie_beside_a_model(tmp_path: Path, location: str) -> None:
    file = tmp_path / location
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(np.ones(3, np.float32).tobytes())
    assert load(_model(tmp_path / "a.onnx", location), "key").outputs == 3


@pytest.mark.parametrize("place", ["initializer", "constant", "branch"])
@pytest.mark.parametrize(
    "location",
    ["../secret.bin", "ABSOLUTE", "link.bin", "up/secret.bin", "sub/../../secret.bin", "/proc/self/root/ABSOLUTE",
     "file:///ABSOLUTE", "*/_ORT_MEM_ADDR_/*", "/dev/zero", "\0", ""],
)  # fmt: skip
def test_weights_lie_nowhere_else(tmp_path: Path, location: str, place: str) -> None:
    secret = tmp_path / "secret.bin"
    secret.write_bytes(np.ones(3, np.float32).tobytes())
    (tmp_path / "model" / "sub").mkdir(parents=True)
    (tmp_path / "model" / "link.bin").symlink_to(secret)
    (tmp_path / "model" / "up").symlink_to(tmp_path)
    with pytest.raises(ModelError, match="is no model that can be read"):
        load(_model(tmp_path / "model" / "a.onnx", location.replace("ABSOLUTE", str(secret)), place), "key")


def test_a_model_prints_nothing_of_its_own(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ModelError, match="is no model that can be read"):
        load(_model(tmp_path / "a.onnx", "gone.bin", name="w\x1b]0;pwned\x07"), "key")
    assert capfd.readouterr() == ("", "")


def test_torchscript_under_another_name_is_not_run(tmp_path: Path) -> None:
    import torch

    class Mean(torch.nn.Module):
        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            return pixels.mean((2, 3))

    for name in ("a.onnx", "a", "a.pt.onnx", "a.PT.", "a.bin", "a.safetensors"):
        path = str(tmp_path / name)
        torch.jit.save(torch.jit.script(Mean()), path)  # type: ignore[no-untyped-call]
        model = ImageModel(path=path, size=8)
        assert not programs.named_programs(ImageModel(path=path, size=8))
        with pytest.raises(ModelError, match="is no model that can be read"):
            load(model, "key")


def test_a_model_without_a_folder_has_no_files_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from filters.images.models import _Onnx

    (tmp_path / "weights.bin").write_bytes(np.ones(3, np.float32).tobytes())
    model = _model(tmp_path / "a.onnx", "weights.bin")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Exception, match="weights"):
        _Onnx((tmp_path / "a.onnx").read_bytes(), model)
    assert onnx.load(tmp_path / "a.onnx", load_external_data=False).graph.initializer[0].name == "w"
