"""Images and texts as an open_clip model embeds them, and what is read off the embeddings: agreement, trained heads."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from dataset.images import open_stored
from dataset.store.storage import absolute, is_local, open_input
from filters.lines import locate

BATCH = 64
"""Images or texts that are embedded together."""


@dataclass(frozen=True, kw_only=True)
class Head:
    """A small model over image embeddings that answers a number: LAION's aesthetic predictors, its NSFW detector."""

    name: str
    """The column that predicates of `filters` know it by."""
    path: str
    """An ONNX file that takes float32 (n, d), or PyTorch weights (.pt, .pth) of linear layers, each of which follows on
    the one before with nothing between, as those of LAION's aesthetic predictors do."""
    answer: int = -1
    """Which number of the output is meant."""
    activation: Literal["none", "sigmoid"] = "none"

    def __post_init__(self) -> None:
        if not self.path:
            raise ValueError("path must name a head's file")


class OpenClipEncoder:
    """An open_clip model that embeds on the GPU if there is one, else on one CPU thread.

    Args:
        model: encode_image and encode_text, with `normalize`.
        transform: a Pillow image to float32 (3, h, w).
        tokenize: texts to int64 (n, context length).
    """

    def __init__(self, model: Any, transform: Callable[[Any], Any], tokenize: Callable[[list[str]], Any]):
        import torch

        self._torch = torch
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._model = model.to(self._device).eval()
        self._transform = transform
        self._tokenize = tokenize

    def images(self, bodies: Sequence[bytes]) -> np.ndarray:
        """Return embeddings of encoded images, of unit length: float16 (n, d). Raises OSError if one cannot be
        decoded.
        """

        def encode(batch: Sequence[bytes]) -> Any:
            pixels = [self._transform(open_stored(body).convert("RGB")) for body in batch]
            return self._model.encode_image(self._torch.stack(pixels).to(self._device), normalize=True)

        return self._encode_in_one_thread(bodies, encode)

    def texts(self, texts: Sequence[str]) -> np.ndarray:
        """Return embeddings of texts, of unit length, cut where the model's context ends: float16 (n, d)."""

        def encode(batch: Sequence[str]) -> Any:
            return self._model.encode_text(self._tokenize(list(batch)).to(self._device), normalize=True)

        return self._encode_in_one_thread(texts, encode)

    def _encode_in_one_thread(self, items: Sequence[Any], encode: Callable[[Sequence[Any]], Any]) -> np.ndarray:
        threads = self._torch.get_num_threads()
        self._torch.set_num_threads(1)  # another number adds up in another order
        try:
            with self._torch.inference_mode():
                batches = [items[first : first + BATCH] for first in range(0, len(items), BATCH)]
                # One alone is multiplied by another kernel, which adds up in another order.
                pairs = [batch if len(batch) > 1 else [*batch, *batch] for batch in batches]
                parts = [
                    encode(pair).float().cpu().numpy()[: len(batch)] for pair, batch in zip(pairs, batches, strict=True)
                ]
        finally:
            self._torch.set_num_threads(threads)
        vectors = np.concatenate(parts).astype(np.float16) if parts else np.empty((0, 0), np.float16)
        if not np.isfinite(vectors).all():
            raise ValueError("image.embedding_model answers no finite numbers")
        return vectors


def load_open_clip(name: str) -> OpenClipEncoder:
    """Return a model by open_clip's own names.

    Args:
        name: `MODEL/PRETRAINED`, where PRETRAINED is a tag or the path of weights (`ViT-B-32/laion2b_s34b_b79k`), or
            `local-dir:FOLDER` or `hf-hub:REPOSITORY`.

    Raises:
        ValueError: open_clip knows no such model or weights.
    """
    import open_clip

    model, _, pretrained = name.partition("/")
    by_schema = name.startswith(("local-dir:", "hf-hub:"))
    if by_schema:
        model, pretrained = name, ""
    elif not pretrained:
        raise ValueError(
            f"{name!r} names no weights; give MODEL/PRETRAINED as open_clip lists them, MODEL/path/to/weights, "
            "local-dir:FOLDER, or a run of `wit train`"
        )
    try:
        clip, _, transform = open_clip.create_model_and_transforms(model, pretrained=pretrained or None)
        return OpenClipEncoder(clip, transform, open_clip.get_tokenizer(model))
    except Exception as error:  # open_clip, torch and the Hub raise their own
        raise ValueError(f"open_clip makes no model of {name!r}: {_words(error)}") from None


def to_column(vectors: np.ndarray) -> pa.Array:
    """Return float16 (n, d) as a column of fixed-size lists."""
    return pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), max(1, vectors.shape[1]))


def unit(vectors: np.ndarray) -> np.ndarray:
    """Return vectors of length 1, as the last axis holds them; one of zeros stays. float32, of the same shape."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.where(length > 0, length, 1), np.float32)


def from_column(column: pa.ChunkedArray) -> np.ndarray:
    """Return a column of fixed-size lists without nulls as float32 (n, d)."""
    vectors = column.combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return vectors.reshape(-1, column.type.list_size).astype(np.float32)


def cosines(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the cosine of each row of one with that of the other; float16 or float32 (n, d) → float32 (n,)."""
    # float16 rounds lengths to 1 ± 0.0005: left in, a pair with itself would be at 1.001
    one, other = (rows.astype(np.float64) for rows in (one, other))
    lengths = np.sqrt((one * one).sum(axis=1) * (other * other).sum(axis=1))
    return np.asarray(((one * other).sum(axis=1) / np.maximum(lengths, 1e-12)).astype(np.float32))


def load_head(head: Head, key: str) -> Callable[[np.ndarray], np.ndarray]:
    """Return a head as a function: embeddings float32 (n, d) → its numbers float32 (n,).

    Args:
        key: the config key that names it, for messages.

    Raises:
        ValueError: there is no such file, or it is neither ONNX nor weights of linear layers.
    """
    url = locate(head.path)
    try:
        with open_input(absolute(url) if is_local(url) else url) as file:
            data = bytes(file.read())
        raw = _onnx_head(data) if head.path.endswith(".onnx") else _linear_head(data)
    except FileNotFoundError:
        raise ValueError(f"{key} names {head.path}, which does not exist") from None
    except Exception as error:  # what a damaged file makes of the libraries
        raise ValueError(f"{key}: {head.path} is no head that can be read: {_words(error)}") from None

    def answer(vectors: np.ndarray) -> np.ndarray:
        try:
            numbers = raw(vectors).reshape(len(vectors), -1)[:, head.answer].astype(np.float32)
        except Exception as error:
            raise ValueError(
                f"{key}: {head.path} cannot be run on {vectors.shape[1]} numbers: {_words(error)}"
            ) from None
        return np.asarray(np.exp(-np.logaddexp(0, -numbers)), np.float32) if head.activation == "sigmoid" else numbers

    return answer


def _onnx_head(data: bytes) -> Callable[[np.ndarray], np.ndarray]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(data, options, ["CPUExecutionProvider"])
    (input_,) = session.get_inputs()
    return lambda vectors: np.asarray(session.run(None, {input_.name: vectors})[0])


def _linear_head(data: bytes) -> Callable[[np.ndarray], np.ndarray]:
    """Linear layers one on the other are one: its weights are multiplied out in float64."""
    import torch

    state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    layers = [name.removesuffix("weight") for name in state if name.endswith("weight")]
    if not layers or any(state[f"{layer}weight"].ndim != 2 for layer in layers):
        raise ValueError("it holds no weights of linear layers")
    matrix: Any = None
    bias: Any = 0.0
    for layer in layers:
        weight = state[f"{layer}weight"].double().numpy()
        matrix = weight if matrix is None else weight @ matrix
        bias = weight @ bias if np.ndim(bias) else 0.0
        if f"{layer}bias" in state:
            bias = bias + state[f"{layer}bias"].double().numpy()
    return lambda vectors: np.einsum("nd,kd->nk", vectors.astype(np.float64), matrix) + bias


def _words(error: BaseException) -> str:
    """An error in at most 200 characters; its class if it says nothing."""
    return " ".join(str(error).split())[:200] or type(error).__name__
