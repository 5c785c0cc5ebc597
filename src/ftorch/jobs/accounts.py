"""Whose accounts the providers' credentials open: asked in threads of their own, for an answer may take minutes."""

from __future__ import annotations

import threading
from collections.abc import Callable

import structlog

from ftorch.core.errors import FtorchError

_FIRST_PAUSE_S = 5.0
_LONGEST_PAUSE_S = 60.0

Begin = Callable[[Callable[[], None]], object]
"""Has something done elsewhere, and does not wait for it."""

log = structlog.get_logger()


def in_a_thread(call: Callable[[], None]) -> None:
    """A provider that never answers must not keep the process from leaving."""
    threading.Thread(target=call, name="ftorch-account", daemon=True).start()


class Accounts:
    """Remembers answers, and asks again after a pause where there was none. Never waits.

    A provider that refuses its key, or does not answer, keeps no other from being known.
    """

    def __init__(
        self, ask: Callable[[str], str], boot_s: Callable[[], float], told: Callable[[], object], begin: Begin
    ) -> None:
        """`told` is called when there is an answer, also when it is that there is none."""
        self._ask = ask
        self._boot_s = boot_s
        self._told = told
        self._start = begin
        self._known: dict[str, str] = {}
        self._asking: set[str] = set()
        self._failures: dict[str, int] = {}
        self._again_s: dict[str, float] = {}
        self._lock = threading.Lock()

    def of(self, provider: str) -> str | None:
        """The account, as soon as it is known; asks for it where nobody does yet."""
        if self._is_due(provider):
            self._start(lambda: self._learn(provider))
        return self._known.get(provider)

    def has_failed(self, provider: str) -> bool:
        """There was no answer, and nobody asks just now."""
        with self._lock:
            return provider in self._failures and provider not in self._known and provider not in self._asking

    def _is_due(self, provider: str) -> bool:
        with self._lock:
            is_too_early = self._boot_s() < self._again_s.get(provider, float("-inf"))
            if provider in self._known or provider in self._asking or is_too_early:
                return False
            self._asking.add(provider)
            return True

    def _learn(self, provider: str) -> None:
        account: str | None = None
        try:
            account = self._ask(provider)
        except FtorchError as error:
            log.warning("account not known", provider=provider, code=error.code, error=error.message)
        except Exception:  # the outer edge of this thread: nobody else would hear of it
            log.exception("account not known", provider=provider)
        self._note(provider, account)
        self._told()

    def _note(self, provider: str, account: str | None) -> None:
        with self._lock:
            self._asking.discard(provider)
            if account is not None:
                self._known[provider] = account
                return
            failures = self._failures[provider] = self._failures.get(provider, 0) + 1
            pause_s = min(_FIRST_PAUSE_S * 2 ** (failures - 1), _LONGEST_PAUSE_S)
            self._again_s[provider] = self._boot_s() + pause_s
