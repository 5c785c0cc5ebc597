"""How a machine is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from ftorch.core.errors import RunRejectedError
from ftorch.core.paths import Home
from ftorch.providers.ssh.hosts import KnownHosts, host_of


@pytest.mark.parametrize(
    ("place", "user", "address", "port"),
    [
        ("ada@box", "ada", "box", None),
        ("box", "me", "box", None),
        ("ada@box.example.org:2222", "ada", "box.example.org", 2222),
        ("ada@10.0.0.7", "ada", "10.0.0.7", None),
        ("ada@[2001:db8::7]:22", "ada", "2001:db8::7", 22),
    ],
)
def test_a_machine_is_named_as_for_ssh(tmp_path: Path, place: str, user: str, address: str, port: int | None) -> None:
    host = host_of(place, {"HOME": str(tmp_path), "USER": "me"})

    assert (host.user, host.address, host.port) == (user, address, port)


@pytest.mark.parametrize("place", ["", "ada@", "a b", "ssh://box", "ada@box:port", "ada@box; rm -rf /", "-oProxy=x y"])
def test_what_is_no_machine_is_refused(tmp_path: Path, place: str) -> None:
    with pytest.raises(RunRejectedError, match="user@host"):
        host_of(place, {"HOME": str(tmp_path)})


def test_without_known_hosts_nobody_is_known(tmp_path: Path) -> None:
    host = host_of("ada@box", {"HOME": str(tmp_path)})

    assert (host.known_hosts, host.host_key, host.identities) == (None, None, ())


def test_the_users_own_files_are_used(tmp_path: Path) -> None:
    folder = tmp_path / ".ssh"
    folder.mkdir()
    for name in ("known_hosts", "config", "id_ed25519"):
        (folder / name).touch()

    host = host_of("ada@box", {"HOME": str(tmp_path), "SSH_AUTH_SOCK": "/run/agent"})

    assert (host.known_hosts, host.config) == (folder / "known_hosts", folder / "config")
    assert (host.identities, host.agent) == ((folder / "id_ed25519",), "/run/agent")


def test_machines_that_were_used_are_remembered_in_order(tmp_path: Path) -> None:
    KnownHosts(Home(tmp_path)).add("ada@one", None)
    KnownHosts(Home(tmp_path)).add("ada@two", "~/key")
    KnownHosts(Home(tmp_path)).add("ada@one", None)

    assert KnownHosts(Home(tmp_path)).all() == {"ada@one": None, "ada@two": "~/key"}
