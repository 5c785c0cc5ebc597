"""What runs in a sandbox: the argv itself as processes of this machine, with copies of the volumes as mounts."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from ftorch.emulators.modal import commit
from ftorch.emulators.modal.volumes import Volume

Told = Callable[[str], None]
"""Is given what a container has printed."""
Ended = Callable[[int], None]
"""Is given the exit code of a container that ended by itself."""


@dataclass(frozen=True, slots=True)
class Container:
    """What a sandbox was ordered to run."""

    sandbox_id: str
    argv: Sequence[str]
    env: Mapping[str, str] = field(repr=False)
    volumes: Mapping[str, Volume]
    """By the path that they are mounted at."""


class Work(Protocol):
    """Who runs containers."""

    def start(self, container: Container, told: Told, ended: Ended) -> None:
        """Begin. `told` and `ended` may be called from other threads."""
        ...

    def kill(self, sandbox_id: str, *, is_committed: bool) -> None:
        """End it now. What it has written and not committed is kept or lost."""
        ...

    def look(self) -> None:
        """Time may have passed."""
        ...

    def close(self) -> None: ...


class Processes:
    """Each container a process group in a session of its own. `folder` holds the mounts.

    `env` is what the image would bring, such as where a cache of the Hub is.
    """

    def __init__(self, folder: Path, env: Mapping[str, str] | None = None) -> None:
        self._folder = folder.absolute()
        self._env = dict(env or {})
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._mounts: dict[str, Mapping[Path, Path]] = {}
        self._killed: set[str] = set()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()

    def start(self, container: Container, told: Told, ended: Ended) -> None:
        places = self._mounted(container)
        process = subprocess.Popen(
            [_translated(word, places) for word in _command(container.argv)],
            env=self._environment(container),
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        with self._lock:
            self._processes[container.sandbox_id] = process
        thread = threading.Thread(target=self._follow, args=(container, process, told, ended), daemon=True)
        self._threads.append(thread)
        thread.start()

    def kill(self, sandbox_id: str, *, is_committed: bool) -> None:
        with self._lock:
            self._killed.add(sandbox_id)
            process = self._processes.get(sandbox_id)
        if process is None:
            return
        _kill_group(process)
        process.wait()
        if is_committed:
            self._commit(sandbox_id)

    def look(self) -> None:
        """Processes end by themselves."""

    def close(self) -> None:
        """End everything that runs."""
        with self._lock:
            processes = list(self._processes.items())
            self._killed.update(name for name, _ in processes)
        for _, process in processes:
            _kill_group(process)
        for thread in self._threads:
            thread.join()

    def _follow(self, container: Container, process: subprocess.Popen[bytes], told: Told, ended: Ended) -> None:
        assert process.stdout is not None
        with process.stdout as lines:
            for line in lines:
                told(line.decode(errors="replace"))
        code = process.wait()
        with self._lock:
            was_killed = container.sandbox_id in self._killed
        if not was_killed:
            self._commit(container.sandbox_id)
            ended(code if code >= 0 else 128 - code)

    def _mounted(self, container: Container) -> dict[str, Path]:
        """A copy of each volume as it is now."""
        places: dict[str, Path] = {}
        for number, (path, volume) in enumerate(container.volumes.items()):
            places[path] = self._folder / "mounts" / f"{container.sandbox_id}-{number}"
            shutil.copytree(volume.root, places[path])
            commit.remember(places[path])
        self._mounts[container.sandbox_id] = {places[path]: one.root for path, one in container.volumes.items()}
        return places

    def _commit(self, sandbox_id: str) -> None:
        for mount, volume in self._mounts[sandbox_id].items():
            commit.commit(mount, volume)

    def _environment(self, container: Container) -> dict[str, str]:
        """This machine's environment without its secrets and ours, and the `sync` that commits."""
        kept = {name: os.environ[name] for name in ("HOME", "LANG", "TMPDIR") if name in os.environ}
        mounts = {str(mount): str(volume) for mount, volume in self._mounts[container.sandbox_id].items()}
        return {
            **kept,
            "PATH": f"{self._sync_command().parent}:{os.environ.get('PATH', '')}",
            "HF_HUB_OFFLINE": "1",
            "FTORCH_EMULATED_MOUNTS": json.dumps(mounts),
            **self._env,
            **container.env,
            "MODAL_SANDBOX_ID": container.sandbox_id,
        }

    def _sync_command(self) -> Path:
        path = self._folder / "bin" / "sync"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            aside = path.with_name(f"sync-{threading.get_ident()}")
            aside.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "{commit.__file__}" "$@"\n')
            aside.chmod(0o755)
            aside.replace(path)
        return path


def _command(argv: Sequence[str]) -> list[str]:
    """The container's Python is this one."""
    return [sys.executable if argv[0] in ("python", "python3") else argv[0], *argv[1:]]


def _translated(word: str, places: Mapping[str, Path]) -> str:
    """The mounts are elsewhere here than in the container."""
    for path, mount in places.items():
        word = re.sub(rf"(?<![\w./-]){re.escape(path)}(?![\w.-])", str(mount), word)
    return word


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
