"""What is done on a box, in its own Python (3.10 or newer, nothing installed): sent over ssh with every question.

    stdin    this text, then one line of JSON with the arguments, then the content for `take`
    argv     the verb
    stdout   one line of JSON: `{"ok": ...}`, or `{"error": ..., "kind": ...}`; for `send` the content itself

Everything lies under one folder of the user:

    files/<sha256>       content by its hash; `.part` while it arrives
    runs/<key>/          order.json, job.json, the bundle, runner.py, trainer.log, lock, process.json
      out/               the trainer's folder
      lease              touched whenever somebody looks
      cancelled fetched  marks
"""

from __future__ import annotations

import base64
import ctypes
import errno
import fcntl
import hashlib
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

KILL_AFTER_S = 60.0
BLOCK = 1 << 20
SAID = 300
CUDA_NOT_READY = 802


def probe() -> dict[str, Any]:
    """What the machine is, and whether CUDA gives memory: a driver may list GPUs that no program can use."""
    return {
        "machine": platform.machine(),
        "python": platform.python_version(),
        "free_bytes": shutil.disk_usage(Path.home()).free,
        "gpus": _gpus(),
        "cuda_error": _cuda_error(),
    }


def missing(root: str, sizes: Mapping[str, int]) -> dict[str, int]:
    """The content that is not there yet, with how many bytes of it have arrived."""
    store = _store(root)
    absent = [sha256 for sha256 in sizes if not (store / sha256).is_file()]
    return {sha256: _arrived(store / f"{sha256}.part", sizes[sha256]) for sha256 in absent}


def take(root: str, sha256: str, offset: int, size: int) -> bool:
    """Content from stdin, behind `offset`. True when it is whole and what it should be; a wrong whole is dropped."""
    part = _store(root) / f"{sha256}.part"
    with part.open("r+b" if part.exists() else "wb") as stream:
        stream.truncate(offset)
        stream.seek(offset)
        shutil.copyfileobj(sys.stdin.buffer, stream, BLOCK)
        stream.flush()
        os.fsync(stream.fileno())
    if part.stat().st_size < size:
        return False
    if _sha256(part) != sha256:
        part.unlink()
        return False
    part.replace(part.with_suffix(""))
    return True


def make(
    root: str, key: str, files: Mapping[str, str], changes: Mapping[str, Any], order: Mapping[str, Any]
) -> dict[str, Any]:
    """The run's folder, whole or absent. One that is there stays as it is. Returns its order."""
    folder = _run(root, key)
    if not folder.exists():
        aside = folder.with_name(f".{key}.part")
        shutil.rmtree(aside, ignore_errors=True)
        for name, sha256 in files.items():
            (aside / name).parent.mkdir(parents=True, exist_ok=True)
            os.link(_store(root) / sha256, aside / name)
        spec = json.loads((aside / "job.json").read_text())
        # The name leads to content that other runs share: never written through.
        _write(aside / "job.json", json.dumps({**spec, **changes, "resume_from": _checkpoints(root, order)}))
        _write(aside / "order.json", json.dumps({"key": key, **order}))
        aside.rename(folder)
    return _order(folder)


def start(root: str, key: str, env: Mapping[str, str], parallel: int) -> bool:
    """Start the runner, unless it has started before, was cancelled, or others have the machine."""
    folder = _existing(root, key)
    others = [one for one in folder.parent.glob("ft-*") if one != folder]
    if sum(_is_alive(one) and not (one / "out/result.json").exists() for one in others) >= parallel:
        return False
    with _lock(folder) as held:
        began = (folder / "process.json").exists()
        if held is None or began or (folder / "cancelled").exists():
            return False
        pid = _spawn(folder, env, held)
        _write(folder / "process.json", json.dumps({"pid": pid}))
    return True


def read(root: str, keys: list[str]) -> dict[str, Any]:
    """What the folders of these runs say; None for one that is not there. Renews the leases."""
    return {key: _reading(_run(root, key)) for key in keys}


def log(root: str, key: str, offset: int, limit: int) -> dict[str, Any]:
    """A piece of what the run printed, and whether it was still at work before that was read."""
    folder = _existing(root, key)
    is_alive = _is_alive(folder) or (not (folder / "process.json").exists() and not (folder / "cancelled").exists())
    path = folder / "trainer.log"
    content = b""
    if path.exists():
        with path.open("rb") as stream:
            stream.seek(offset)
            content = stream.read(limit)
    return {"content": base64.b64encode(content).decode(), "is_alive": is_alive}


def cancel(root: str, key: str) -> None:
    """Ask the trainer to save and stop; kill it when it has not within a minute. Harmless when it is gone."""
    folder = _run(root, key)
    if not folder.is_dir():
        return
    mark = folder / "cancelled"
    if not mark.exists():
        _write(mark, str(time.time()))
    how = signal.SIGTERM if time.time() - float(mark.read_text()) < KILL_AFTER_S else signal.SIGKILL
    if _is_alive(folder) and (process := _json(folder / "process.json")):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process["pid"], how)


def mark(root: str, key: str, name: str) -> None:
    """Note something that happened elsewhere, for whoever watches the folder."""
    _write(_existing(root, key) / name, str(time.time()))


def release(root: str, key: str) -> bool:
    """True once the process is gone. Drops the checkpoints of a finished training."""
    folder = _run(root, key)
    if _is_alive(folder):
        return False
    if (folder / "out/result.json").exists():
        shutil.rmtree(folder / "out/checkpoints", ignore_errors=True)
    return True


def keys(root: str) -> list[str]:
    """The names of all run folders."""
    return sorted(path.name for path in (_root(root) / "runs").glob("ft-*"))


def send(root: str, key: str, name: str, offset: int) -> None:
    """A file of the run's folder from `offset` on, to stdout."""
    with (_existing(root, key) / name).open("rb") as stream:
        stream.seek(offset)
        shutil.copyfileobj(stream, sys.stdout.buffer, BLOCK)
    sys.stdout.buffer.flush()


VERBS: Mapping[str, Callable[..., Any]] = {
    "probe": probe,
    "missing": missing,
    "take": take,
    "make": make,
    "start": start,
    "read": read,
    "log": log,
    "cancel": cancel,
    "mark": mark,
    "release": release,
    "keys": keys,
    "send": send,
}


class GoneError(Exception):
    """The run has no folder here."""


def _gpus() -> list[str]:
    try:
        done = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30, check=False)  # noqa: S607
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [line for line in done.stdout.splitlines() if line.startswith("GPU ")] if done.returncode == 0 else []


def _cuda_error() -> str:
    """Empty when the driver gives memory on the first GPU. Asked of the driver: torch may not be installed yet."""
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return "the CUDA driver is not installed"
    device, context, memory = ctypes.c_int(), ctypes.c_void_p(), ctypes.c_void_p()
    for name, arguments in (
        ("cuInit", (0,)),
        ("cuDeviceGet", (ctypes.byref(device), 0)),
        ("cuDevicePrimaryCtxRetain", (ctypes.byref(context), device)),
        ("cuCtxSetCurrent", (context,)),
        ("cuMemAlloc_v2", (ctypes.byref(memory), ctypes.c_size_t(BLOCK))),
    ):
        if code := getattr(cuda, name)(*arguments):
            why = " (the system is not ready)" if code == CUDA_NOT_READY else ""
            return f"{name} failed with CUDA error {code}{why}"
    return ""


def _reading(folder: Path) -> dict[str, Any] | None:
    if not folder.is_dir():
        return None
    (folder / "lease").touch()
    was_started = (folder / "process.json").exists()
    # Asked first: a process that ends between the two questions has left its last word in the folder.
    is_alive = _is_alive(folder)
    return {
        "was_started": was_started,
        "is_alive": is_alive,
        "is_cancelled": (folder / "cancelled").exists(),
        "order": _order(folder),
        "said": (_text(folder / "trainer.log") or "").strip()[-SAID:],
        # Read first of the three: the events have the end that it tells of.
        "result": _text(folder / "out/result.json"),
        "events": _text(folder / "out/events.jsonl") or "",
        "heartbeat": _text(folder / "out/heartbeat.json"),
    }


def _spawn(folder: Path, env: Mapping[str, str], lock: int) -> int:
    with (folder / "trainer.log").open("ab") as stream:
        process = subprocess.Popen(
            [sys.executable, str(folder / "runner.py"), str(folder)],
            cwd=folder,
            env={**os.environ, **env, "FTORCH_LOCK_FD": str(lock)},
            pass_fds=(lock,),
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            start_new_session=True,
        )
    return process.pid


@contextmanager
def _lock(folder: Path) -> Iterator[int | None]:
    """The lock's open file, or None when a runner has it: held until its last process has ended, however it dies."""
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        yield None
    else:
        yield descriptor
    finally:
        os.close(descriptor)


def _is_alive(folder: Path) -> bool:
    if not (folder / "lock").exists():
        return False
    with _lock(folder) as held:
        return held is None


def _checkpoints(root: str, order: Mapping[str, Any]) -> str | None:
    if not order.get("resume_from"):
        return None
    folder = _run(root, order["resume_from"]) / "out/checkpoints"
    return str(folder) if any(folder.glob("*/.complete")) else None


def _arrived(part: Path, size: int) -> int:
    """Bytes of a part that may be gone on from."""
    arrived = part.stat().st_size if part.exists() else 0
    return arrived if arrived < size else 0


def _root(root: str) -> Path:
    return Path(root).expanduser()


def _store(root: str) -> Path:
    store = _root(root) / "files"
    store.mkdir(parents=True, exist_ok=True, mode=0o700)
    return store


def _run(root: str, key: str) -> Path:
    return _root(root) / "runs" / key


def _existing(root: str, key: str) -> Path:
    folder = _run(root, key)
    if not folder.is_dir():
        raise GoneError(key)
    return folder


def _order(folder: Path) -> dict[str, Any]:
    order: dict[str, Any] = json.loads((folder / "order.json").read_text())
    return order


def _json(path: Path) -> dict[str, Any] | None:
    text = _text(path)
    return json.loads(text) if text else None


def _text(path: Path) -> str | None:
    try:
        return path.read_text(errors="replace")
    except FileNotFoundError:
        return None


def _write(path: Path, text: str) -> None:
    aside = path.with_name(f".{path.name}.new")
    with aside.open("w") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    aside.replace(path)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _error(error: Exception) -> dict[str, str]:
    if isinstance(error, GoneError | FileNotFoundError):
        return {"error": str(error), "kind": "gone"}
    is_full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    return {"error": f"{type(error).__name__}: {error}", "kind": "full" if is_full else "broken"}


def main() -> None:
    """Carry out one verb."""
    verb, arguments = sys.argv[1], json.loads(sys.stdin.buffer.readline())
    if verb == "send":
        send(**arguments)
        return
    try:
        answer = {"ok": VERBS[verb](**arguments)}
    except Exception as error:  # noqa: BLE001  the outer edge: who asked must be told what went wrong
        answer = _error(error)
    sys.stdout.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
