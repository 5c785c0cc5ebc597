"""Loaded by every Python process of a crash test: kills one process of ftorch, once, at a chosen moment.

FTORCH_CRASH is `<who>|<what>|<text>|<n>`:
    who   cli, daemon or trainer: the process to kill
    what  `audit:<event>`: before the n-th audit event of that name with <text> in its arguments
          `before` / `after`: around the n-th call of <text>, given as module:name or module:Class.name
FTORCH_CRASH_MARK names a file that is made just before the kill, so that it happens once.

FTORCH_FAST is `<speed>|<boot seconds>|<moved>`: the clock of every daemon goes so many times as fast from that boot
time on, and is so many seconds ahead. Commands keep the machine's: what they wait for is real.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
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


def _hurry(order: str) -> None:
    """Let the one class that reads the machine's clocks read faster ones."""
    speed, since_s, moved_s = map(float, order.split("|"))
    start = datetime.now(UTC) - timedelta(seconds=time.clock_gettime(time.CLOCK_BOOTTIME) - since_s)

    def boot_s(_clock: Any) -> float:
        return since_s + moved_s + (time.clock_gettime(time.CLOCK_BOOTTIME) - since_s) * speed

    def change(module: ModuleType) -> None:
        module.SystemClock.boot_s = boot_s
        module.SystemClock.now = lambda clock: start + timedelta(seconds=boot_s(clock) - since_s)
        module.SystemClock.sleep = lambda _clock, seconds: time.sleep(seconds / speed)

    sys.meta_path.insert(0, _Changing("ftorch.core.clock", change))


class _Changing(importlib.abc.MetaPathFinder):
    """Finds one module as always and changes something in it once it has run."""

    def __init__(self, module: str, change: Callable[[ModuleType], None]) -> None:
        self._module = module
        self._change = change

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
            self._change(module)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]  # this loader is ours alone
        return spec


def _around(attribute: str, when: str, bomb: _Bomb) -> Callable[[ModuleType], None]:
    """Let the bomb tick around each call of one of a module's callables."""

    def change(module: ModuleType) -> None:
        owner: Any = module
        *classes, name = attribute.split(".")
        for part in classes:
            owner = getattr(owner, part)
        call = getattr(owner, name)

        def wrapped(*args: Any, **named: Any) -> Any:
            if when == "before":
                bomb.tick()
            value = call(*args, **named)
            if when == "after":
                bomb.tick()
            return value

        setattr(owner, name, wrapped)

    return change


def _arm(order: str, mark: str) -> None:
    who, what, text, count = order.split("|")
    if who != _who() or os.path.exists(mark):  # noqa: PTH110  pathlib is slow to import in every process
        return
    bomb = _Bomb(mark, int(count))
    if not what.startswith("audit:"):
        module, _, attribute = text.partition(":")
        sys.meta_path.insert(0, _Changing(module, _around(attribute, what, bomb)))
        return
    wanted = what.removeprefix("audit:")

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == wanted and any(text in str(argument) for argument in arguments):
            bomb.tick()

    sys.addaudithook(hook)


if "FTORCH_FAST" in os.environ and _who() == "daemon":
    _hurry(os.environ["FTORCH_FAST"])
if "FTORCH_CRASH" in os.environ:
    _arm(os.environ["FTORCH_CRASH"], os.environ["FTORCH_CRASH_MARK"])
