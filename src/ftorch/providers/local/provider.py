"""The provider `local`: one folder per run under `FTORCH_HOME/runs`, the trainer as a detached process.

`submit` only makes the folder, atomically; `start` starts the process under a lock. So a create cannot happen twice,
and starting again after a crash is harmless.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, Self

from ftorch.core.clock import Clock, Reading, SystemClock
from ftorch.core.errors import MissingExtraError, RunNotFoundError, RunRejectedError
from ftorch.core.files import sync_folder, write_text
from ftorch.core.host import host_id
from ftorch.core.ids import installation_of
from ftorch.core.paths import Home
from ftorch.costs.items import LineItem, Quote, SpendSource, Window, time_item
from ftorch.manifest.plan import Plan
from ftorch.providers import output
from ftorch.providers.artifacts import copy_adapter
from ftorch.providers.base import (
    ENDED,
    Account,
    Artifact,
    Bundle,
    Capabilities,
    LogPage,
    Observation,
    Placement,
    RunOrder,
    RunRef,
    RunState,
    Staged,
)
from ftorch.providers.local import process
from ftorch.providers.local.bases import prepare_base
from ftorch.providers.local.capabilities import CAPABILITIES

_KILL_AFTER = timedelta(seconds=60)
_LOG_PAGE = 1 << 16
_SAID = 300


class LocalProvider:
    """Trains on this machine."""

    name: ClassVar[str] = "local"
    capabilities: ClassVar[Capabilities] = CAPABILITIES

    def __init__(self, home: Home, env: Mapping[str, str], clock: Clock) -> None:
        self._home = home
        self._env = env
        self._clock = clock

    @classmethod
    def from_env(cls, env: Mapping[str, str], clock: Clock | None = None) -> Self:
        """Needs no credentials."""
        return cls(Home.from_env(env), env, clock or SystemClock())

    def check(self) -> Account:
        """This host. Raises MissingExtraError without the training packages."""
        if find_spec("torch") is None or find_spec("trl") is None:
            raise MissingExtraError("training on this machine", extra="train")
        return Account(id=host_id(self._home), description=f"this machine, {os.cpu_count()} cores")

    def stage(self, plan: Plan, bundle: Bundle) -> Staged:
        """Prepare the base model in `FTORCH_HOME/bases` (once), and remember where the bundle lies."""
        base = prepare_base(plan.base_model, self._home.bases, self._child_env({}))
        return Staged(True, bundle.sha256, {"bundle": str(bundle.folder), "base": base})

    def quote(self, plan: Plan, staged: Staged | None) -> Quote | None:
        """None: this machine names no price."""
        return None

    def placements(self, plan: Plan) -> Sequence[Placement]:
        """One: here, at the rate of `ftorch.toml`."""
        return self.listed(plan)

    @classmethod
    def listed(cls, plan: Plan) -> Sequence[Placement]:
        """The same: nobody has to be asked."""
        rate = plan.declared_rates.get(cls.name)
        return (Placement("this machine", rate.amount if rate else None),)

    def submit(self, order: RunOrder) -> RunRef:
        """Make the run's folder. A folder that is there already is the same run, and stays as it is."""
        ref = RunRef(self.name, self.check().id, order.key, order.key, str(self._folder(order.key)))
        if self._folder(order.key).exists():
            return ref
        aside = self._home.runs / f".{order.key}.part"
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        write_text(aside / "order.json", json.dumps({"key": order.key, "rate": _text(order.placement.rate)}))
        write_text(aside / "job.json", json.dumps(self._spec(order), indent=1))
        aside.rename(self._folder(order.key))
        sync_folder(self._home.runs)
        return ref

    def start(self, ref: RunRef, order: RunOrder) -> None:
        """Start the trainer, unless it started before, was cancelled, or the machine is taken."""
        folder = self._existing(ref, "start")
        parallel = int(order.plan.options.get(self.name, {}).get("parallel", 1))
        if self._busy(besides=ref.key) >= parallel:
            return
        with process.exclusive(folder / "lock") as lock:
            if lock is None or (folder / "cancelled").exists() or self._reading(folder).started_at:
                return
            pid = process.spawn(
                [
                    sys.executable,
                    "-m",
                    "ftorch.trainer",
                    "train",
                    str(folder / "job.json"),
                    "--out",
                    str(folder / "out"),
                ],
                lock=lock,
                env=self._child_env(order.secrets),
                log_file=folder / "trainer.log",
                folder=folder,
            )
            write_text(folder / "process.json", json.dumps({"pid": pid}))

    def find(self, keys: Collection[str]) -> Mapping[str, Sequence[RunRef]]:
        """The folders of these keys."""
        return {key: [self._ref(key)] for key in keys if self._folder(key).is_dir()}

    def observe(self, refs: Collection[RunRef]) -> Mapping[RunRef, Observation]:
        """Read the folders of these runs; a run without a folder is absent."""
        return {ref: self._observe(ref) for ref in refs}

    def logs(self, ref: RunRef, *, cursor: str | None) -> LogPage:
        """What the trainer printed, from byte `cursor` on, whole lines only while it runs."""
        folder = self._existing(ref, "logs")
        # Asked first: what is written between the two is read with the next page.
        is_over = self._observe(ref).state in ENDED
        start = int(cursor or 0)
        with _log(folder) as stream:
            stream.seek(start)
            read = stream.read(_LOG_PAGE)
        end = len(read) if is_over and len(read) < _LOG_PAGE else read.rfind(b"\n") + 1
        if not end and len(read) == _LOG_PAGE:
            end = len(read)  # one line longer than a page: in pieces, or the log would end here
        lines = read[:end].decode(errors="replace").splitlines()
        return LogPage(lines, str(start + end), is_over and len(read) < _LOG_PAGE)

    def cancel(self, ref: RunRef) -> None:
        """Ask the trainer to save and stop; kill it when it has not within a minute. Harmless when it is gone."""
        folder = self._folder(ref.key)
        if not folder.is_dir():
            return
        mark, now = folder / "cancelled", Reading.of(self._clock)
        since = now.since(Reading.parse(mark.read_text())) if mark.exists() else None
        if since is None:
            write_text(mark, str(now))
        how = signal.SIGKILL if since is not None and since >= _KILL_AFTER else signal.SIGTERM
        if (pid := _pid(folder)) and process.is_alive(folder / "lock"):
            process.stop(pid, how=how)

    def fetch(self, ref: RunRef, dest: Path) -> Artifact:
        """Copy the adapter, file by file; what already arrived whole is not copied again."""
        out = self._existing(ref, "fetch") / "out"
        if not (out / output.RESULT).exists():
            raise RunNotFoundError("the run has no result yet", provider=self.name, operation="fetch")
        return copy_adapter(out / output.RESULT, out / output.ADAPTER, dest)

    def release(self, ref: RunRef) -> bool:
        """Nothing is rented here: true once the process is gone. Drops the checkpoints of a finished training."""
        folder = self._folder(ref.key)
        if process.is_alive(folder / "lock"):
            return False
        if (folder / "out" / output.RESULT).exists():
            shutil.rmtree(folder / "out" / output.CHECKPOINTS, ignore_errors=True)
        return True

    def charges(self, ref: RunRef, history: Sequence[Observation]) -> Sequence[LineItem]:
        """Measured time at the declared rate; nothing when no rate was declared, for then nobody knows."""
        seen = self._observe(ref)
        if seen.rate is None or seen.billable_from is None or seen.billable_to is None:
            return ()
        period = Window(seen.billable_from, max(seen.billable_to, seen.billable_from))
        words = f"training on {ref.account} at the declared rate of {seen.rate} USD per hour"
        return (time_item(SpendSource.DECLARED, f"{ref.key}/time", seen.rate, period, words, run_key=ref.key),)

    def owned(self, installation: str) -> Iterator[RunRef]:
        """The run folders that carry the installation's mark."""
        if not self._home.runs.is_dir():
            return
        for folder in sorted(self._home.runs.iterdir()):
            if installation_of(folder.name) == installation:
                yield self._ref(folder.name)

    def close(self) -> None:
        """Nothing is open."""

    def _observe(self, ref: RunRef) -> Observation:
        folder = self._folder(ref.key)
        if not folder.is_dir():
            return Observation(RunState.ABSENT, "no folder", self._clock.now())
        was_started = (folder / "process.json").exists()
        # Asked first: a process that ends between the two questions has left its last word in the folder.
        is_alive = process.is_alive(folder / "lock")
        seen = output.observation(
            self._reading(folder),
            is_alive=is_alive,
            is_cancelled=(folder / "cancelled").exists(),
            now=self._clock.now(),
            was_started=was_started,
            said=(_read(folder / "trainer.log") or "").strip()[-_SAID:],
        )
        rate = json.loads((folder / "order.json").read_text())["rate"]
        return replace(seen, rate=Decimal(rate) if rate is not None else None)

    def _reading(self, folder: Path) -> output.Reading:
        out = folder / "out"
        result = _read(out / output.RESULT)
        return output.parse(_read(out / output.EVENTS) or "", _read(out / output.HEARTBEAT), result)

    def _spec(self, order: RunOrder) -> dict[str, Any]:
        """The bundle's trainer spec with what only this machine knows."""
        bundle = Path(order.staged.detail["bundle"])
        spec: dict[str, Any] = json.loads((bundle / "job.json").read_text())
        for name in ("train_file", "validation_file", "from_adapter"):
            if spec.get(name):
                spec[name] = str(bundle / spec[name])
        spec["base_model"]["path"] = order.staged.detail["base"]
        spec["max_duration_s"] = order.max_duration_s
        spec["run_name"] = order.key
        spec["threads"] = order.plan.options.get(self.name, {}).get("threads")
        spec["resume_from"] = self._checkpoints_of(order.resume_from)
        return spec

    def _checkpoints_of(self, earlier: RunRef | None) -> str | None:
        if earlier is None:
            return None
        folder = self._folder(earlier.key) / "out" / output.CHECKPOINTS
        return str(folder) if any(folder.glob("*/.complete")) else None

    def _busy(self, *, besides: str) -> int:
        folders = [folder for folder in self._home.runs.glob("ft-*") if folder.name != besides]
        return sum(process.is_alive(folder / "lock") for folder in folders if not (folder / "out/result.json").exists())

    def _child_env(self, secrets: Mapping[str, str]) -> dict[str, str]:
        passed = {name: value for name, value in self._env.items() if name not in ("FTORCH_LOCK_FD",)}
        return {**passed, **secrets, "OMP_WAIT_POLICY": "PASSIVE", "PYTHONUNBUFFERED": "1"}

    def _ref(self, key: str) -> RunRef:
        return RunRef(self.name, self.check().id, key, key, str(self._folder(key)))

    def _folder(self, key: str) -> Path:
        if installation_of(key) is None:
            raise RunRejectedError(f"{key!r} is no run key", provider=self.name, operation="find")
        return self._home.runs / key

    def _existing(self, ref: RunRef, operation: str) -> Path:
        folder = self._folder(ref.key)
        if not folder.is_dir():
            raise RunNotFoundError(f"no run {ref.key} on this machine", provider=self.name, operation=operation)
        return folder


def _read(path: Path) -> str | None:
    try:
        return path.read_text(errors="replace")
    except FileNotFoundError:
        return None


def _log(folder: Path) -> Any:
    path = folder / "trainer.log"
    path.touch()
    return path.open("rb")


def _pid(folder: Path) -> int | None:
    text = _read(folder / "process.json")
    return int(json.loads(text)["pid"]) if text else None


def _text(rate: Decimal | None) -> str | None:
    return None if rate is None else f"{rate:f}"
