"""What a request brings, by its schema: for emulators that let through only what their service does."""

from __future__ import annotations

from typing import TypeVar

from pydantic import BaseModel, ValidationError

from ftorch.emulators.server import Request

_Asked = TypeVar("_Asked", bound=BaseModel)


class NotAllowedError(Exception):
    """A request that its schema does not allow."""


def query(request: Request, schema: type[_Asked]) -> _Asked:
    return value(dict(request.query), schema)


def body(request: Request, schema: type[_Asked]) -> _Asked:
    try:
        return schema.model_validate_json(request.body)
    except ValidationError as error:
        raise _not_allowed(error) from error


def value(found: object, schema: type[_Asked]) -> _Asked:
    """Of what is no JSON: a form, or a query with names that come twice."""
    try:
        return schema.model_validate(found)
    except ValidationError as error:
        raise _not_allowed(error) from error


def _not_allowed(error: ValidationError) -> NotAllowedError:
    """Where and why; the values are left out, for secrets may be among them."""
    found = (f"{'.'.join(str(part) for part in one['loc'])}: {one['msg']}" for one in error.errors())
    return NotAllowedError("; ".join(found))
