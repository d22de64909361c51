"""Tiny image models, built here: what they answer can be worked out by hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from dataset.store.storage import Storage


def mean_colour(
    path: Path, *, side: int | str = 8, batch: int | str = "n", layout: str = "nchw", logits: bool = False
) -> str:
    """A model that answers each image's mean red, green and blue, as it gets them; returns its path.

    Args:
        side, batch: of the input; a word leaves them open.
        logits: answer (-x, x) of the mean red x instead, which a softmax or a sigmoid makes a probability.
    """
    shape = [batch, 3, side, side] if layout == "nchw" else [batch, side, side, 3]
    axes = [2, 3] if layout == "nchw" else [1, 2]
    nodes = [helper.make_node("ReduceMean", ["pixels"], ["colour"], axes=axes, keepdims=0)]
    width = 3
    constants = []
    if logits:
        weights = np.array([[-1, 1], [0, 0], [0, 0]], np.float32)
        constants = [helper.make_tensor("weights", TensorProto.FLOAT, weights.shape, weights.ravel().tolist())]
        nodes.append(helper.make_node("MatMul", ["colour", "weights"], ["logits"]))
        width = 2
    return save(path, nodes, shape, {"logits" if logits else "colour": [batch, width]}, constants)


def save(
    path: Path,
    nodes: Sequence[Any],
    shape: Sequence[int | str],
    outputs: dict[str, list[Any]],
    constants: Sequence[Any] = (),
) -> str:
    """Write a graph with the input `pixels`; returns the path."""
    graph = helper.make_graph(
        list(nodes),
        "tiny",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, list(shape))],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, sides) for name, sides in outputs.items()],
        list(constants),
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return str(path)


def tiny_run(folder: Path, seed: int = 1) -> str:
    """A run of `wit train` whose only checkpoint has random weights of 16-dimensional embeddings; its path."""
    import torch  # with all that it brings, ten CPU-seconds, which tests of other models need not wait for

    from tests.train import tiny
    from train.checkpoints import checkpoint
    from train.distributed.processes import Processes
    from train.models.clip import create, preprocess_dict

    clip = create(str(tiny.register(folder)), seed)
    described = {
        "step": 0,
        "score": 0.0,
        "config": {},
        "index_fingerprint": "",
        "name": clip.name,
        "model_config": clip.config,
        "preprocess": preprocess_dict(clip),
    }
    weights = {f"model.{name}": tensor for name, tensor in clip.model.state_dict().items()}
    with checkpoint.Checkpoints(Storage(str(folder / "run")), 1, Processes(0, 1, torch.device("cpu"))) as saved:
        saved.save(weights, described)
    return str(folder / "run")


def red_yunet(path: Path) -> str:
    """A detector with the inputs and outputs of YuNet, as OpenCV reads them, that takes red for a face.

    Each square of 8 × 8 pixels is a box of its own size whose score is its mean red less its mean green.
    """
    nodes, outputs, constants = [], [], []

    def constant(name: str, values: np.ndarray) -> str:
        kind = TensorProto.INT64 if values.dtype == np.int64 else TensorProto.FLOAT
        constants.append(helper.make_tensor(name, kind, values.shape, values.ravel().tolist()))
        return name

    for stride in (8, 16, 32):
        for name, width in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10)):
            weights = np.zeros((width, 3, stride, stride), np.float32)
            if stride == 8 and width == 1:
                weights[:, 2], weights[:, 1] = 1 / (255 * 64), -1 / (255 * 64)  # of blue, green, red
            out = f"{name}_{stride}"
            kernel = constant(f"{out}_weights", weights)
            nodes.append(helper.make_node("Conv", ["pixels", kernel], [f"{out}_map"], strides=[stride, stride]))
            nodes.append(helper.make_node("Transpose", [f"{out}_map"], [f"{out}_last"], perm=[0, 2, 3, 1]))
            shape = constant(f"{out}_shape", np.array([1, -1, width], np.int64))
            nodes.append(helper.make_node("Reshape", [f"{out}_last", shape], [out]))
            outputs.append((out, width))
    return save(path, nodes, [1, 3, "h", "w"], {name: [1, "n", width] for name, width in outputs}, constants)
