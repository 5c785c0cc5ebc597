"""The user's machines: how one is named, how it is reached, and which ones ever had a run of ours."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ftorch.core.errors import RunRejectedError
from ftorch.core.files import locked, write_text
from ftorch.core.paths import Home
from ftorch.providers.ssh.link import Host

_NAME = re.compile(r"^(?:(?P<user>[\w.-]+)@)?(?P<address>[\w.-]+|\[[0-9a-fA-F:]+\])(?::(?P<port>\d{1,5}))?$", re.ASCII)
_IDENTITIES = ("id_ed25519", "id_ecdsa", "id_rsa")


def host_of(place: str, env: Mapping[str, str], identity: str | None = None) -> Host:
    """A machine by its name, `user@host` or `user@host:port`, with the user's own keys and known hosts.

    Raises RunRejectedError for a name that is none.
    """
    found = _NAME.match(place)
    if found is None:
        raise RunRejectedError(
            f"{place!r} is no machine: provider.ssh.host must be user@host or user@host:port",
            provider="ssh",
            operation="stage",
        )
    folder = Path(env.get("HOME") or Path.home()) / ".ssh"
    identities = [Path(identity).expanduser()] if identity else [folder / name for name in _IDENTITIES]
    return Host(
        user=found["user"] or env.get("USER") or "root",
        address=found["address"].strip("[]"),
        port=int(found["port"]) if found["port"] else None,
        known_hosts=_if_there(folder / "known_hosts"),
        config=_if_there(folder / "config"),
        agent=env.get("SSH_AUTH_SOCK"),
        identities=tuple(path for path in identities if path.is_file()),
    )


class KnownHosts:
    """The machines that were ever given something to do, in a file of the state folder."""

    def __init__(self, home: Home) -> None:
        self._home = home

    def add(self, place: str, identity: str | None) -> None:
        """Remember a machine, before anything is made on it."""
        if self.all().get(place, "") == identity:
            return
        folder = self._home.ensure().root / "ssh"
        folder.mkdir(exist_ok=True)
        with locked(folder):
            write_text(self._file, json.dumps({**self.all(), place: identity}, indent=1))

    def all(self) -> Mapping[str, str | None]:
        """Place -> key file, oldest first."""
        if not self._file.exists():
            return {}
        known: dict[str, Any] = json.loads(self._file.read_text())
        return known

    def places(self) -> Sequence[str]:
        return list(self.all())

    @property
    def _file(self) -> Path:
        return self._home.root / "ssh" / "hosts.json"


def _if_there(path: Path) -> Path | None:
    return path if path.is_file() else None
