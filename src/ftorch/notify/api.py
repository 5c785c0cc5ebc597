"""`client.notices`: what people are told, with the words of `ftorch notices`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ftorch.core.errors import UsageError
from ftorch.store import Store

if TYPE_CHECKING:
    from ftorch.jobs.context import Context
    from ftorch.notify.views import NoticeView


class Notices:
    """What a client knows of notices. It is a daemon that sends them."""

    def __init__(
        self,
        open_context: Callable[[], Context],
        open_store: Callable[[], Store | None],
        cwd: Path,
        env: Mapping[str, str],
    ) -> None:
        self._context = open_context
        self._store = open_store
        self._cwd = cwd
        self._env = env

    def list(self) -> Sequence[NoticeView]:
        """The newest first, each with its deliveries."""
        from ftorch.notify.views import notice_views

        store = self._store()
        return notice_views(store) if store else []

    def test(self) -> Sequence[tuple[str, str | None]]:
        """Send a test to every channel of `ftorch.toml`, now; returns (channel, what went wrong or None).

        Raises UsageError where there is none.
        """
        from ftorch.manifest.settings import load_settings
        from ftorch.notify.rehearsal import send_test

        channels = load_settings(self._cwd, self._env).notify
        if not channels:
            hint = "add [[notify]] type = 'webhook', url = 'env:NEWS_URL', secret = 'env:NEWS_SECRET' to ftorch.toml"
            raise UsageError("nobody is told of anything: ftorch.toml has no [[notify]]", hint=hint)
        return [(channel.name, send_test(self._context(), channel)) for channel in channels]
