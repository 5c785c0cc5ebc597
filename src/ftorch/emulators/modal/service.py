"""The emulated workspace: apps, volumes, secrets and sandboxes in memory, work by somebody else, time by a clock."""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path

from ftorch.core.clock import to_micros
from ftorch.emulators.modal.bill import Bill, Row
from ftorch.emulators.modal.prices import is_gpu
from ftorch.emulators.modal.sandboxes import OOM_EXIT, LogLine, Order, Sandbox, Status
from ftorch.emulators.modal.volumes import Volume
from ftorch.emulators.modal.work import Container, Work
from ftorch.emulators.server import MovableClock, RefusedError

_LETTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_LONGEST_S = 24 * 3600


class Service:
    """Everything that Modal knows. Not a word about gRPC; all methods are for one thread at a time."""

    def __init__(self, clock: MovableClock, folder: Path, work: Work) -> None:
        self.clock = clock
        self.bill = Bill()
        self.creates: Counter[str] = Counter()
        """How many sandboxes were made under a name."""
        self.queue_delay_s = 0.0
        """How long a new sandbox waits for its machine."""
        self.full: set[str] = set()
        """GPUs of which none is free."""
        self.listing_lag_s = 0.0
        self.stats_lag_s = 0.0
        """How late usage shows in statistics."""
        self.has_billing = True
        """The workspace's plan has reports, rates and statistics by tag."""
        self.image_failure = ""
        """Why no image can be built; empty while they can."""
        self.lock = threading.RLock()
        self.apps: dict[tuple[str, str], str] = {}
        """(account, name) -> id."""
        self.app_tags: dict[str, dict[str, str]] = {}
        self.images: set[str] = set()
        """Those that are built."""
        self.secrets: dict[str, dict[str, str]] = {}
        self.volumes: dict[str, Volume] = {}
        self.sandboxes: dict[str, Sandbox] = {}
        self.blocks: dict[bytes, bytes] = {}
        """Uploaded content by its SHA-256."""
        self._volume_ids: dict[tuple[str, str], str] = {}
        self._app_names: dict[str, str] = {}
        self._by_idempotency: dict[str, str] = {}
        self._folder = folder.absolute()
        self._work = work
        self._last_ns = 0

    # what is looked up or made

    def app(self, account: str, name: str, *, create: bool) -> str:
        """The id of an App by its name or by its id. Raises RefusedError where there is none."""
        key = (account, name)
        if (account, self._app_names.get(name)) in self.apps:
            return name
        if key not in self.apps:
            if not create:
                raise RefusedError(404, "not_found", f"no App {name!r} in this environment")
            self.apps[key] = self._id("ap", len(self.apps))
            self._app_names[self.apps[key]] = name
            self.app_tags[self.apps[key]] = {}
        return self.apps[key]

    def volume(self, account: str, name: str, *, create: bool) -> str:
        key = (account, name)
        if key not in self._volume_ids:
            if not create:
                raise RefusedError(404, "not_found", f"no Volume {name!r} in this environment")
            volume_id = self._id("vo", len(self._volume_ids))
            self._volume_ids[key] = volume_id
            self.volumes[volume_id] = Volume(self._folder / "volumes" / volume_id, self.clock)
        return self._volume_ids[key]

    def volume_names(self, account: str) -> Mapping[str, str]:
        """The account's Volumes by name."""
        return {name: volume_id for (owner, name), volume_id in self._volume_ids.items() if owner == account}

    def secret(self, values: Mapping[str, str]) -> str:
        secret_id = self._id("st", len(self.secrets))
        self.secrets[secret_id] = dict(values)
        return secret_id

    # sandboxes

    def create(self, account: str, order: Order, idempotency_key: str = "") -> Sandbox:
        """Make a sandbox. The same call again, told by its key, makes no second one."""
        if made := self._by_idempotency.get(idempotency_key):
            return self.sandboxes[made]
        self._check(account, order)
        now = self.clock.now()
        number = len(self.sandboxes)
        listed_at = now + timedelta(seconds=self.listing_lag_s)
        sandbox = Sandbox(self._id("sb", number), number, account, order, now, listed_at)
        self.sandboxes[sandbox.id] = sandbox
        self.creates[order.name] += 1
        if idempotency_key:
            self._by_idempotency[idempotency_key] = sandbox.id
        self.look()
        return sandbox

    def sandbox(self, account: str, sandbox_id: str) -> Sandbox:
        self.look()
        found = self.sandboxes.get(sandbox_id)
        if found is None or found.account != account:
            raise RefusedError(404, "not_found", f"no Sandbox {sandbox_id!r}")
        return found

    def of_account(self, account: str) -> list[Sandbox]:
        """All of an account, oldest first."""
        return [one for one in self.sandboxes.values() if one.account == account]

    def listed(self, account: str, app_id: str, tags: Mapping[str, str]) -> list[Sandbox]:
        """Those that run or wait, the newest first."""
        self.look()
        found = [one for one in self._visible(account) if one.order.app_id == app_id or not app_id]
        return [one for one in reversed(found) if tags.items() <= one.order.tags.items()]

    def named(self, account: str, app_name: str, name: str) -> Sandbox:
        self.look()
        app_id = self.apps.get((account, app_name))
        for one in self._visible(account):
            if (one.order.app_id, one.order.name) == (app_id, name):
                return one
        raise RefusedError(404, "not_found", f"no running Sandbox {name!r} in {app_name!r}")

    def newest(self, name: str) -> Sandbox:
        """The newest sandbox of a name, whatever became of it."""
        return [one for one in self.sandboxes.values() if one.order.name == name][-1]

    def terminate(self, sandbox: Sandbox) -> None:
        """Its owner ends it. Nothing happens to one that has ended."""
        self._kill(sandbox, Status.TERMINATED, 0, is_committed=True)

    def preempt(self, sandbox: Sandbox) -> None:
        """Its machine is taken away: what was not committed is lost."""
        self._kill(sandbox, Status.TERMINATED, 0, is_committed=False)

    def kill_for_memory(self, sandbox: Sandbox) -> None:
        """The kernel ends it: it wanted more memory than it has."""
        self._kill(sandbox, Status.KERNEL_OOM_KILL, OOM_EXIT, is_committed=False)

    def forget(self, sandbox: Sandbox) -> None:
        """No trace of it is left, neither here nor on a volume."""
        self._kill(sandbox, Status.TERMINATED, 0, is_committed=False)
        del self.sandboxes[sandbox.id]

    def look(self) -> None:
        """Let time do its work: what is due starts, and what has run out of time ends."""
        now = self.clock.now()
        self._work.look()
        for one in self.sandboxes.values():
            if one.is_over:
                continue
            if one.started_at is None and self._is_due(one, now):
                self._start(one, now)
            if one.started_at and now >= (end := one.started_at + timedelta(seconds=one.order.timeout_s)):
                self._kill(one, Status.TIMEOUT, 0, is_committed=True, at=end)

    def rows(self, account: str) -> list[Row]:
        """The account's bill so far."""
        self.look()
        apps = {app_id: (name, self.app_tags[app_id]) for app_id, name in self._app_names.items()}
        return self.bill.rows(account, self.of_account(account), apps, self.clock.now())

    def ended(self, sandbox: Sandbox, code: int, at: datetime | None = None) -> None:
        """The work has ended by itself."""
        with self.lock:
            if not sandbox.is_over:
                sandbox.ended_at = at or self.clock.now()
                sandbox.exit_code = code
                sandbox.status = Status.FAILURE if code else Status.SUCCESS

    def told(self, sandbox: Sandbox, text: str, at: datetime | None = None) -> None:
        """The work has printed something. No two lines have one moment."""
        with self.lock:
            self._last_ns = max(to_micros(at or self.clock.now()) * 1000, self._last_ns + 1)
            sandbox.lines.append(LogLine(self._last_ns, text))

    def _visible(self, account: str) -> Iterator[Sandbox]:
        now = self.clock.now()
        return (one for one in self.of_account(account) if not one.is_over and one.is_listed_at <= now)

    def _check(self, account: str, order: Order) -> None:
        if order.gpu and not is_gpu(order.gpu):
            raise RefusedError(422, "invalid", f"{order.gpu!r} is no GPU type")
        if not 1 <= order.timeout_s <= _LONGEST_S:
            raise RefusedError(422, "invalid", f"a timeout of {order.timeout_s} s is not between 1 s and 24 h")
        self.look()
        for one in self.of_account(account):
            if not one.is_over and (one.order.app_id, one.order.name) == (order.app_id, order.name) and order.name:
                raise RefusedError(409, "exists", f"a Sandbox named {order.name!r} is running")

    def _is_due(self, sandbox: Sandbox, now: datetime) -> bool:
        is_free = sandbox.order.gpu not in self.full
        return is_free and now >= sandbox.created_at + timedelta(seconds=self.queue_delay_s)

    def _start(self, sandbox: Sandbox, now: datetime) -> None:
        sandbox.started_at = now
        order = sandbox.order
        env = {name: value for one in order.secret_ids for name, value in self.secrets[one].items()}
        volumes = {path: self.volumes[volume_id] for path, volume_id in order.volumes.items()}
        self._work.start(
            Container(sandbox.id, order.argv, env, volumes),
            lambda text: self.told(sandbox, text),
            lambda code: self.ended(sandbox, code),
        )

    def _kill(
        self, sandbox: Sandbox, status: Status, code: int, *, is_committed: bool, at: datetime | None = None
    ) -> None:
        if sandbox.is_over:
            return
        sandbox.status, sandbox.exit_code, sandbox.ended_at = status, code, at or self.clock.now()
        self._work.kill(sandbox.id, is_committed=is_committed)

    def _id(self, prefix: str, number: int) -> str:
        """22 letters and digits, as Modal's ids have them."""
        value = int.from_bytes(hashlib.sha256(f"{self._folder}/{prefix}/{number}".encode()).digest()[:16])
        letters: list[str] = []
        for _ in range(22):
            value, place = divmod(value, len(_LETTERS))
            letters.append(_LETTERS[place])
        return f"{prefix}-{''.join(letters)}"
