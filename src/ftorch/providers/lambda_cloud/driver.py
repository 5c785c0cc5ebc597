"""The machines as boxes: whom we trust there, when it is worth knocking, and logs brought home while they can be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path

from ftorch.core.clock import Clock
from ftorch.core.errors import FtorchError
from ftorch.core.paths import Home
from ftorch.providers.base import LogPage
from ftorch.providers.lambda_cloud.api import Instance
from ftorch.providers.lambda_cloud.settings import Settings
from ftorch.providers.ssh.box import ANSWER_S, Box, Reading, read_many
from ftorch.providers.ssh.keys import KeyPair, derived
from ftorch.providers.ssh.link import Host, Link
from ftorch.providers.ssh.log import PAGE, log_page, page

_KNOCK_AGAIN = timedelta(seconds=5)
_OBSERVE_S = 15.0
_LOG = "trainer.log"
_KEPT = (_LOG, "out/events.jsonl", "out/metrics.jsonl")


class Driver:
    """Boxes by instance."""

    def __init__(self, settings: Settings, home: Home, clock: Clock, link: Link, *, answer_s: float = ANSWER_S) -> None:
        self._settings = settings
        self._home = home
        self._clock = clock
        self._link = link
        self._answer_s = answer_s
        self._knocked: dict[str, datetime] = {}

    def client_key(self, key: str) -> KeyPair:
        """With which we log in to the machines of one run."""
        return derived(self._settings.key, f"client {key}")

    def host_key(self, key: str) -> KeyPair:
        """By which a machine of one run is known."""
        return derived(self._settings.key, f"host {key}")

    def box(self, instance: Instance) -> Box:
        return Box(self._link, self._host(instance), "lambda", self._answer_s)

    def may_knock(self, instance: Instance) -> bool:
        """False for some seconds after a machine has not answered: its sshd is still to come up."""
        knocked = self._knocked.get(instance.id)
        return instance.ip is not None and (knocked is None or self._clock.now() >= knocked + _KNOCK_AGAIN)

    def nobody_home(self, instance: Instance) -> None:
        self._knocked[instance.id] = self._clock.now()

    def read(self, instances: Sequence[Instance]) -> Mapping[str, Reading | FtorchError | None]:
        """The runs' folders on all these machines at once, by instance; each machine has its own time to answer."""
        hosts = {self._host(one): one for one in instances if one.ip is not None}
        wanted = {host: [one.name or ""] for host, one in hosts.items()}
        answers = read_many(self._link, "lambda", wanted, timeout_s=_OBSERVE_S)
        return {
            one.id: answer[one.name or ""] if isinstance(answer, Mapping) else answer
            for host, one in hosts.items()
            for answer in [answers[host]]
        }

    def bring_logs(self, instance: Instance) -> None:
        """Copy what the run printed and told to this machine; what there is is gone on from.

        Nothing waits for it: a machine that does not answer costs money all the same.
        """
        box, key = self.box(instance), instance.name or ""
        try:
            for name in _KEPT:
                box.copy(key, name, self.logs_of(key) / Path(name).name)
        except FtorchError:
            return

    def logs_of(self, key: str) -> Path:
        """The folder of logs that were brought home."""
        return self._home.root / "lambda" / "logs" / key

    def page(self, box: Box, key: str, cursor: str | None) -> LogPage:
        """A page of the log where it is written."""
        return log_page(box, key, cursor)

    def page_at_home(self, key: str, cursor: str | None) -> LogPage | None:
        """A page of a log that was brought home; None where none was."""
        log, start = self.logs_of(key) / _LOG, int(cursor or 0)
        if not log.is_file():
            return None
        with log.open("rb") as stream:
            stream.seek(start)
            return page(stream.read(PAGE), start, is_over=True)

    def forget(self, instance: Instance) -> None:
        """The machine is gone: keep no connection."""
        if instance.ip is not None:
            self._link.forget(self._host(instance))

    def close(self) -> None:
        self._link.close()

    def _host(self, instance: Instance) -> Host:
        key = instance.name or ""
        return Host(
            self._settings.ssh_user,
            instance.ip or "",
            self._settings.ssh_port,
            keys=(self.client_key(key).key,),
            host_key=self.host_key(key).public_key,
        )
