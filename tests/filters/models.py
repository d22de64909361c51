"""Tiny image models, built here: what they answer can be worked out by hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from dataset.storage import Storage
from tests.train import tiny
from train import checkpoint
from train.model import create, preprocess_dict


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
    clip = create(str(tiny.register(folder)), seed)
    state = {
        "step": 0,
        "model": clip.model.state_dict(),
        "name": clip.name,
        "model_config": clip.config,
        "preprocess": preprocess_dict(clip),
    }
    checkpoint.write(Storage(str(folder / "run")), state, keep=1)
    return str(folder / "run")
