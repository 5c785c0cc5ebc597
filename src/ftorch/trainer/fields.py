"""JSON into frozen dataclasses: every key known, every value of its type, every error with its key.

The trainer runs where pydantic may not be installed, and two specs need no library.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from ftorch.trainer.errors import SpecError, did_you_mean

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Rule:
    """A limit on a value, with the words that name it."""

    words: str
    holds: Callable[[Any], bool]


def at_least(low: float) -> Rule:
    return Rule(f"at least {low:g}", lambda value: value >= low)


def above(low: float) -> Rule:
    return Rule(f"above {low:g}", lambda value: value > low)


def below(high: float) -> Rule:
    return Rule(f"below {high:g}", lambda value: value < high)


def read(kind: type[T], value: object, key: str = "") -> T:
    """Build `kind` from a JSON object. Raises SpecError that names the key."""
    if not isinstance(value, Mapping):
        raise SpecError(f"{key or 'the spec'} is not an object")
    hints = get_type_hints(kind, include_extras=True)
    for name in value:
        if name not in hints:
            raise SpecError(f"{_join(key, name)}: not a known key{did_you_mean(name, hints)}")
    for name in _required(kind):
        if name not in value:
            raise SpecError(f"{_join(key, name)}: missing")
    return kind(**{name: _convert(hints[name], item, _join(key, name)) for name, item in value.items()})


def _required(kind: type) -> list[str]:
    return [f.name for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING]


def _join(key: str, name: object) -> str:
    return f"{key}.{name}" if key else str(name)


def _convert(hint: Any, value: object, key: str) -> Any:
    if get_origin(hint) is Annotated:
        return _ruled(hint, value, key)
    if get_origin(hint) in (Union, UnionType):
        return _either(hint, value, key)
    if is_dataclass(hint) and isinstance(hint, type):
        return read(hint, value, key)
    try:
        return _plain(hint, value)
    except TypeError as error:
        raise SpecError(f"{key}: expected {_words(hint)}, not {value!r}") from error


def _ruled(hint: Any, value: object, key: str) -> Any:
    base, *rules = get_args(hint)
    converted = _convert(base, value, key)
    for rule in rules:
        if not rule.holds(converted):
            raise SpecError(f"{key}: {value!r} is not {rule.words}")
    return converted


def _either(hint: Any, value: object, key: str) -> Any:
    choices = [choice for choice in get_args(hint) if choice is not NoneType]
    if value is None and NoneType in get_args(hint):
        return None
    if len(choices) == 1:
        return _convert(choices[0], value, key)
    for choice in choices:
        try:
            return _convert(choice, value, key)
        except SpecError:
            continue
    raise SpecError(f"{key}: expected {_words(hint)}, not {value!r}")


def _plain(hint: Any, value: object) -> Any:
    origin = get_origin(hint)
    if origin is Literal and value in get_args(hint) and not isinstance(value, bool):
        return value
    if origin is tuple and isinstance(value, list):
        return tuple(_plain(get_args(hint)[0], item) for item in value)
    if origin is dict and isinstance(value, Mapping):
        return {name: _convert(get_args(hint)[1], item, name) for name, item in value.items()}
    if hint is bool and isinstance(value, bool):
        return value
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    if hint in (int, str) and isinstance(value, hint) and not isinstance(value, bool):
        return value
    raise TypeError


def _words(hint: Any) -> str:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return " or ".join(_words(choice) for choice in arguments)
    if origin is Literal:
        return " or ".join(repr(choice) for choice in arguments)
    if origin is tuple:
        return "a list of text"
    if origin is dict:
        return "an object"
    return {int: "a whole number", float: "a number", str: "text", bool: "true or false", NoneType: "null"}[hint]
