"""Modal on 127.0.0.1: gRPC for the client, HTTP for the blocks of volumes and for control from outside.

Faults are scripted by the name of an RPC (`SandboxCreate`), or by a route of the blocks (`GET /files/result.json`,
`PUT /blocks`).
"""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

from google.protobuf.message import Message
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from modal_proto import api_pb2

from ftorch.emulators.modal.grpc import GrpcServer, HangUpError
from ftorch.emulators.modal.rpcs import ROUTES
from ftorch.emulators.modal.service import Service
from ftorch.emulators.modal.volumes import BLOCK
from ftorch.emulators.modal.wire import Call
from ftorch.emulators.modal.work import Processes, Work
from ftorch.emulators.server import (
    After,
    Emulator,
    Fault,
    Moment,
    MovableClock,
    RefusedError,
    Reply,
    Request,
    Script,
    error_with,
)

TOKEN_ID = "ak-emulated-4f1c09"  # noqa: S105  nobody else's
TOKEN_SECRET = "as-emulated-secret-77aa31"  # noqa: S105  nobody else's
OTHER_TOKEN_ID = "ak-emulated-other"  # noqa: S105  nobody else's
OTHER_TOKEN_SECRET = "as-emulated-other-secret"  # noqa: S105  nobody else's
WORKSPACE = "tiny-workspace"
_WORKSPACES: Mapping[tuple[str, str], str] = {
    (TOKEN_ID, TOKEN_SECRET): WORKSPACE,
    (OTHER_TOKEN_ID, OTHER_TOKEN_SECRET): "other-workspace",
}
_STATUSES: Mapping[int, Status] = {
    403: Status.PERMISSION_DENIED,
    404: Status.NOT_FOUND,
    409: Status.ALREADY_EXISTS,
    422: Status.INVALID_ARGUMENT,
}
_WITHOUT_TOKEN = ("ClientHello",)
_LOOK_AGAIN_S = 0.05


class ModalEmulator(Emulator):
    """The service on two ports of its own. `url` is what MODAL_SERVER_URL names."""

    name = "modal"
    after: ClassVar[Mapping[Fault, After]] = {
        # Modal's client fills up what is missing of a block with zeros, and says nothing.
        Fault.CUT: lambda reply: replace(reply, body=reply.body[: len(reply.body) // 2]),
    }

    def __init__(
        self,
        clock: MovableClock,
        *,
        folder: Path | None = None,
        work: Work | None = None,
        port: int = 0,
        control_port: int = 0,
    ) -> None:
        super().__init__(clock, port=control_port)
        self._temporary = None if folder else tempfile.TemporaryDirectory(prefix="ftorch-modal-")
        root = folder or Path(self._temporary.name if self._temporary else "")
        self._work = work or Processes(root)
        self.service = Service(clock, root, self._work)
        self.calls: Counter[str] = Counter()
        """How often each RPC was asked, what the client repeats by itself not counted."""
        self.unserved: set[str] = set()
        """RPCs that somebody wanted and that are not served."""
        self._grpc = GrpcServer(self._serve, port)
        self._port = self._grpc.port

    def __enter__(self) -> Self:
        super().__enter__()
        self._grpc.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._grpc.close()
        super().__exit__(kind, error, trace)
        self._work.close()
        if self._temporary:
            self._temporary.cleanup()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def variables(self) -> Mapping[str, str]:
        return {"MODAL_SERVER_URL": self.url, "MODAL_TOKEN_ID": TOKEN_ID, "MODAL_TOKEN_SECRET": TOKEN_SECRET}

    @property
    def control_url(self) -> str:
        """Where the blocks are, and the clock and the faults are to be had."""
        return super().url

    # gRPC

    async def _serve(self, name: str, request: Any, metadata: Mapping[str, str]) -> Iterator[Message]:
        with self._lock:
            answer, wait_s = self._handled(name, request, metadata)
        if wait_s:
            await asyncio.sleep(wait_s)
        if name == "SandboxWait" and request.timeout:
            return await self._long_poll(request, metadata)
        return answer

    async def _long_poll(self, request: Any, metadata: Mapping[str, str]) -> Iterator[Message]:
        """Whoever waits for the end of a sandbox gets an answer when it has come, or their time is up."""
        end = asyncio.get_running_loop().time() + request.timeout
        while True:
            answer = list(self._answered("SandboxWait", request, metadata))
            is_over = any(reply.result.status for reply in answer if isinstance(reply, api_pb2.SandboxWaitResponse))
            if is_over or asyncio.get_running_loop().time() >= end:
                return iter(answer)
            await asyncio.sleep(_LOOK_AGAIN_S)

    def _handled(self, name: str, request: Any, metadata: Mapping[str, str]) -> tuple[Iterator[Message], float]:
        self.requests[name] += 1
        self.calls[name] += metadata.get("x-retry-attempt", "0") == "0"
        self.trace.append(name)
        number = self.requests.total()
        asked = Request(name, (name,), {}, metadata, b"")
        self.watch(Moment.ASKED, number, asked)
        script = self._numbered.pop(number, None) or self._next(name) or Script(Fault.NONE)
        self._refuse(script, request, metadata)
        answer = list(self._answered(name, request, metadata))
        self.watch(Moment.DONE, number, asked)
        match script.fault:
            case Fault.DROP_AFTER:
                raise HangUpError
            case Fault.UNAVAILABLE_AFTER:
                raise GRPCError(Status.UNAVAILABLE, "try again later")
            case Fault.GARBAGE:
                answer = [type(message)() for message in answer]
            case Fault.SHUFFLED:
                answer = [_shuffled(message) for message in answer]
            case _:
                pass
        return iter(answer), float(script.value or 1) if script.fault is Fault.SLOW else 0

    def _answered(self, name: str, request: Any, metadata: Mapping[str, str]) -> Iterator[Message]:
        if name not in ROUTES:
            self.unserved.add(name)
            raise GRPCError(Status.UNIMPLEMENTED, f"the emulator does not serve {name}")
        account = _WORKSPACES.get((metadata.get("x-modal-token-id", ""), metadata.get("x-modal-token-secret", "")))
        if account is None and name not in _WITHOUT_TOKEN:
            raise GRPCError(Status.UNAUTHENTICATED, "no such token")
        call = Call(self.service, account or "", self.control_url, metadata.get("x-idempotency-key", ""))
        try:
            with self.service.lock:
                yield from ROUTES[name](call, request)
        except RefusedError as refused:
            raise GRPCError(_STATUSES[refused.status], refused.message) from refused
        except KeyError as error:
            raise GRPCError(Status.NOT_FOUND, f"no {error}") from error

    def _refuse(self, script: Script, request: Any, metadata: Mapping[str, str]) -> None:
        """Faults in whose place nothing is done."""
        match script.fault:
            case Fault.DROP_BEFORE:
                raise HangUpError
            case Fault.ERROR:
                raise GRPCError(Status.INTERNAL, "modal stumbled")
            case Fault.NO_CAPACITY:
                raise GRPCError(Status.RESOURCE_EXHAUSTED, "no GPU of this type is free")
            case Fault.RATE_LIMITED:
                policy = api_pb2.RPCRetryPolicy(retry_after_secs=float(script.value or 1))
                raise GRPCError(Status.RESOURCE_EXHAUSTED, "slow down", [policy])
            case Fault.REFUSED_KEY:
                words = f"the token {metadata.get('x-modal-token-secret')!r} is not valid"
                raise GRPCError(Status.UNAUTHENTICATED, words)
            case Fault.REJECT:
                raise GRPCError(Status.INVALID_ARGUMENT, self._rejected(request))
            case _:
                pass

    def _rejected(self, request: Any) -> str:
        """Words that repeat what was asked for, secrets included."""
        definition = request.definition
        values = [self.service.secrets.get(one, {}) for one in definition.secret_ids]
        return f"sandbox {definition.name} cannot be made with {values}"

    # blocks

    def route(self, method: str, parts: tuple[str, ...], _query: Mapping[str, str]) -> str:
        return f"{method} /files/{parts[-1]}" if parts[0] == "files" else f"{method} /{parts[0]}"

    def answer(self, request: Request) -> Reply:
        match request.route, request.parts:
            case "PUT /blocks", (_, sha256):
                self.service.blocks[bytes.fromhex(sha256)] = request.body
                return Reply(200, b"ok")
            case route, ("files", volume_id, *path) if route.startswith("GET "):
                start = int(request.query["start"])
                content = self.service.volumes[volume_id].read("/".join(path))
                return Reply(200, content[start : start + BLOCK])
            case _:
                raise RefusedError(404, "no_route", f"no {request.route}")

    def refusal(self, status: int, code: str, message: str) -> Reply:
        return error_with(status, code, message)


def _shuffled(message: Any) -> Any:
    """A page in another order, but for its last entry: from that one the client goes on."""
    *others, last = message.sandboxes or [None]
    return type(message)(sandboxes=[*reversed(others), last]) if last is not None else message
