"""What all routes share: whose token it is, results and pages of them."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Sequence
from typing import TypeVar

from ftorch.emulators.anyscale.accounts import ACCOUNTS, Account
from ftorch.emulators.anyscale.service import Service
from ftorch.emulators.server import RefusedError, Reply, Request, json_reply

_TOKEN = re.compile(r"(?:^|;\s*)cli_token=([^;]*)")
_Value = TypeVar("_Value")
Handler = Callable[[Service, Request, str], Reply]


def token(request: Request) -> str:
    """What the SDK sends in a cookie."""
    found = _TOKEN.search(request.headers.get("cookie", ""))
    return found[1] if found else ""


def account(request: Request) -> Account:
    return ACCOUNTS[token(request)]


def organisation(request: Request) -> str:
    return account(request).organisation


def result(value: object) -> Reply:
    return json_reply({"result": value})


def page(found: Sequence[_Value], view: Callable[[_Value], object], count: int, after: str | None) -> Reply:
    """A page of a list, and where the next one begins."""
    first = place(after)
    shown = found[first : first + count]
    last = first + len(shown)
    metadata = {"total": len(found), "next_paging_token": after_token(last) if last < len(found) else None}
    return json_reply({"results": [view(one) for one in shown], "metadata": metadata})


def place(after: str | None) -> int:
    try:
        return int(base64.urlsafe_b64decode(after)) if after else 0
    except (binascii.Error, ValueError) as error:
        raise RefusedError(400, "invalid", "Invalid paging token") from error


def after_token(last: int) -> str:
    """Where the next page begins, in a form that nobody reads anything into."""
    return base64.urlsafe_b64encode(str(last).encode()).decode()
