"""`wit new`: a config file to start from, with every key, its default, and what it means.

What the model config sets stands in the file; every other key stands there as a comment, so that a person changes a run
by taking a `#` away.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

import yaml

from filters.queries.build import QueriesConfig
from pipeline.config import Config, to_builtins
from pipeline.config_errors import ConfigError
from pipeline.config_files import carried_names, find, read_yaml, with_presets
from pipeline.experiment.config import ExperimentConfig
from train.config import TrainConfig, in_sections

_WIDTH = 110
_COMMANDS = {
    Config: "wit run",
    TrainConfig: "wit train",
    QueriesConfig: "wit queries build",
    ExperimentConfig: "wit experiment",
}


def write(name: str, like: str = "archive") -> Path:
    """Write NAME.yaml, a config like one that openwit carries.

    Args:
        name: the new file, with or without `.yaml`; its stem becomes the run's name.
        like: the name of a carried config (`pipeline.config_files.carried_names`), or any config's path.

    Raises:
        ConfigError: the file is there already, or there is no such model.
    """
    path = Path(name if name.endswith((".yaml", ".yml")) else f"{name}.yaml")
    if path.exists():
        raise ConfigError(f"{path} is there already; choose another name, or remove it first")
    if not path.parent.is_dir():
        raise ConfigError(f"the folder {path.parent} is not there; make it first")
    path.write_text(text(path.stem, str(path), like), encoding="utf-8")
    return path


def text(name: str, file: str, like: str) -> str:
    """Return the new file's content. file: its path, as the commands in it show it. Raises ConfigError."""
    try:
        raw = with_presets(read_yaml(like))
    except ConfigError as error:
        raise ConfigError(f"{error}; there are {', '.join(carried_names())}") from None
    owner = _owner(raw)
    raw = in_sections(raw) if owner is TrainConfig else raw
    if "name" in {field.name for field in fields(owner)}:
        raw["name"] = name
    if owner in (Config, QueriesConfig):  # a training run's folder follows from its dataset and name
        raw["out"] = f"out/{name}" if owner is Config else f"{name}.parquet"
    commands_own = {key: value for key, value in raw.items() if key not in {field.name for field in fields(owner)}}
    lines = [
        f"# {_COMMANDS[owner]} {file}",
        "#",
        f"# It began as {find(like).stem}. A key behind a # has the default shown; take the # away to change it.",
        "",
        *(f"{key}: {_flow(value)}" for key, value in commands_own.items()),
        *_section(owner, raw, indent=""),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _owner(raw: Mapping[str, Any]) -> Any:
    """The dataclass of a config's keys, of the four kinds the one that knows the most of them."""
    if "dataset" in raw:
        return TrainConfig
    return max(_COMMANDS, key=lambda owner: len({field.name for field in fields(owner)} & set(raw)))


def _section(owner: Any, raw: Mapping[str, Any], indent: str) -> Iterator[str]:
    """The lines of a dataclass's keys: those in `raw` as they are there, the others behind a #."""
    documented = docs(owner)
    hints = get_type_hints(owner)
    for item in fields(owner):
        hint = hints[item.name]
        if is_dataclass(hint):
            yield ""
            yield from _prose((inspect.getdoc(hint) or "").split("\n\n")[0], indent)
            below = list(_section(hint, raw.get(item.name) or {}, indent + "  "))
            if item.name in raw:
                yield f"{indent}{item.name}:"
                yield from below
            else:
                yield f"{indent}#{item.name}:"
                yield from (_comment_out(line) for line in below)
            continue
        yield from _prose(documented.get(item.name, ""), indent)
        mark = "" if item.name in raw else "#"
        value = to_builtins(raw[item.name]) if item.name in raw else _default(item)
        yield f"{indent}{mark}{item.name}: {_flow(value)}"


def _comment_out(line: str) -> str:
    """A line of a section that is itself behind a #. Its keys have lost their own #, its prose keeps it."""
    return re.sub(r"^(\s*)#(?! )", r"#\1", line) if line.strip() else "#"


def _prose(doc: str, indent: str) -> Iterator[str]:
    for line in textwrap.wrap(" ".join(doc.split()), _WIDTH - len(indent), break_on_hyphens=False):
        yield f"{indent}# {line}"


def _default(item: Field[Any]) -> Any:
    if item.default is not MISSING:
        return to_builtins(item.default)
    return to_builtins(item.default_factory()) if item.default_factory is not MISSING else None


def _flow(value: Any) -> str:
    """A value on one line of YAML."""
    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, sort_keys=False, width=10_000)
    return text.removesuffix("...\n").strip()


def docs(owner: type) -> dict[str, str]:
    """Return what a dataclass's source says below each of its keys."""
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(owner))).body
    assert isinstance(tree, ast.ClassDef)
    doc_of: dict[str, str] = {}
    for statement, after in zip(tree.body, tree.body[1:], strict=False):
        if (
            isinstance(statement, ast.AnnAssign)
            and isinstance(statement.target, ast.Name)
            and isinstance(after, ast.Expr)
            and isinstance(after.value, ast.Constant)
            and isinstance(after.value.value, str)
        ):
            doc_of[statement.target.id] = after.value.value
    return doc_of
