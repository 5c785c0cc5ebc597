"""What names this machine and state folder, made once: a host's own name changes with the network that it is in."""

from __future__ import annotations

import os
import platform

from ftorch.core.files import write_text_once
from ftorch.core.paths import Home


def host_id(home: Home) -> str:
    """The name, kept in the state folder. Two state folders on one host are two places, with files of their own."""
    path = home.ensure().root / "host.id"
    if not path.exists():
        write_text_once(path, f"{platform.node() or 'localhost'}-{os.urandom(3).hex()}")
    return path.read_text()


def is_here(host: str, home: Home) -> bool:
    """The host is this one. Rows of older versions have the machine's own name."""
    return host in (host_id(home), platform.node())
