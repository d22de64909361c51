"""Makes a config's dataclass from what its YAML says, or says in one sentence which key is wrong and what it wants.

A config is a tree of dataclasses, whose annotations say what each key may be: True or False, numbers, texts, `Literal`,
lists (`tuple`, `list`), mappings (`dict`, `Mapping`), other dataclasses (sections), unions of these, and `Any`. Keys
that no annotation names are refused. What an annotation cannot say, a dataclass checks in its `__post_init__`.
"""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml

T = TypeVar("T")
_SCALARS: dict[Any, tuple[str, str, Any]] = {  # type -> one of it, several, an example
    int: ("a whole number", "whole numbers", 1000),
    float: ("a number", "numbers", 0.5),
    str: ("a text", "texts", "name"),
    bool: ("true or false", "true or false", True),
}
_UNSET: Any = object()


class ConfigValueError(ValueError):
    """A key or value of a config is wrong; the message is a sentence, on one line, that names the key and the fix."""

    def __init__(self, message: str):
        super().__init__(" ".join(message.split()))


def checked_config(kind: type[T], raw: Any) -> T:
    """Return the config of a mapping, as YAML has it.

    A number may be a text that is one, for YAML reads 5e-4 as a text; a section of nothing but comments is empty.

    Args:
        kind: a dataclass.
    Raises:
        ConfigValueError: a key is unknown, missing, or has a value that it cannot have.
    """
    config: T = _Check(kind).value(kind, raw, ())
    return config


class _Check:
    """Checks the values of one config.

    Args:
        root: its dataclass, in which the key that was meant by an unknown one is looked for.
    """

    def __init__(self, root: Any):
        self._root = root

    def value(self, hint: Any, raw: Any, where: tuple[str, ...], example: Any = _UNSET) -> Any:
        """What a key's value comes to.

        Args:
            hint: the key's annotation.
            where: the key, as the names on the way to it.
            example: its default, if that shows what it may be.
        """
        origin, inner = get_origin(hint), get_args(hint)
        if hint is Any:
            return raw
        if origin in (Union, types.UnionType):
            return self._union(hint, raw, where, example)
        if origin is Literal:
            if any(raw == choice and type(raw) is type(choice) for choice in inner):
                return raw
        elif origin in (tuple, list):
            if isinstance(raw, (list, tuple)) and (origin is list or inner[-1] is ... or len(inner) == len(raw)):
                kinds = inner if origin is tuple and inner[-1] is not ... else inner[:1] * len(raw)
                pairs = enumerate(zip(kinds, raw, strict=True))
                return origin([self.value(kind, item, (*where, str(place))) for place, (kind, item) in pairs])
        elif _is_mapping(origin):
            if isinstance(raw, Mapping):
                return {
                    self._name(hint, name, where): self.value(inner[1], item, (*where, str(name)))
                    for name, item in raw.items()
                }
        elif is_dataclass(hint):
            if isinstance(raw, typing.cast(type, hint)):
                return raw
            if isinstance(raw, Mapping) or raw is None:
                return self._section(hint, raw or {}, where)
        elif (scalar := _scalar(hint, raw)) is not _UNSET:
            return scalar
        raise _wrong_type(hint, raw, where, example)

    def _section(self, kind: Any, raw: Mapping[Any, Any], where: tuple[str, ...]) -> Any:
        """A dataclass of the keys of a mapping."""
        known = {item.name: item for item in fields(kind)}
        if unknown := [str(key) for key in raw if key not in known]:
            raise ConfigValueError(
                f"there is no key {'.'.join((*where, unknown[0]))}; {self._suggest_key(unknown[0], list(known))}"
            )
        values = {}
        for name, item in known.items():
            if name in raw:
                shows = item.default not in (MISSING, None, (), "")
                example = item.default if shows else _UNSET
                values[name] = self.value(_annotations(kind)[name], raw[name], (*where, name), example)
            elif item.default is MISSING and item.default_factory is MISSING:
                raise ConfigValueError(f"the key {'.'.join((*where, name))} is missing")
        try:
            return kind(**values)
        except ValueError as error:
            raise ConfigValueError(f"{'.'.join(where)}: {error}" if where else str(error)) from None

    def _union(self, hint: Any, raw: Any, where: tuple[str, ...], example: Any) -> Any:
        """A value of one of several types: of the one that it has already, else of the first that it can be made."""
        options = get_args(hint)
        fitting = [option for option in options if _has_type(option, raw)]
        if len(fitting) == 1:
            return None if raw is None else self.value(fitting[0], raw, where, example)
        for option in fitting or options:
            try:
                return self.value(option, raw, where, example)
            except ConfigValueError:
                continue
        raise _wrong_type(hint, raw, where, example)

    def _name(self, hint: Any, name: Any, where: tuple[str, ...]) -> Any:
        """A name in a mapping."""
        of_names = get_args(hint)[0]
        if get_origin(of_names) is Literal and name not in get_args(of_names):
            known = [str(item) for item in get_args(of_names)]
            raise ConfigValueError(
                f"there is no key {'.'.join((*where, str(name)))}; {_suggest_nearest(str(name), known)}"
            )
        if of_names is str and not isinstance(name, str):
            raise ConfigValueError(f"{'.'.join(where)} must be {type_in_words(hint)}, whose name {name!r} is no text")
        return name

    def _suggest_key(self, unknown: str, here: list[str]) -> str:
        """A hint at the key that was meant: one of this section, else one of that name in another."""
        elsewhere = dict(_keys(self._root))
        if unknown in elsewhere:
            return f"did you mean {elsewhere[unknown]}?"
        if near := difflib.get_close_matches(unknown, here, n=1, cutoff=0.8):
            return f"did you mean {near[0]}?"
        if near := difflib.get_close_matches(unknown, elsewhere, n=1, cutoff=0.8):
            return f"did you mean {elsewhere[near[0]]}?"
        return _suggest_nearest(unknown, here)


def _suggest_nearest(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean {near[0]}?" if near else f"known keys: {', '.join(known)}"


def _keys(kind: Any, above: str = "") -> Iterator[tuple[str, str]]:
    """(name, place) of all keys of a dataclass and of its sections."""
    for item in fields(kind):
        hint = _annotations(kind)[item.name]
        if is_dataclass(hint):
            yield from _keys(hint, f"{above}{item.name}.")
        yield item.name, f"{above}{item.name}"


@cache
def _annotations(kind: Any) -> dict[str, Any]:
    """The annotations of a dataclass's keys, evaluated."""
    return get_type_hints(kind)


def _is_mapping(origin: Any) -> bool:
    return origin in (dict, Mapping, typing.Mapping)


def _has_type(hint: Any, raw: Any) -> bool:
    """Whether a value is of a type as it stands."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Literal:
        return raw in inner
    if origin in (tuple, list):
        return isinstance(raw, (tuple, list))
    if _is_mapping(origin) or is_dataclass(hint):
        return isinstance(raw, Mapping) or (is_dataclass(hint) and isinstance(raw, typing.cast(type, hint)))
    return type(raw) is hint


def _scalar(hint: Any, raw: Any) -> Any:
    """A value as a text, number, or True or False; _UNSET if it is none of that kind."""
    if hint in (str, bool):
        return raw if isinstance(raw, hint) else _UNSET
    if hint in (int, float) and isinstance(raw, (int, float, str)) and not isinstance(raw, bool):
        try:
            if hint is int and isinstance(raw, str) and raw.strip().lstrip("+-").isdecimal():
                return int(raw)  # of any length
            if isinstance(raw, hint):
                return raw
            number = float(raw)
        except (ValueError, OverflowError):
            return _UNSET
        if hint is float:
            return number
        return int(number) if number.is_integer() else _UNSET
    return _UNSET


def _wrong_type(hint: Any, raw: Any, where: tuple[str, ...], example: Any) -> ConfigValueError:
    key = ".".join(where) or "the config"
    shown = _example(hint) if example is _UNSET else example
    return ConfigValueError(f"{key} must be {type_in_words(hint)}, such as {_yaml(shown)}, not {_yaml(raw)}")


def type_in_words(hint: Any) -> str:
    """Return a key's type in words: `a list of texts` for `tuple[str, ...]`."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys("empty" if part is type(None) else type_in_words(part) for part in inner))
    if origin is Literal:
        return f"one of {', '.join(map(str, inner))}" if len(inner) > 1 else str(inner[0])
    if origin in (tuple, list):
        count = f"{len(inner)} " if origin is tuple and inner[-1] is not ... else ""
        return f"a list of {count}{_plural(inner[0])}"
    if _is_mapping(origin):
        return f"a mapping of names to {_plural(inner[1])}"
    if is_dataclass(hint):
        return "a section of keys"
    return _SCALARS.get(hint, ("another value", "", None))[0]


def _plural(hint: Any) -> str:
    if is_dataclass(hint):
        return "sections"
    return _SCALARS[hint][1] if hint in _SCALARS else f"values, each {type_in_words(hint)}"


def _example(hint: Any) -> Any:
    """A value of a type."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _example(next(part for part in inner if part is not type(None)))
    if origin is Literal:
        return inner[0]
    if origin in (tuple, list):
        return [_example(part) for part in inner if part is not ...]
    if _is_mapping(origin):
        return {"name": _example(inner[1])}
    if is_dataclass(hint):
        first = fields(typing.cast(Any, hint))[0]
        return {first.name: _example(_annotations(typing.cast(Any, hint))[first.name])}
    return _SCALARS.get(hint, ("", "", "value"))[2]


def _yaml(value: Any) -> str:
    """A value as the config writes it, on one line."""
    plain = list(value) if isinstance(value, tuple) else value
    try:
        text = yaml.safe_dump(plain, default_flow_style=True, allow_unicode=True, width=10_000)
    except yaml.YAMLError:
        return repr(value)
    return text.removesuffix("...\n").strip()


def require(holds: bool, key: str, expected: str, value: object) -> None:
    """Raise ValueError, with a sentence, unless a key's value is as expected; for a dataclass's `__post_init__`."""
    if not holds:
        raise ValueError(f"{key} must be {expected}, not {value!r}")
