"""What the engine tells about itself while it works. Whoever counts stands above: nothing here knows how."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Protocol, cast

from ftorch.core.errors import FtorchError
from ftorch.providers.base import Provider

OK = "ok"
BUG = "bug"
"""The outcome of a step that raised what nobody foresaw; an error of ours is told by its code."""


class Meter(Protocol):
    """Told what happened, from many threads. Must not raise and must not wait."""

    def step(self, kind: str, outcome: str) -> None:
        """A step or an observation has ended: `ok`, the code of its error, or `bug`."""
        ...

    def call(self, provider: str, operation: str, outcome: str) -> None:
        """A provider was asked for something, and answered or did not."""
        ...


class Unmetered:
    """Nobody counts."""

    def step(self, kind: str, outcome: str) -> None:
        pass

    def call(self, provider: str, operation: str, outcome: str) -> None:
        pass


def metered(open_provider: Callable[[str], Provider], meter: Meter) -> Callable[[str], Provider]:
    """Providers whose calls are counted. They are made and kept by `open_provider` as before."""
    return lambda name: cast(Provider, _Metered(open_provider(name), name, meter))


class _Metered:
    """A provider seen through its meter: what can be called is counted, everything else is passed on."""

    def __init__(self, provider: Provider, name: str, meter: Meter) -> None:
        self._provider = provider
        self._name = name
        self._meter = meter

    def __getattr__(self, operation: str) -> Any:
        found = getattr(self._provider, operation)
        return self._counted(operation, found) if callable(found) else found

    def _counted(self, operation: str, call: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(call)
        def ask(*args: Any, **kwargs: Any) -> Any:
            outcome = BUG
            try:
                answer = call(*args, **kwargs)
                outcome = OK
            except FtorchError as error:
                outcome = error.code
                raise
            else:
                return answer
            finally:
                self._meter.call(self._name, operation, outcome)

        return ask
