"""The header of a safetensors file and the questions we ask of an adapter's tensors, in the standard library alone.

The format: 8 bytes of little-endian header length, a JSON header with dtype, shape and offsets per tensor, then data.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ftorch.core.errors import ArtifactError

_LARGEST_HEADER = 100 << 20
_WIDTH = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor's place in the file."""

    name: str
    shape: tuple[int, ...]
    start: int
    end: int


def read_tensors(path: Path) -> list[Tensor]:
    """All tensors of a file, checked against its length. Raises ArtifactError for anything that does not add up."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        head = stream.read(8)
        length = struct.unpack("<Q", head)[0] if len(head) == 8 else 0
        if not 2 <= length <= min(_LARGEST_HEADER, size - 8):
            raise ArtifactError(f"{path.name} is not a safetensors file")
        try:
            header = json.loads(stream.read(length))
        except ValueError as error:
            raise ArtifactError(f"{path.name} has a damaged header") from error
    header.pop("__metadata__", None)
    tensors = [_tensor(path, name, entry, 8 + length, size) for name, entry in header.items()]
    if not tensors:
        raise ArtifactError(f"{path.name} holds no tensors")
    return tensors


def is_zero(path: Path, tensor: Tensor) -> bool:
    """True when every byte of the tensor is zero."""
    with path.open("rb") as stream:
        stream.seek(tensor.start)
        return not stream.read(tensor.end - tensor.start).strip(b"\0")


def _tensor(path: Path, name: str, entry: Any, start: int, size: int) -> Tensor:
    match entry:
        case {"dtype": str(dtype), "shape": [*shape], "data_offsets": [int(first), int(last)]} if dtype in _WIDTH:
            count = 1
            for side in shape:
                count *= int(side)
            if last - first != count * _WIDTH[dtype] or start + last > size:
                raise ArtifactError(f"{path.name}: tensor {name!r} does not fit its shape or the file is cut short")
            return Tensor(name, tuple(int(side) for side in shape), start + first, start + last)
        case _:
            raise ArtifactError(f"{path.name}: tensor {name!r} is described in a way that we cannot read")
