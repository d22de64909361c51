"""The image models that a config names: tried before any work is done, described to a task, loaded by a worker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa

from crawl.images.store import read_images
from dataset.store.storage import Storage, absolute
from filters.images import nsfw_int8
from filters.images.config import NSFW, ScoringModel
from filters.images.faces import Detector, FacesConfig
from filters.images.faces import load as load_detector
from filters.images.models import ImageModel, ModelError, Predictor, load
from filters.lines import locate
from pipeline.config import Config, ConfigError, to_builtins
from pipeline.engine.contract import settings
from pipeline.engine.sources.plan import file_checksum
from pipeline.stages.shown_images import IMAGES_AT_ONCE


def check(config: Config) -> None:
    """Load every model and show it a black image, but the packaged one, which is known. Raises ConfigError, in one
    sentence."""
    if config.faces.path:
        try:
            detector(*detector_options(config.faces))
        except FileNotFoundError:
            raise ConfigError(f"faces names {config.faces.path}, which does not exist") from None
        except ModelError as error:
            raise ConfigError(str(error)) from None
    for model in (*([config.image.nsfw] if config.image.nsfw else []), *config.image.models):
        try:
            content = file_checksum(locate(model.path))
            if model == NSFW:
                continue
            outputs = load(model, _key(model), content).outputs
        except FileNotFoundError:
            raise ConfigError(f"{_key(model)} names {model.path}, which does not exist") from None
        except ModelError as error:
            raise ConfigError(str(error)) from None
        if not -outputs <= model.answer < outputs:
            raise ConfigError(f"{_key(model)}.answer is {model.answer}, but {model.path} answers {outputs} numbers")


def detector_options(config: FacesConfig) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return options and hints of a task that looks for faces. Raises FileNotFoundError."""
    model = None if config.model is None else {**to_builtins(asdict(config.model)), "path": ""}
    return {"model": model, "checksum": file_checksum(locate(config.path))}, {"path": location(config.path)}


def detector(options: Mapping[str, Any], hints: Mapping[str, Any]) -> Detector:
    """Return the detector of faces that `detector_options` describes. Raises ModelError."""
    if options["model"] is None:
        return load_detector(hints["path"], None, options["checksum"])
    return load_detector("", settings(ImageModel, {**options["model"], "path": hints["path"]}), options["checksum"])


def _key(model: ScoringModel) -> str:
    return "image.nsfw_model" if model.name == NSFW.name else f"image.models.{model.name}"


def model_options(
    models: Sequence[ScoringModel], columns: Sequence[str], doubts: tuple[float, float] | None = None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return options and hints of a task that runs the models, each into its column: where a file lies changes no
    result.

    doubts: with which they are asked in 8-bit integers first; see `filters.images.nsfw_int8`.
    """
    options = []
    for model, column in zip(models, columns, strict=True):
        values = {name: value for name, value in to_builtins(asdict(model)).items() if name != "path"}
        item = {"column": column, "checksum": file_checksum(locate(model.path)), "model": values}
        if doubts is not None:
            bounds = [nsfw_int8.GLANCE_SIZE, *doubts]
            item["screen"] = {"ranges": nsfw_int8.ranges_checksum(), "bounds": bounds}
        options.append(item)
    places = [{"path": location(model.path)} for model in models]
    return {"models": options}, {"models": places}


def location(path: str) -> str:
    """Return a model's path as any process finds it."""
    return path if path.startswith("package:") else absolute(path)


def measure(
    storage: Storage, images: pa.Table, options: Mapping[str, Any], hints: Mapping[str, Any]
) -> dict[str, np.ndarray]:
    """Return what the models answer for stored images: column -> float32 (n,).

    Args:
        images: with `blob`, `blob_offset` and `blob_length`.
        options, hints: of `model_options`.

    Raises:
        ModelError: a model cannot be run, or answers an image with no finite number.
    """
    models = []
    for item, place in zip(options["models"], hints["models"], strict=True):
        model = settings(ScoringModel, {**item["model"], **place})
        loaded: Predictor | nsfw_int8.Screened
        if "screen" in item:
            _, first, second = item["screen"]["bounds"]
            loaded = nsfw_int8.load_screened(model, _key(model), item["checksum"], first, second)
        else:
            loaded = load(model, _key(model), item["checksum"])
        models.append((item["column"], model, loaded))
    answers = {column: np.empty(images.num_rows, np.float32) for column, _, _ in models}
    for first in range(0, images.num_rows, IMAGES_AT_ONCE):
        bodies = read_images(storage, images.slice(first, IMAGES_AT_ONCE))
        for column, model, predict in models:
            numbers = predict(bodies)[:, model.answer]
            if not np.isfinite(numbers).all():  # which no threshold could decide on
                raise ModelError(f"{_key(model)}: {model.path} answers no finite number for an image")
            answers[column][first : first + len(bodies)] = numbers
    return answers
