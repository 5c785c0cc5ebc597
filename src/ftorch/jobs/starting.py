"""Starting a daemon as a process of its own, and seeing that it has begun."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from ftorch.core.errors import NotFinishedError
from ftorch.core.paths import Home
from ftorch.jobs.leader import is_led
from ftorch.jobs.sign import at_work

_BEGUN_S = 30.0
_LOOK_AGAIN_S = 0.05

Process = subprocess.Popen[bytes]


def spawn(home: Home, env: Mapping[str, str], cwd: Path, *, until_idle: bool) -> Process:
    """Start a daemon in a session of its own, and do not wait for it."""
    # Not the log itself: the daemon rotates that, and a stream cannot follow.
    with home.daemon_err.open("ab") as words:
        return subprocess.Popen(
            [sys.executable, "-m", "ftorch.cli.main", "daemon", "run", *(["--until-idle"] if until_idle else [])],
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=words,
            stderr=words,
            start_new_session=True,
        )


def ensure_stays(home: Home, start: Callable[[], Process]) -> bool:
    """See that a daemon is at work that leaves only when it is told to. True: one was started for it.

    One that would leave when idle is asked to stay; should it be about to leave, the next one is ours. Raises
    NotFinishedError when none has begun.
    """
    started: Process | None = None
    deadline_s = time.monotonic() + _BEGUN_S
    try:
        while time.monotonic() < deadline_s:
            found = at_work(home)
            if found is not None and found.stays:
                return started is not None and found.pid == started.pid
            if found is not None:
                home.daemon_stay.touch()
            elif started is None and not is_led(home):
                started = start()
            elif started is not None and started.poll() is not None and not is_led(home):
                break
            time.sleep(_LOOK_AGAIN_S)
    finally:
        home.daemon_stay.unlink(missing_ok=True)
    raise NotFinishedError(
        f"no daemon has begun to work in {home.root}", hint=f"read {home.daemon_err}, then {home.daemon_log}"
    )
