"""What one may ask of a box: the agent's verbs with their types, their failures in our errors.

Used by `ssh` for machines of the user's, and by providers that rent machines which one reaches by ssh.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

from ftorch.core.errors import (
    ArtifactError,
    CredentialsError,
    HardwareError,
    ProviderProtocolError,
    ProviderUnavailableError,
    RunNotFoundError,
)
from ftorch.core.files import translated
from ftorch.providers import output
from ftorch.providers.artifacts import finish, is_whole, listed_files
from ftorch.providers.base import Artifact, FileDigest
from ftorch.providers.ssh.link import Done, Host, Link, LostError

Value = TypeVar("Value")

ROOT = "~/ftorch"
_BOOT = "import sys;exec(compile(sys.stdin.buffer.read(int(sys.argv[2])),'agent','exec'))"
_TRIES = 3
ANSWER_S = 30.0
_BLOCK_S = 30.0
_SHOWN = 2000
NEEDED_BYTES = 20 << 30
_OLDEST_PYTHON = (3, 10)


@dataclass(frozen=True, slots=True)
class Machine:
    """What a box says of itself."""

    machine: str
    python: str
    free_bytes: int
    gpus: Sequence[str]
    cuda_error: str

    def fault(self, *, needs_gpu: bool, needed_bytes: int = NEEDED_BYTES) -> str:
        """Why nothing can be trained here; empty when all is well."""
        if tuple(map(int, self.python.split(".")[:2])) < _OLDEST_PYTHON:
            return f"its Python is {self.python}; 3.10 or newer is needed"
        if needs_gpu and not self.gpus:
            return "it shows no NVIDIA GPU"
        if needs_gpu and self.cuda_error:
            return f"its GPU cannot be used: {self.cuda_error}"
        if self.free_bytes < needed_bytes:
            return f"it has {self.free_bytes >> 30} GiB of free disk; {needed_bytes >> 30} are needed"
        return ""


@dataclass(frozen=True, slots=True)
class Reading:
    """A run's folder as it was read."""

    folder: output.Reading
    was_started: bool
    is_alive: bool
    is_cancelled: bool
    order: Mapping[str, Any]
    said: str

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> Reading:
        return cls(
            folder=output.parse(answer["events"], answer["heartbeat"], answer["result"]),
            was_started=answer["was_started"],
            is_alive=answer["is_alive"],
            is_cancelled=answer["is_cancelled"],
            order=answer["order"],
            said=answer["said"],
        )


@dataclass(frozen=True, slots=True)
class Load:
    """What a run brings along: the bundle, the trainer, the runner. Name in the run's folder -> content."""

    files: Mapping[str, str]
    """Name -> SHA-256."""
    paths: Mapping[str, Path] = field(repr=False)
    """SHA-256 -> where it lies here."""


@dataclass(frozen=True, slots=True)
class Box:
    """One machine."""

    link: Link
    host: Host
    provider: str
    answer_s: float = ANSWER_S
    """How long one question may take."""

    def probe(self) -> Machine:
        """Ask what it is. Raises HardwareError where there is no Python to ask."""
        return Machine(**self._ask("probe", {}, operation="probe", timeout_s=60.0))

    def push(self, load: Load, *, operation: str = "stage") -> int:
        """Bring what is not there yet, going on where a part ends. Returns how many files were sent."""
        sizes = {sha256: path.stat().st_size for sha256, path in load.paths.items()}
        missing = self._missing(sizes, operation)
        for sha256, offset in missing.items():
            self._send(sha256, load.paths[sha256], offset, sizes[sha256], operation)
        return len(missing)

    def make(
        self, key: str, load: Mapping[str, str], changes: Mapping[str, Any], order: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """Make the run's folder, once, and return its order. Raises LostError when nobody can tell whether it was."""
        arguments = {"key": key, "files": dict(load), "changes": dict(changes), "order": dict(order)}
        made: Mapping[str, Any] = self._ask("make", arguments, operation="submit", tries=1)
        return made

    def start(self, key: str, env: Mapping[str, str], *, parallel: int = 1) -> bool:
        """Start the runner, once; False where it need not or may not."""
        arguments = {"key": key, "env": dict(env), "parallel": parallel}
        return bool(self._ask("start", arguments, operation="start", hidden=env.values()))

    def log(self, key: str, offset: int, limit: int) -> tuple[bytes, bool]:
        """A piece of the log, and whether more may follow."""
        answer = self._ask("log", {"key": key, "offset": offset, "limit": limit}, operation="logs")
        return base64.b64decode(answer["content"]), bool(answer["is_alive"])

    def cancel(self, key: str) -> None:
        """Ask the trainer to stop."""
        self._ask("cancel", {"key": key}, operation="cancel")

    def mark(self, key: str, name: str) -> None:
        """Leave a mark in the run's folder."""
        self._ask("mark", {"key": key, "name": name}, operation="fetch")

    def release(self, key: str) -> bool:
        """True once no process of the run is left."""
        return bool(self._ask("release", {"key": key}, operation="release"))

    def keys(self, operation: str) -> Sequence[str]:
        """The runs that have a folder here."""
        found: Sequence[str] = self._ask("keys", {}, operation=operation)
        return found

    def read(self, key: str, operation: str) -> Reading | None:
        """One run's folder; None where it has none."""
        answer = self._ask("read", {"keys": [key]}, operation=operation)[key]
        return Reading.of(answer) if answer else None

    def fetch(self, key: str, dest: Path) -> Artifact:
        """The adapter, file by file, each going on where it was cut; nothing is kept that is not what was signed."""
        reading = self.read(key, "fetch")
        result = reading.folder.result if reading else None
        if result is None:
            raise RunNotFoundError(f"run {key} has no result yet", provider=self.provider, operation="fetch")
        wanted = listed_files(result)
        for name, digest in wanted.items():
            if not is_whole(dest / name, digest):
                self._fetch_file(key, name, digest, dest)
        return finish(dest, wanted, result)

    def copy(self, key: str, name: str, target: Path) -> None:
        """Bring one file of the run's folder, going on behind what is there already."""
        target.parent.mkdir(parents=True, exist_ok=True)
        self._download(key, name, target)

    def _fetch_file(self, key: str, name: str, digest: FileDigest, dest: Path) -> None:
        part = dest / f"{name}.part"
        part.parent.mkdir(parents=True, exist_ok=True)
        if part.exists() and part.stat().st_size > digest.size:
            part.unlink()
        self._download(key, f"out/{output.ADAPTER}/{name}", part)
        # Hashed once, with all the others: one that is wrong is in nobody's way, for the next fetch replaces it.
        part.replace(dest / name)

    def _download(self, key: str, name: str, part: Path) -> None:
        """As long as some bytes arrive, a cut is no reason to give up."""
        tries = _TRIES
        while True:
            before = _size(part)
            try:
                self._append(key, name, part)
            except ProviderUnavailableError:
                tries -= _size(part) <= before
                if not tries:
                    raise
            else:
                return

    def _append(self, key: str, name: str, part: Path) -> None:
        arguments = {"root": ROOT, "key": key, "name": name, "offset": _size(part)}
        with translated(part), part.open("ab") as stream:
            try:
                done = self.link.download(
                    self.host,
                    _command("send"),
                    _input(arguments),
                    stream.write,
                    operation="fetch",
                    timeout_s=_BLOCK_S,
                )
            finally:
                stream.flush()
                os.fsync(stream.fileno())
        if done.exit_code == 0:
            return
        if done.exit_code is None:
            raise self._lost("fetch", "it was killed on the box")
        raise ArtifactError(f"{name} of run {key} cannot be read on the box: {done.stderr.strip()[-_SHOWN:]}")

    def _send(self, sha256: str, path: Path, offset: int, size: int, operation: str) -> None:
        def attempt() -> None:
            arrived = self._missing({sha256: size}, operation).get(sha256) if tried else offset
            tried.append(1)
            if arrived is not None:
                self._send_rest(sha256, path, arrived, size, operation)

        tried: list[int] = []
        _repeated(attempt, _TRIES)

    def _send_rest(self, sha256: str, path: Path, offset: int, size: int, operation: str) -> None:
        arguments = {"root": ROOT, "sha256": sha256, "offset": offset, "size": size}
        with path.open("rb") as stream:
            stream.seek(offset)
            done = self.link.upload(
                self.host, _command("take"), _input(arguments), stream, operation=operation, timeout_s=_BLOCK_S
            )
        if not self._answer(done, operation, ()):
            raise self._lost(operation, f"{path.name} did not arrive as it was sent")

    def _missing(self, sizes: Mapping[str, int], operation: str) -> Mapping[str, int]:
        found: Mapping[str, int] = self._ask("missing", {"sizes": dict(sizes)}, operation=operation)
        return found

    def _ask(
        self,
        verb: str,
        arguments: Mapping[str, Any],
        *,
        operation: str,
        tries: int = _TRIES,
        timeout_s: float | None = None,
        hidden: Collection[str] = (),
    ) -> Any:
        asked = _input(arguments if verb == "probe" else {"root": ROOT, **arguments})

        def attempt() -> Any:
            done = self.link.run(
                self.host, _command(verb), asked, operation=operation, timeout_s=timeout_s or self.answer_s
            )
            return self._answer(done, operation, hidden)

        return _repeated(attempt, tries)

    def _answer(self, done: Done, operation: str, hidden: Collection[str]) -> Any:
        return answer_of(done, self.host, self.provider, operation, hidden)

    def _lost(self, operation: str, why: str) -> LostError:
        return LostError(f"{self.host} lost {operation}: {why}", provider=self.provider, operation=operation)


def read_many(
    link: Link, provider: str, wanted: Mapping[Host, Sequence[str]], *, timeout_s: float
) -> Mapping[Host, Mapping[str, Reading | None] | ProviderUnavailableError | CredentialsError]:
    """Read the folders of many runs on many hosts at once; a host that does not answer in its time says so.

    An answer that was lost is asked for again.
    """
    answers: dict[Host, Mapping[str, Reading | None] | ProviderUnavailableError | CredentialsError] = {}
    left = dict(wanted)
    for _ in range(_TRIES):
        asked = {host: (_command("read"), _input({"root": ROOT, "keys": list(keys)})) for host, keys in left.items()}
        ended = link.run_many(asked, operation="observe", timeout_s=timeout_s)
        answers |= {host: _readings(done, host, provider) for host, done in ended.items()}
        left = {host: keys for host, keys in wanted.items() if isinstance(answers[host], LostError)}
        if not left:
            break
    return answers


def answer_of(done: Done, host: Host, provider: str, operation: str, hidden: Collection[str] = ()) -> Any:
    """The agent's answer. Raises what it says went wrong, in our words."""
    said = _shown(done.stderr, hidden)
    if done.exit_code == 127:
        raise HardwareError(f"{host} has no python3: {said}", provider=provider, operation=operation)
    if done.exit_code != 0:
        words = f"{host} ended {operation} with {done.exit_code}: {said}"
        raise LostError(words, provider=provider, operation=operation)
    try:
        answer = json.loads(done.stdout.decode().splitlines()[-1])
    except (ValueError, IndexError) as error:
        body = _shown(done.stdout.decode(errors="replace"), hidden)
        words = f"{host} answered {operation} with something that we cannot read"
        raise ProviderProtocolError(words, provider=provider, operation=operation, body=body) from error
    if "ok" in answer:
        return answer["ok"]
    raise _refused(answer, host, provider, operation, hidden)


def _refused(
    answer: Mapping[str, str], host: Host, provider: str, operation: str, hidden: Collection[str]
) -> Exception:
    said = _shown(answer["error"], hidden)
    match answer["kind"]:
        case "gone":
            return RunNotFoundError(f"{host} has no run {said}", provider=provider, operation=operation)
        case "full":
            words = f"the disk of {host} is full at {operation}"
            return HardwareError(words, provider=provider, operation=operation, hint="free some space on it")
        case _:
            words = f"{host} could not carry out {operation}: {said}"
            return HardwareError(words, provider=provider, operation=operation)


def _readings(
    done: Done | ProviderUnavailableError | CredentialsError, host: Host, provider: str
) -> Mapping[str, Reading | None] | ProviderUnavailableError | CredentialsError:
    if not isinstance(done, Done):
        return done
    try:
        answers = answer_of(done, host, provider, "observe")
    except LostError as error:
        return error
    return {key: Reading.of(answer) if answer else None for key, answer in answers.items()}


def _repeated(attempt: Callable[[], Value], tries: int) -> Value:
    """Try again at once: a machine that does not answer is asked later by who wants to know."""
    for _ in range(tries - 1):
        with suppress(ProviderUnavailableError):
            return attempt()
    return attempt()


def _command(verb: str) -> str:
    return f'python3 -c "{_BOOT}" {verb} {len(_agent())}'


def _input(arguments: Mapping[str, Any]) -> bytes:
    return _agent() + json.dumps(arguments).encode() + b"\n"


@cache
def _agent() -> bytes:
    return (files("ftorch.providers.ssh") / "agent.py").read_bytes()


def _shown(text: str, hidden: Collection[str]) -> str:
    for secret in filter(None, hidden):
        text = text.replace(secret, "***")
    return text.strip()[-_SHOWN:]


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0
