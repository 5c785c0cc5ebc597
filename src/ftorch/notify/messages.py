"""A notice as a request: a webhook signed as standardwebhooks.com says, or a message for Slack. Pure."""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Any
from urllib.parse import urlsplit

from ftorch.core.clock import rfc3339
from ftorch.core.errors import CredentialsError, UsageError
from ftorch.core.net import is_loopback
from ftorch.manifest.notify import Notify
from ftorch.store.schedule_rows import NoticeRow

_PREFIX = "whsec_"
_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
_MARKS = {"failed": ":x:", "unknown": ":question:", "over_budget": ":moneybag:", "refused": ":no_entry:"}


@dataclass(frozen=True, slots=True)
class Message:
    """What is sent. The address and the headers are secrets."""

    url: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    content: bytes


def message(channel: Notify, notice: NoticeRow, env: Mapping[str, str], now: datetime) -> Message:
    """The request for one attempt. Raises CredentialsError where a variable is not set, UsageError for an address."""
    url = _checked(_secret(channel.url, channel, env), channel)
    if channel.type == "slack":
        return Message(url, {"content-type": "application/json"}, json.dumps(_slack(notice)).encode())
    content = json.dumps(payload(notice), ensure_ascii=False).encode()
    assert channel.secret is not None
    headers = signed(notice.id, content, _secret(channel.secret, channel, env), now)
    return Message(url, {"content-type": "application/json", **headers}, content)


def payload(notice: NoticeRow) -> dict[str, Any]:
    """The body of a webhook."""
    return {
        "type": f"ftorch.{notice.kind}",
        "timestamp": rfc3339(notice.at),
        "data": {"id": notice.id, **json.loads(notice.body)},
    }


def signed(notice_id: str, content: bytes, secret: str, now: datetime) -> dict[str, str]:
    """The headers by which a receiver knows that it was us, and that this is no old message sent again.

    HMAC-SHA256 over `id.timestamp.body`. The id is the same in every attempt: by it a receiver drops what it has.
    """
    stamp = str(int(now.timestamp()))
    told = b".".join((notice_id.encode(), stamp.encode(), content))
    digest = base64.b64encode(hmac.digest(_key(secret), told, sha256)).decode()
    return {"webhook-id": notice_id, "webhook-timestamp": stamp, "webhook-signature": f"v1,{digest}"}


def secrets_of(channel: Notify, env: Mapping[str, str]) -> set[str]:
    """The values that no log may show."""
    places = [channel.url, *([channel.secret] if channel.secret else [])]
    return {env[name] for place in places if (name := place.removeprefix("env:")) in env}


def _key(secret: str) -> bytes:
    if not secret.startswith(_PREFIX):
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except ValueError as error:
        raise UsageError("the secret begins with whsec_ and is not base64 after it", hint="copy it again") from error


def _secret(place: str, channel: Notify, env: Mapping[str, str]) -> str:
    name = place.removeprefix("env:")
    if not env.get(name):
        raise CredentialsError(f"{channel.name}: {name} is not set", hint=f"set {name} where the daemon runs")
    return env[name]


def _checked(url: str, channel: Notify) -> str:
    """News of money goes in the clear over the loopback alone. The address itself is not shown: it is a secret."""
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme == "https" and parts.hostname:
        return url
    if parts.scheme == "http" and parts.hostname and is_loopback(parts.hostname):
        return url
    raise UsageError(f"{channel.name}: the address is not an https:// URL", hint="http:// is for 127.0.0.1 alone")


def _slack(notice: NoticeRow) -> dict[str, str]:
    body = json.loads(notice.body)
    lines = [f"{_MARKS.get(notice.kind, ':information_source:')} *{_plain(body['title'])}*"]
    lines += [_plain(line) for line in (body["text"], dollars_words(body["dollars"])) if line]
    lines += [f"_{_plain(body['hint'])}_"] if body["hint"] else []
    return {"text": "\n".join(lines)}


def dollars_words(dollars: Mapping[str, Mapping[str, str] | None]) -> str:
    """`spend 1.20 USD, limit 25.00 USD`; what nobody knows is said to be unknown."""
    said = (f"{name.replace('_', ' ')} {_amount(value)}" for name, value in dollars.items())
    return ", ".join(said)


def _amount(value: Mapping[str, str] | None) -> str:
    return f"{value['amount']} {value['currency']}" if value else "unknown"


def _plain(text: str) -> str:
    """Slack reads three characters as markup."""
    return str(text).translate(_ESCAPES)
