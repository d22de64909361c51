"""Weights in safetensors that somebody else made: whatever their header says, they fit the model or are a sentence."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import save_file

from train.checkpoints.load import load_clip
from train.models.clip import restore

MODEL = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "patch_size": 16, "head_width": 16},
    "text_cfg": {"context_length": 8, "vocab_size": 49408, "width": 16, "heads": 1, "layers": 1},
}
Header = dict[str, Any]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported model, whose weights each test writes."""
    made = tmp_path_factory.mktemp("model")
    (made / "open_clip_config.json").write_text(json.dumps({"model_cfg": MODEL, "preprocess_cfg": {}}))
    clip = restore("a", MODEL, {}, None, where="a", tokenizer=str(made))
    state = clip.model.state_dict()
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, made / "whole")
    return made


@pytest.fixture(scope="module")
def parts(folder: Path) -> tuple[Header, bytes]:
    """The header of the whole weights, and the bytes behind it."""
    whole = (folder / "whole").read_bytes()
    end = 8 + struct.unpack("<Q", whole[:8])[0]
    return json.loads(whole[8:end]), whole[end:]


def written(header: bytes, data: bytes, length: int | None = None) -> bytes:
    return struct.pack("<Q", len(header) if length is None else length) + header + data


def said(folder: Path, weights: bytes) -> str:
    """What loading says; nothing if it loads."""
    (folder / "open_clip_model.safetensors").write_bytes(weights)
    try:
        load_clip(str(folder))
    except ValueError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    "change",
    [
        {"data_offsets": [-4, 4]},
        {"data_offsets": [0, 2**62]},
        {"data_offsets": [0, 4]},  # another's
        {"shape": [2**40, 2**40]},
        {"shape": [-1, 4]},
        {"shape": [1.5]},
        {"dtype": "I8"},
        {"dtype": "X"},
    ],
)
def test_a_tensor_described_wrongly_is_a_sentence(
    folder: Path, parts: tuple[Header, bytes], change: dict[str, Any]
) -> None:
    header, data = parts
    assert said(folder, written(json.dumps(header).encode(), data)) == ""
    name = next(name for name, about in header.items() if len(about.get("shape", ())) == 2)
    changed = {**header, name: {**header[name], **change}}
    words = said(folder, written(json.dumps(changed).encode(), data))
    assert words.startswith(f"{folder / 'open_clip_model.safetensors'} does not fit open_clip_config.json: ")
    assert len(words) < 500


def test_a_header_that_is_none_is_a_sentence(folder: Path, parts: tuple[Header, bytes]) -> None:
    header, data = parts
    good = json.dumps(header).encode()
    for weights in (
        b"",
        bytes(7),
        *(written(good, data, length) for length in (2**63, 2**64 - 1, 2 * len(data))),
        written(b"\xff\xfe" * 50, data),
        *(written(opens * 100_000 + b"1" + ends * 100_000, data) for opens, ends in ((b"[", b"]"), (b'{"a":', b"}"))),
        written(b" " * 100_000_001, b""),  # more than a header may have
        written(good, data)[:-100],
        written(good, data + b"more"),
        *(written(json.dumps(value).encode(), data) for value in ([], None, {})),
        written(json.dumps({**header, "__metadata__": {"a": {}}}).encode(), data),
    ):
        assert " does not fit open_clip_config.json: " in said(folder, weights)


def test_a_pipe_or_device_is_no_file_of_weights(folder: Path) -> None:
    weights = folder / "open_clip_model.safetensors"
    for make in (os.mkfifo, lambda path: path.symlink_to("/dev/zero")):
        weights.unlink(missing_ok=True)
        make(weights)
        with pytest.raises(ValueError, match="has no weights"):
            load_clip(str(folder))
    weights.unlink()
