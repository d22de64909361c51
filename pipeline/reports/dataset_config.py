"""The config that a dataset keeps, `config.yaml`, for reports that go by it. It may be somebody else's."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any, TypeVar

from dataset.config_check import ConfigValueError, checked_config
from dataset.store.storage import Storage
from dataset.yaml_text import YamlError, parse
from pipeline.config_errors import ConfigError

FILE = "config.yaml"
T = TypeVar("T")


def read(storage: Storage) -> dict[str, Any]:
    """Return the whole config. Raises ConfigError: it is not there, or is none."""
    url = storage.url_of(FILE)
    try:
        raw = parse(storage.read(FILE), is_written=True)
    except FileNotFoundError:
        raise ConfigError(f"{url} is not there; `wit run` with the dataset's config writes it again") from None
    except YamlError as error:
        line = f", line {error.line}" if error.line else ""
        raise _unreadable(f"{url}{line}: {error}") from None
    if not isinstance(raw, dict):
        raise _unreadable(f"{url}: it holds no keys and values")
    return raw


def section(storage: Storage, name: str, kind: type[T]) -> T:
    """Return one section of it, checked as a run checks it; keys that other versions of openwit have are passed over.

    Raises:
        ConfigError: as `read`, or a value cannot be.
    """
    raw = read(storage).get(name) or {}
    if isinstance(raw, dict) and is_dataclass(kind):
        raw = {key: value for key, value in raw.items() if key in {item.name for item in fields(kind)}}
    try:
        return checked_config(kind, raw)
    except ConfigValueError as error:
        raise _unreadable(f"{storage.url_of(FILE)}: {name}: {error}") from None


def seed(storage: Storage) -> int:
    """Return its seed. Raises ConfigError as `read`, or if it is no number."""
    value = read(storage).get("seed", 0)
    if not isinstance(value, int):
        raise _unreadable(f"{storage.url_of(FILE)}: seed is no whole number")
    return value


def _unreadable(what: str) -> ConfigError:
    return ConfigError(f"{what}; it is not what a run wrote: `wit run` with the dataset's config writes it again")
