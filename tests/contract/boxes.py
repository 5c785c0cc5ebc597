"""Emulated machines for tests: on loopback addresses of their own, with everything in them ended by process id."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncssh

from ftorch.emulators.boxes.box import Box, free_port


def address() -> str:
    """A loopback address that no other test is likely to have."""
    return f"127.{random.randint(80, 250)}.{random.randint(1, 250)}.{random.randint(1, 250)}"


@contextmanager
def running_box(folder: Path, user_home: Path, **settings: Any) -> Iterator[Box]:
    """A machine that a person with this home may log in to, as his ssh files say."""
    host, client = (asyncssh.generate_private_key("ssh-ed25519") for _ in range(2))
    box = Box(
        folder,
        address(),
        free_port(),
        host.export_private_key().decode(),
        [client.export_public_key().decode().strip()],
        **settings,
    )
    write_ssh_files(user_home, box, host, client)
    try:
        box.start()
        yield box
    finally:
        box.end()
        assert box.processes() == []


def write_ssh_files(home: Path, box: Box, host: asyncssh.SSHKey, client: asyncssh.SSHKey) -> None:
    """The key, the known host and the configuration of a person."""
    folder = home / ".ssh"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    (folder / "id_ed25519").write_bytes(client.export_private_key())
    (folder / "id_ed25519").chmod(0o600)
    public = host.export_public_key().decode()
    (folder / "known_hosts").write_text(f"[{box.address}]:{box.port} {public}")
    (folder / "config").write_text(f"Host {box.address}\n  Port {box.port}\n")


def train_badly(box: Box, words: str = "the loss is not a number") -> None:
    """Let the next training in the box fail by its own fault."""
    (box.folder / "etc" / "instant.json").write_text(json.dumps({"fail": words}))


def train_well(box: Box, **settings: Any) -> None:
    """Let trainings in the box succeed."""
    (box.folder / "etc" / "instant.json").write_text(json.dumps(settings))
