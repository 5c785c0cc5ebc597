"""Starting the trainer as a process group of its own, and knowing whether it lives without trusting process ids.

The starter takes an exclusive `flock` on the run's lock file and hands the open file to the trainer. The lock is then
held from before the process exists until its last file is closed by the kernel, however it dies, and whoever can take
the lock knows that nobody is at work. POSIX only.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def exclusive(lock_file: Path) -> Iterator[int | None]:
    """The lock's open file for the length of the block, or None when somebody holds it."""
    descriptor = os.open(lock_file, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        yield None
        return
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def is_alive(lock_file: Path) -> bool:
    """True while a trainer, or somebody who starts one, holds the lock."""
    if not lock_file.exists():
        return False
    with exclusive(lock_file) as held:
        return held is None


def spawn(command: Sequence[str], *, lock: int, env: Mapping[str, str], log_file: Path, folder: Path) -> int:
    """Start the trainer in a session of its own, out of reach of Ctrl-C and of a closed terminal. Returns its pid."""
    with log_file.open("ab") as log:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={**env, "FTORCH_LOCK_FD": str(lock)},
            pass_fds=(lock,),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    # Somebody must take its exit status, or it stays a zombie until we end; init does it when we are gone first.
    threading.Thread(target=process.wait, name=f"wait-{process.pid}", daemon=True).start()
    return process.pid


def stop(pid: int, *, how: signal.Signals) -> None:
    """Signal the process group; nothing happens when it is gone."""
    try:
        os.killpg(pid, how)
    except (ProcessLookupError, PermissionError):
        return
