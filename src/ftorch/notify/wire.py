"""One attempt to tell a notice. The HTTP client is loaded when there is something to send."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from ftorch.manifest.notify import Notify
from ftorch.notify.messages import message
from ftorch.store.schedule_rows import NoticeRow

if TYPE_CHECKING:
    import httpx

_NO_WAIT = timedelta(0)
_TIMEOUT_S = 10.0
_GONE = 410
_LONGEST_NUMBER = 9
"""Digits of a Retry-After: more are longer than we wait in any case."""


class RefusedError(Exception):
    """The receiver did not take it. The words hold no address."""

    def __init__(self, words: str, *, is_final: bool = False, wait: timedelta = _NO_WAIT) -> None:
        super().__init__(words)
        self.words = words
        self.is_final = is_final
        self.wait = wait


def send(channel: Notify, notice: NoticeRow, env: Mapping[str, str], now: datetime) -> None:
    """One request, no redirects. Raises RefusedError, and what `message` raises; no words hold the address."""
    import httpx  # noqa: PLC0415  7 MB, for those who tell somebody

    asked = message(channel, notice, env, now)
    try:
        answer = httpx.post(asked.url, headers=dict(asked.headers), content=asked.content, timeout=_TIMEOUT_S)
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        raise RefusedError(f"no answer: {type(error).__name__}") from None
    if answer.is_success:
        return
    raise RefusedError(
        f"answered {answer.status_code}", is_final=answer.status_code == _GONE, wait=_retry_after(answer)
    )


def _retry_after(answer: httpx.Response) -> timedelta:
    text = answer.headers.get("retry-after", "")
    if not (text.isascii() and text.isdigit()):
        return _NO_WAIT
    return timedelta(seconds=int(text[:_LONGEST_NUMBER]))
