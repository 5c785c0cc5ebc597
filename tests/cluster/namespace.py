"""A network of its own: `namespace.py SOCKET PORT` has a loopback and nothing else, until it is ended.

Whoever connects to the Unix socket SOCKET reaches 127.0.0.1:PORT in there; a socket of a file system is the one thing
that leads out. Others join with `nsenter`. Prints a line once it is ready.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import fcntl
import os
import socket
import struct
import sys

_NEW_USER, _NEW_NET = 0x10000000, 0x40000000
_SIOCSIFFLAGS, _IFF_UP = 0x8914, 1


def main() -> None:
    path, port = sys.argv[1], int(sys.argv[2])
    user, group = os.getuid(), os.getgid()
    wanted = _NEW_NET if user == 0 else _NEW_NET | _NEW_USER
    if ctypes.CDLL(None, use_errno=True).unshare(wanted) != 0:
        sys.exit(f"no network namespace: {os.strerror(ctypes.get_errno())}")
    if user != 0:
        _map(user, group)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", _IFF_UP))
    asyncio.run(_serve(path, port))


def _map(user: int, group: int) -> None:
    for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
        with open(f"/proc/self/{name}", "w") as stream:  # noqa: PTH123  one write, as the kernel wants it
            stream.write(text)


async def _serve(path: str, port: int) -> None:
    async def bridged(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
            await asyncio.gather(_pump(reader, inner_writer), _pump(inner_reader, writer))
        writer.close()

    server = await asyncio.start_unix_server(bridged, path)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await server.serve_forever()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while block := await reader.read(1 << 16):
            writer.write(block)
            await writer.drain()
    with contextlib.suppress(OSError, RuntimeError):
        writer.close()


if __name__ == "__main__":
    main()
