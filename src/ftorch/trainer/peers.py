"""The other workers of a training: adding up, waiting for each other, and being told. Alone, nothing happens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch


def summed(values: Sequence[int]) -> list[int]:
    """The sums over all workers. Every worker must ask, in the same order."""
    if not _are_there():
        return list(values)
    tensor = torch.tensor(list(values), dtype=torch.int64, device=_device())
    torch.distributed.all_reduce(tensor)
    return [int(value) for value in tensor.tolist()]


def meet() -> None:
    """Wait until every worker is here."""
    if _are_there():
        torch.distributed.barrier()


def told(value: Any) -> Any:
    """What the writer says; the others' own value is not looked at."""
    if not _are_there():
        return value
    box = [value]
    torch.distributed.broadcast_object_list(box, src=0, device=_device())
    return box[0]


def _are_there() -> bool:
    return bool(torch.distributed.is_available() and torch.distributed.is_initialized())


def _device() -> Any:
    return torch.device("cuda" if torch.distributed.get_backend() == "nccl" else "cpu")
