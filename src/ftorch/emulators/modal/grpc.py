"""The wheel's own service base class on a port of its own, in a thread with an event loop."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any

from google.protobuf.message import Message
from grpclib.const import Status
from grpclib.encoding.base import StatusDetailsCodecBase
from grpclib.exceptions import GRPCError
from grpclib.server import Server, Stream
from modal_proto import api_pb2
from modal_proto.api_grpc import ModalClientBase

Handler = Callable[[str, Any, Mapping[str, str]], Awaitable[Iterator[Message]]]
"""Is given the RPC's name, its request and its metadata. Raises GRPCError, or HangUpError."""


class HangUpError(Exception):
    """The connection ends without an answer."""


class DetailsCodec(StatusDetailsCodecBase):
    """Details of an error as Modal's client reads them."""

    def encode(self, status: Status, message: str | None, details: Sequence[Message] | None) -> bytes:
        told = api_pb2.RPCStatus(code=status.value, message=message or "")
        for detail in details or ():
            told.details.add().Pack(detail, type_url_prefix="type.modal.com/")
        return bytes(told.SerializeToString())

    def decode(self, status: Status, message: str | None, data: bytes) -> Any:  # noqa: ARG002  a server's base class
        """Servers read none."""
        return None


class GrpcServer:
    """Has its port from the beginning, and serves until it is closed. Raises OSError for a port that is taken."""

    def __init__(self, handler: Handler, port: int) -> None:
        self._handler = handler
        # Made anew from its number, the socket knows its protocol, and so asyncio sends each answer at once; else it
        # would wait 40 ms for the acknowledgement of the part before.
        self._socket = socket.socket(fileno=socket.create_server(("127.0.0.1", port)).detach())
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="modal-grpc", daemon=True)
        self._server: Server | None = None

    @property
    def port(self) -> int:
        return int(self._socket.getsockname()[1])

    def start(self) -> None:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result()

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _start(self) -> None:
        self._server = Server([_servicer(self._handler)], status_details_codec=DetailsCodec(), codec=None)
        await self._server.start(sock=self._socket)

    async def _stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in asyncio.all_tasks(self._loop):
            if task is not asyncio.current_task():
                task.cancel()
        await self._server.wait_closed()


def _servicer(handler: Handler) -> ModalClientBase:
    """Every RPC of the service goes to the handler."""
    methods = {name: _method(name, handler) for name in ModalClientBase.__abstractmethods__}
    made: type[ModalClientBase] = type("Servicer", (ModalClientBase,), methods)
    return made()


def _method(name: str, handler: Handler) -> Callable[[object, Stream[Any, Any]], Awaitable[None]]:
    async def serve(_self: object, stream: Stream[Any, Any]) -> None:
        request = await stream.recv_message()
        metadata = {key: str(value) for key, value in (stream.metadata or {}).items()}
        try:
            for reply in await handler(name, request, metadata):
                await stream.send_message(reply)
        except HangUpError:
            await stream.cancel()
        except GRPCError as error:
            await stream.send_trailing_metadata(
                status=error.status, status_message=error.message, status_details=error.details
            )

    return serve
