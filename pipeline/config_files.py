"""Where config files are: the user's own, and those that openwit carries, each of which can be named without a path."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dataset.yaml_text import YamlError, override, parse
from pipeline.config_errors import ConfigError

_ROOT = Path(__file__).resolve().parent.parent
_OWN = _ROOT / "openwit" / "configs"  # of a wheel a copy, beside which another package may have its own `configs`
CARRIED = _OWN.resolve() if _OWN.is_dir() else _ROOT / "configs"
"""The configs that openwit carries: the checkout's folder, or the copy of it in an installed wheel."""
PRESETS = CARRIED / "presets"


def find(name: str) -> Path:
    """Return the config file that is meant by a path, or by the name of a config that openwit carries.

    `mine.yaml` and `configs/archive.yaml` are files. Where there is no such file, `archive`, `train/clip_vit_b32` and
    `configs/archive.yaml` name what openwit carries.

    Raises:
        ConfigError: neither is there.
    """
    path = Path(name).expanduser()
    if path.is_file():
        return path
    if not path.is_absolute():
        inner = Path(*path.parts[1:]) if path.parts[:1] == ("configs",) else path
        carried = CARRIED / inner
        for candidate in (carried, carried.with_name(f"{carried.name}.yaml")):
            if candidate.is_file() and candidate.suffix == ".yaml" and CARRIED in candidate.resolve().parents:
                return candidate
    if path.is_dir():
        raise ConfigError(f"{name} is a folder; a config is a YAML file")
    known = [*(str(file) for file in Path("configs").glob("*.yaml")), *carried_names()]
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.3)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise ConfigError(f"there is no config {name}{hint}")


def carried_names() -> list[str]:
    """Return the names of the configs that openwit carries, presets left out: archive, train/clip_vit_b32."""
    files = sorted(CARRIED.glob("**/*.yaml"))
    return [str(file.relative_to(CARRIED).with_suffix("")) for file in files if PRESETS not in file.parents]


def read(path: str, overrides: Sequence[str] = (), presets: Sequence[str] = ()) -> dict[str, Any]:
    """Return a config file's mapping with presets laid over it, and `key=value` over these. Raises ConfigError."""
    raw = with_presets(read_yaml(path))
    for name in presets:
        raw = laid_over(raw, read_preset(name))
    return with_overrides(raw, overrides)


def with_overrides(raw: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Return the config with `a.b=value` applied; values are YAML, but a path is taken as it stands. Raises
    ConfigError.
    """
    for item in overrides:
        key, value = parse_override(item)
        section = raw
        *parents, last = key.split(".")
        for parent in parents:
            below = section.setdefault(parent, {})
            if not isinstance(below, dict):
                raise ConfigError(f"--set {item}: {parent} is a value, not a section")
            section = below
        section[last] = value
    return raw


def parse_override(item: str) -> tuple[str, Any]:
    """Return (key, value) of a `key=value`. Raises ConfigError."""
    key, separator, value = item.partition("=")
    if not separator or not key:
        raise ConfigError(f"--set takes key=value, for example --set balance.cap=1000, not {item!r}")
    try:
        return key, override(value)
    except YamlError:
        raise ConfigError(f"--set {item}: {value!r} is not a YAML value") from None


def with_presets(raw: Mapping[str, Any], within: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return a config laid over the presets that its key `presets` names, the later over the earlier. Raises
    ConfigError.
    """
    below: dict[str, Any] = {}
    config = dict(raw)
    names = config.pop("presets", None) or []
    for name in [names] if isinstance(names, str) else names:
        below = laid_over(below, read_preset(name, within))
    return laid_over(below, config)


def laid_over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Merge two mappings: sections are merged key by key; of anything else, lists too, what lies above counts."""
    merged = dict(below)
    for key, value in above.items():
        under = merged.get(key)
        merged[key] = laid_over(under, value) if isinstance(under, dict) and isinstance(value, dict) else value
    return merged


def read_preset(name: Any, within: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return a preset of configs/presets by its name, or any YAML file by its path. Raises ConfigError."""
    if isinstance(name, str) and name.endswith((".yaml", ".yml")):
        if name in within:
            raise ConfigError(f"the preset {name} names itself, by way of {', '.join(within)}")
        return with_presets(read_yaml(name), (*within, name))
    known = sorted(file.stem for file in PRESETS.glob("*.yaml"))
    if name not in known:
        raise ConfigError(f"there is no preset {name}; there are {', '.join(known)}, and any YAML file by its path")
    return read_yaml(str(PRESETS / f"{name}.yaml"))


def read_yaml(path: str) -> dict[str, Any]:
    """Return a config file's mapping. Raises ConfigError."""
    file = find(path)
    try:
        raw = parse(file.read_bytes())
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error}") from None
    except YamlError as error:
        line = f", line {error.line}" if error.line else ""
        raise ConfigError(f"{path}{line} cannot be read as YAML: {error}") from None
    if not isinstance(raw, dict):
        raise ConfigError(f"{path} must hold keys and values, for example `sources: [crawl.warc.gz]`")
    return raw
