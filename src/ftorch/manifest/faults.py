"""Pydantic's findings as faults: in plain words, at the user's own key and line, with a suggestion where one helps."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from ftorch.core.errors import Fault
from ftorch.core.suggest import did_you_mean
from ftorch.manifest.foreign import unknown_key

Where = tuple[str | int, ...]

_TYPES: Mapping[str, str] = {
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "string_type": "text",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "dict_type": "a block of keys",
    "model_type": "a block of keys",
    "mapping_type": "a block of keys",
    "tuple_type": "a list",
    "list_type": "a list",
    "model_attributes_type": "a block of keys",
}
_SENTENCES: Mapping[str, str] = {
    "missing": "is required",
    "string_too_short": "must not be empty",
    "union_tag_not_found": "needs a type: sft or dpo",
}
_YAML_WORDS: Mapping[bool | None, str] = {None: "null", True: "true", False: "false"}
_BOUNDS: Mapping[str, tuple[str, str]] = {
    "greater_than": ("must be greater than", "gt"),
    "greater_than_equal": ("must be at least", "ge"),
    "less_than": ("must be less than", "lt"),
    "less_than_equal": ("must be at most", "le"),
}


def faults_of(
    error: ValidationError, model: type[BaseModel], file: str, line_of: Callable[[Where], int | None]
) -> list[Fault]:
    """Every finding once, in the order of the lines."""
    found: dict[tuple[str, str], Fault] = {}
    for detail in error.errors(include_url=False):
        where = _where(model, detail)
        fault = Fault(_words(detail, where, model), file=file, line=line_of(where), key=dotted(where) or None)
        found.setdefault((fault.key or "", fault.message), fault)
    return sorted(found.values(), key=lambda fault: (fault.line or 0, fault.key or ""))


def _where(model: type[BaseModel], detail: ErrorDetails) -> Where:
    if detail["type"] == "extra_forbidden":
        # The last part is the user's own key, also where it looks like one of pydantic's names: `str`, `v[x`.
        return (*users_path(model, detail["loc"][:-1]), detail["loc"][-1])
    return users_path(model, detail["loc"])


def dotted(where: Where) -> str:
    """`method.lora.rank`, `resources.gpu[1]`."""
    text = ""
    for part in where:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def users_path(model: type[BaseModel], loc: Where) -> Where:
    """The path as the user wrote it: pydantic also names the member of a union that it tried."""
    path: list[str | int] = []
    choices: list[Any] = [model]
    for part in loc:
        if isinstance(part, int):
            path.append(part)
            choices = [inner for choice in choices for inner in _members(_arguments(choice))]
            continue
        fields = {name: info for choice in choices for name, info in _fields(choice).items()}
        if part in fields:
            path.append(part)
            choices = _members([fields[part]])
        elif not _is_member_name(part, choices):
            path.append(part)
            choices = []
    return tuple(path)


def allowed_at(model: type[BaseModel], where: Where) -> list[str]:
    """The keys that may stand where an unknown one was found."""
    choices: list[Any] = [model]
    for part in where:
        if isinstance(part, int):
            choices = [inner for choice in choices for inner in _members(_arguments(choice))]
        else:
            choices = _members([fields[part] for choice in choices if part in (fields := _fields(choice))])
    return sorted({name for choice in choices for name in _fields(choice)})


def _words(detail: ErrorDetails, where: Where, model: type[BaseModel]) -> str:
    kind, context, value = detail["type"], detail.get("ctx", {}), detail["input"]
    if kind == "extra_forbidden":
        return unknown_key(str(where[-1]), allowed_at(model, where[:-1]))
    if kind in _SENTENCES:
        return _SENTENCES[kind]
    if kind in _TYPES:
        return f"must be {_TYPES[kind]}, not {_shown(value)}"
    if kind in _BOUNDS:
        words, name = _BOUNDS[kind]
        return f"{words} {context[name]:.15g}, not {_shown(value)}"
    if kind in ("literal_error", "enum"):
        return _not_one_of(value, str(context["expected"]))
    if kind == "union_tag_invalid":
        return f"type must be sft or dpo, not {_shown(context.get('tag'))}"
    if kind == "value_error":
        return str(context["error"])
    if kind == "string_pattern_mismatch":
        return _pattern_words(where, value)
    return f"{detail['msg'][:1].lower()}{detail['msg'][1:]}, not {_shown(value)}"


def _not_one_of(value: object, expected: str) -> str:
    choices = [word.strip(" '") for word in expected.replace(" or ", ",").split(",")]
    suggestion = did_you_mean(str(value), choices) if isinstance(value, str) else ""
    return f"must be {expected}, not {_shown(value)}{suggestion}"


def _pattern_words(where: Where, value: object) -> str:
    if where[:1] == ("secrets",) or where[-1:] == ("url",):
        # The value may be the secret itself: it is not repeated.
        return "must name a place such as env:HF_TOKEN, never the secret itself"
    return f"must be lower-case letters, digits and inner dashes, at most 63, not {_shown(value)}"


def _shown(value: object) -> str:
    """The value as YAML and TOML write it."""
    text = _YAML_WORDS[value] if value is None or isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _fields(choice: Any) -> dict[str, Any]:
    if isinstance(choice, type) and issubclass(choice, BaseModel):
        return {name: info.annotation for name, info in choice.model_fields.items()}
    return {}


def _members(hints: Iterable[Any]) -> list[Any]:
    """The types that a hint may stand for, unions and annotations opened."""
    found: list[Any] = []
    for hint in hints:
        origin = get_origin(hint)
        if origin in (types.UnionType, Union):
            found += _members(get_args(hint))
        elif origin is Annotated:
            found += _members(get_args(hint)[:1])
        else:
            found.append(hint)
    return found


def _arguments(choice: Any) -> tuple[Any, ...]:
    return tuple(argument for argument in get_args(choice) if argument is not Ellipsis)


def _is_member_name(part: str, choices: Iterable[Any]) -> bool:
    """True for `sft`, `HeldOutFile`, `function-before[...]`, `tuple[str, ...]`: names of members, not of keys."""
    names = {getattr(choice, "__name__", "").lower() for choice in choices}
    return part.lower() in names or "[" in part or part in ("str", "int", "float", "bool", "literal")
