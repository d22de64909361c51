"""What is wrong with a config, in one sentence that names the key, says what is wanted and gives an example."""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import yaml
from pydantic import ValidationError


class ConfigError(ValueError):
    """The config cannot be run; the message is one sentence that names the key and the fix."""


_UNKNOWN = ("unexpected_keyword_argument", "extra_forbidden")
_SCALARS = {
    int: ("a whole number", 1000),
    float: ("a number", 0.5),
    str: ("a text", "name"),
    bool: ("true or false", True),
}


def sentence(error: ValidationError, owner: type) -> str:
    """The first problem of a config's validation, as one sentence that names the key. owner: the config's dataclass."""
    problem = error.errors()[0]
    where = [str(part) for part in problem["loc"]]
    key = _spelling(owner, where) or "the config"
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] in _UNKNOWN:
        known = _keys(owner, where[:-1])
        near = difflib.get_close_matches(where[-1], known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else f"known keys: {', '.join(known)}"
        return f"there is no key {key}; {hint}"
    if problem["type"] in ("missing", "missing_argument"):
        return f"the key {key} is missing"
    if problem["type"] == "value_error":
        return f"{key}: {message}" if where else message
    hint, example = _declared(owner, where)
    return f"{key} must be {wanted(hint)}, such as {_yaml(example)}, not {_yaml(problem['input'])}"


def wanted(hint: Any) -> str:
    """A key's type in words: `a list of texts` for `tuple[str, ...]`."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys("empty" if part is type(None) else wanted(part) for part in inner))
    if origin is Literal:
        return f"one of {', '.join(map(str, inner))}"
    if origin in (tuple, list):
        return f"a list of {_plural(inner[0])}"
    if origin in (dict, Mapping, typing.Mapping):
        return f"a mapping of names to {_plural(inner[1])}"
    if is_dataclass(hint):
        return "a section of keys"
    return _SCALARS.get(hint, ("another value", None))[0]


def _plural(hint: Any) -> str:
    if is_dataclass(hint):
        return "sections"
    named = {int: "whole numbers", float: "numbers", str: "texts", bool: "true or false"}
    return named.get(hint) or f"values, each {wanted(hint)}"


def _example(hint: Any) -> Any:
    """A value of a type."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _example(next(part for part in inner if part is not type(None)))
    if origin is Literal:
        return inner[0]
    if origin in (tuple, list):
        return [_example(inner[0])]
    if origin in (dict, Mapping, typing.Mapping):
        return {"name": _example(inner[1])}
    if is_dataclass(hint):
        first = fields(hint)[0]
        return {first.name: _example(get_type_hints(hint)[first.name])}
    return _SCALARS.get(hint, ("", "value"))[1]


def _declared(owner: Any, where: Sequence[str]) -> tuple[Any, Any]:
    """The type of a key and a value that it may have: its default where that shows one, else any of its type."""
    hint: Any = owner
    example: Any = None
    for part in where:
        section = _section(hint)
        if _is_part_of_union(hint, part):
            break
        if section is not None and part in (item.name for item in fields(section)):
            hint = get_type_hints(section)[part]
            default = next(item.default for item in fields(section) if item.name == part)
            example = None if default in (MISSING, None, (), "") else default
        elif _inner(hint, part) is not None:
            hint, example = _inner(hint, part), None
        else:
            break
    return hint, _example(hint) if example is None else example


def _inner(hint: Any, part: str) -> Any:
    """The type of a list's item or of a mapping's value; None for any other type, or a part that names neither."""
    for option in (hint, *(get_args(hint) if get_origin(hint) in (Union, types.UnionType) else ())):
        origin, inner = get_origin(option), get_args(option)
        if origin in (tuple, list) and part.isdigit():
            return inner[0]
        if origin in (dict, Mapping, typing.Mapping):
            return inner[1]
    return None


def _section(hint: Any) -> Any:
    """The dataclass that a type is, or may be; None if it is none."""
    options = (hint, *(get_args(hint) if get_origin(hint) in (Union, types.UnionType) else ()))
    return next((option for option in options if is_dataclass(option)), None)


def _spelling(owner: Any, where: Sequence[str]) -> str:
    """A key as a person writes it: `filters.0.name`, without what pydantic adds to name the parts of a union."""
    words: list[str] = []
    hint: Any = owner
    for part in where:
        section = _section(hint)
        if _is_part_of_union(hint, part):
            break
        if section is not None:
            words.append(part)
            hint = get_type_hints(section).get(part)
        elif (inner := _inner(hint, part)) is not None:
            words.append(part)
            hint = inner
        else:
            break
    return ".".join(words)


def _is_part_of_union(hint: Any, part: str) -> bool:
    """Whether a part of a problem's place is what pydantic calls one type of several, such as `tuple[str, ...]`."""
    names = ("str", "int", "float", "bool", "none", "tuple", "list", "dict", "function-after")
    return get_origin(hint) in (Union, types.UnionType) and part.split("[")[0].split("(")[0] in names


def _keys(owner: Any, path: Sequence[str]) -> list[str]:
    """The keys that a section of the config knows."""
    hint: Any = owner
    for part in path:
        section = _section(hint)
        hint = get_type_hints(section).get(part) if section is not None else _inner(hint, part) or hint
    section = _section(hint)
    return [item.name for item in fields(section)] if section is not None else []


def _yaml(value: Any) -> str:
    """A value as the config writes it, on one line."""
    plain = list(value) if isinstance(value, tuple) else value
    try:
        text = yaml.safe_dump(plain, default_flow_style=True, allow_unicode=True, width=10_000)
    except yaml.YAMLError:
        return repr(value)
    return text.removesuffix("...\n").strip()
