"""What an address tells about who can listen on the way."""

from __future__ import annotations

from ipaddress import ip_address


def is_loopback(host: str) -> bool:
    """The host is this machine: what is sent there leaves it on no wire."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
