"""Loaded by every Python process of a crash test: kills one process of ftorch, once, at a chosen moment.

FTORCH_CRASH is `<who>|<what>|<text>|<n>`:
    who   cli, daemon or trainer: the process to kill
    what  `audit:<event>`: before the n-th audit event of that name with <text> in its arguments
          `before` / `after`: around the n-th call of <text>, given as module:name or module:Class.name
FTORCH_CRASH_MARK names a file that is made just before the kill, so that it happens once.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import os
import signal
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any


def _who() -> str:
    words = " ".join(sys.orig_argv)
    if "ftorch.trainer train" in words:
        return "trainer"
    if "daemon run" in words:
        return "daemon"
    return "cli" if "ftorch.cli.main submit" in words else "other"


class _Bomb:
    """Counts the moments that fit, and kills this process at the n-th."""

    def __init__(self, mark: str, count: int) -> None:
        self._mark = mark
        self._left = count

    def tick(self) -> None:
        self._left -= 1
        if self._left:
            return
        try:
            os.close(os.open(self._mark, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        except FileExistsError:
            return
        os.kill(os.getpid(), signal.SIGKILL)


class _Wrapping(importlib.abc.MetaPathFinder):
    """Finds one module as always and wraps one of its callables once it has run."""

    def __init__(self, target: str, when: str, bomb: _Bomb) -> None:
        self._module, _, self._attribute = target.partition(":")
        self._when = when
        self._bomb = bomb

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != self._module:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path)
        if spec is None or spec.loader is None:
            return None
        original = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            original(module)
            self._wrap(module)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]  # this loader is ours alone
        return spec

    def _wrap(self, module: ModuleType) -> None:
        owner: Any = module
        *classes, name = self._attribute.split(".")
        for part in classes:
            owner = getattr(owner, part)
        setattr(owner, name, self._around(getattr(owner, name)))

    def _around(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **named: Any) -> Any:
            if self._when == "before":
                self._bomb.tick()
            value = call(*args, **named)
            if self._when == "after":
                self._bomb.tick()
            return value

        return wrapped


def _arm(order: str, mark: str) -> None:
    who, what, text, count = order.split("|")
    if who != _who() or os.path.exists(mark):  # noqa: PTH110  pathlib is slow to import in every process
        return
    bomb = _Bomb(mark, int(count))
    if not what.startswith("audit:"):
        sys.meta_path.insert(0, _Wrapping(text, what, bomb))
        return
    wanted = what.removeprefix("audit:")

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == wanted and any(text in str(argument) for argument in arguments):
            bomb.tick()

    sys.addaudithook(hook)


if "FTORCH_CRASH" in os.environ:
    _arm(os.environ["FTORCH_CRASH"], os.environ["FTORCH_CRASH_MARK"])
