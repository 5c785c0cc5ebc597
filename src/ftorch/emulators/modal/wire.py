"""What all RPCs share: who asks, and the shapes that most answers have."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from modal_proto import api_pb2

from ftorch.emulators.modal.sandboxes import Status
from ftorch.emulators.modal.service import Service


@dataclass(frozen=True, slots=True)
class Call:
    """Who asks, and where blocks are to be had."""

    service: Service
    account: str
    blocks_url: str
    idempotency_key: str = ""


Rpc = Callable[[Call, Any], Iterator[Message]]


def single(call: Callable[[Call, Any], Message]) -> Rpc:
    """An RPC with one answer."""

    def answered(asked: Call, request: Any) -> Iterator[Message]:
        yield call(asked, request)

    return answered


def result(status: Status, exit_code: int) -> Any:
    return api_pb2.GenericResult(status=int(status), exitcode=exit_code)  # type: ignore[arg-type]  # an enum's number


def empty() -> Message:
    return Empty()


def moment_of(stamp: Timestamp) -> datetime:
    return stamp.ToDatetime(tzinfo=UTC)


def timestamp(moment: datetime) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    return stamp


def timestamp_ns(nanoseconds: int) -> Timestamp:
    return Timestamp(seconds=nanoseconds // 10**9, nanos=nanoseconds % 10**9)


def nanoseconds(stamp: Timestamp) -> int:
    return stamp.seconds * 10**9 + stamp.nanos
