"""Programs that a config names: files whose content can do whatever the user can, once they are run.

A custom filter's Python and a TorchScript model are programs. They run only where the config says
`allow_programs: true`, so that a config, or a model, passed from hand to hand does nothing before its user has looked.
ONNX and safetensors are data: they name no code, and need no such word.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from filters.images.models import TORCHSCRIPT, ImageModel
from pipeline.config import Config
from pipeline.config_errors import ConfigError


def check(config: Config) -> None:
    """Raise ConfigError if the config names programs and does not allow them."""
    if not config.allow_programs:
        refuse(named_programs(config))


def refuse(programs: list[str]) -> None:
    """Raise ConfigError if there are any programs."""
    if programs:
        verb = "is a program, which" if len(programs) == 1 else "are programs, which"
        raise ConfigError(
            f"{' and '.join(programs)} {verb} can do whatever you can: read it, or trust who made it, and say "
            "`allow_programs: true` in the config; an ONNX model is data, and needs no such word"
        )


def named_programs(config: Any) -> list[str]:
    """Return every program of a config or of a section: its key, and the file."""
    filters = getattr(config, "filters", ())
    measured = [f"filters.{item.name}.measure ({item.measure})" for item in filters if item.measure]
    models = [f"{key} ({model.path}, TorchScript)" for key, model in _models(config, "") if _is_torchscript(model)]
    return [*measured, *models]


def _is_torchscript(model: ImageModel) -> bool:
    return model.path.lower().endswith(TORCHSCRIPT)


def _models(value: Any, key: str) -> Iterator[tuple[str, ImageModel]]:
    """Every image model in a section, at whatever depth, by its key."""
    if isinstance(value, ImageModel):
        yield key, value
    elif is_dataclass(value):
        for item in fields(value):
            yield from _models(getattr(value, item.name), f"{key}.{item.name}" if key else item.name)
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from _models(item, f"{key}.{getattr(item, 'name', '')}")
