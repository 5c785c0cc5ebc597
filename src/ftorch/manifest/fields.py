"""The field types that manifests, settings and plans share."""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal
from math import isfinite
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema

from ftorch.core.money import Money, exact

_DURATION = re.compile(r"^(?P<number>[0-9]+)(?P<unit>[smhd])$")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


class Frozen(BaseModel):
    """A value read from text: no unknown key, no change afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, str_strip_whitespace=True)


def _money(value: object) -> Money:
    match value:
        case Money():
            return value
        case str():
            return Money.parse(value)
        case {"amount": str(amount), "currency": "USD"}:
            return Money(Decimal(amount))
        case bool() | None:
            raise ValueError("must be an amount such as 25.00 USD")
        case int() | float() if isfinite(value):
            raise ValueError(f"{value!r} has no currency; write it as {value} USD")
        case _:
            raise ValueError(f"must be an amount such as 25.00 USD, not {value!r}")


def _duration(value: object) -> timedelta:
    if isinstance(value, timedelta):
        return value
    found = _DURATION.match(value) if isinstance(value, str) else None
    if not found:
        raise ValueError(f"{value!r} is not a duration; write a number and s, m, h or d, such as 4h")
    return timedelta(seconds=int(found["number"]) * _SECONDS[found["unit"]])


def _no_truth(value: object, wanted: str) -> None:
    # Pydantic would count true as 1. It collects ValueError only.
    if isinstance(value, bool):
        raise ValueError(f"must be {wanted}, not {str(value).lower()}")  # noqa: TRY004


def _number(value: object) -> object:
    """PyYAML reads `1e-4` (no dot) as a string: read it as the number it is."""
    _no_truth(value, "a number")
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _whole(value: object) -> object:
    _no_truth(value, "a whole number")
    return value


def _finite(value: float) -> float:
    if not isfinite(value):
        raise ValueError(f"must be a finite number, not {value}")
    return value


def _duration_text(value: timedelta) -> str:
    return f"{int(value.total_seconds())}s"


Amount = Annotated[
    Money,
    BeforeValidator(_money),
    PlainSerializer(lambda money: f"{exact(money.amount)} {money.currency}", return_type=str),
    WithJsonSchema({"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)? USD$", "examples": ["25.00 USD"]}),
]
"""Money as text with its currency: `25.00 USD`."""

Duration = Annotated[
    timedelta,
    BeforeValidator(_duration),
    PlainSerializer(_duration_text, return_type=str),
    WithJsonSchema({"type": "string", "pattern": "^[0-9]+[smhd]$", "examples": ["4h"]}),
]
"""A span of time as text: `90s`, `30m`, `4h`, `2d`."""

Number = Annotated[float, BeforeValidator(_number), AfterValidator(_finite)]
"""A real number, also in the `1e-4` spelling that YAML 1.1 does not know. Never infinite, never nan."""

Whole = Annotated[int, BeforeValidator(_whole)]
"""A whole number; true and false are none."""

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,61}[a-z0-9]$|^[a-z0-9]$")]
"""Lower-case letters, digits and inner dashes, at most 63: fits every provider's label rules."""

SecretPlace = Annotated[str, Field(pattern=r"^env:[A-Za-z_][A-Za-z0-9_]*$")]
"""Where a secret is found, never its value: `env:HF_TOKEN`."""

Json = Any
"""A value as JSON has it; each provider reads its own options."""
