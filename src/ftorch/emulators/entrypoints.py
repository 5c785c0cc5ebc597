"""What runs on an emulated Ray cluster: the entrypoint itself as processes of this machine, in its unpacked package."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Protocol

Told = Callable[[str], None]
"""Is given each line that was printed, with its end."""
Ended = Callable[[int], None]
"""Is given the exit code of an entrypoint that ended by itself."""
_INSIDE = Path(__file__).parent / "boxes" / "inside"
_TRAINER = Path("ftorch/trainer/__main__.py")
_GRACE_S = 3.0


@dataclass(frozen=True, slots=True)
class Entrypoint:
    """What a job was ordered to run."""

    job_id: str
    command: str
    env: Mapping[str, str] = field(repr=False)
    package: bytes | None = field(repr=False)
    """A zip: its files, or one folder with them."""


class Work(Protocol):
    """Who runs entrypoints."""

    def start(self, order: Entrypoint, told: Told, ended: Ended) -> None:
        """Begin. `told` and `ended` may be called from other threads."""
        ...

    def stop(self, job_id: str) -> None:
        """End it as its owner does: asked first, killed if it does not listen. Returns when it has ended."""
        ...

    def lose(self, job_id: str) -> None:
        """Its machine is gone, without a word."""
        ...

    def look(self) -> None:
        """Time may have passed."""
        ...

    def close(self) -> None: ...


class Processes:
    """Each entrypoint a process group of its own. What runs is what was sent, on a tiny base model.

    `instant` takes milliseconds and needs no torch: the trainer alone is a stand-in, which reads `settings`.
    """

    def __init__(self, folder: Path, *, instant: bool = False, settings: Path | None = None) -> None:
        self._folder = folder.absolute()
        self._env = {
            "TMPDIR": str(self._folder),  # what a run leaves on its node goes with the emulator
            "FTORCH_INSIDE": str(_INSIDE),
            "FTORCH_TRAINING": "instant" if instant else "genuine",
            "FTORCH_INSTANT": str(settings or self._folder / "instant.json"),
        }
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._silenced: set[str] = set()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()

    def start(self, order: Entrypoint, told: Told, ended: Ended) -> None:
        place = self._folder / "clusters" / order.job_id / "working_dir"
        unpack(order.package, place)
        _stand_in(place)
        process = subprocess.Popen(
            ["/bin/sh", "-c", order.command],
            env=self._environment(order),
            cwd=place,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        with self._lock:
            self._processes[order.job_id] = process
        thread = threading.Thread(target=self._follow, args=(order.job_id, process, told, ended), daemon=True)
        self._threads.append(thread)
        thread.start()

    def stop(self, job_id: str) -> None:
        if process := self._silence(job_id):
            _signal(process, signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(_GRACE_S)
            _signal(process, signal.SIGKILL)
            process.wait()

    def lose(self, job_id: str) -> None:
        if process := self._silence(job_id):
            _signal(process, signal.SIGKILL)
            process.wait()

    def look(self) -> None:
        """Processes end by themselves."""

    def close(self) -> None:
        """End everything that runs."""
        for job_id in list(self._processes):
            self.lose(job_id)
        for thread in self._threads:
            thread.join()

    def _silence(self, job_id: str) -> subprocess.Popen[bytes] | None:
        """From here on nobody is told that it ends."""
        with self._lock:
            self._silenced.add(job_id)
            return self._processes.get(job_id)

    def _follow(self, job_id: str, process: subprocess.Popen[bytes], told: Told, ended: Ended) -> None:
        assert process.stdout is not None
        with process.stdout as lines:
            for line in lines:
                told(line.decode(errors="replace"))
        code = process.wait()
        with self._lock:
            was_silenced = job_id in self._silenced
        if not was_silenced:
            ended(code if code >= 0 else 128 - code)

    def _environment(self, order: Entrypoint) -> dict[str, str]:
        """This machine's environment without its secrets and ours, its Python first; as on a node, variables travel."""
        kept = {name: os.environ[name] for name in ("HOME", "LANG") if name in os.environ}
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
        return {**kept, "PATH": path, "HF_HUB_OFFLINE": "1", **self._env, **order.env}


def unpack(package: bytes | None, place: Path) -> None:
    """The package's files in a fresh folder; one folder around all of them is taken off."""
    place.mkdir(parents=True)
    if package is None:
        return
    with zipfile.ZipFile(io.BytesIO(package)) as archive:
        names = [PurePosixPath(name) for name in archive.namelist() if not name.endswith("/")]
        is_wrapped = len({name.parts[0] for name in names}) == 1 and all(len(name.parts) > 1 for name in names)
        for name in names:
            target = place.joinpath(*name.parts[1 if is_wrapped else 0 :])
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(archive.read(str(name)))


def _stand_in(place: Path) -> None:
    """Let base models of the Hub be tiny, and the trainer a stand-in where that is wanted."""
    if (trainer := place / _TRAINER).exists():
        trainer.rename(trainer.with_name("genuine.py"))
        trainer.write_bytes((_INSIDE / "trainer.py").read_bytes())


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        return
