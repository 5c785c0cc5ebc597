"""What this machine computes with: the device, the precision that suits it, and how many threads."""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ftorch.trainer.errors import OutOfMemoryError, SpecError
from ftorch.trainer.spec import Precision

Kind = Literal["cuda", "mps", "cpu"]
MOST_THREADS = 4
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # malloc.h
_MEMORY_WORDS = ("out of memory", "can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED")


@dataclass(frozen=True, slots=True)
class World:
    """Which of several workers we are; alone unless whoever started us says otherwise."""

    rank: int = 0
    size: int = 1
    here: int = 1
    """How many of them share this machine."""

    @property
    def is_writer(self) -> bool:
        """Only one worker writes checkpoints, events and metrics."""
        return self.rank == 0


@dataclass(frozen=True, slots=True)
class Device:
    """The device a run computes on."""

    kind: Kind
    name: str
    dtype: Literal["float32", "bfloat16"]
    threads: int

    @property
    def autocasts(self) -> bool:
        # On CPU the weights are bf16 already and autocast costs more than it brings.
        return self.kind == "cuda" and self.dtype == "bfloat16"

    @property
    def checkpoints_gradients(self) -> bool:
        # On CPU memory is not what runs out, and recomputing costs 43 % more time.
        return self.kind == "cuda"

    def torch_dtype(self) -> Any:
        import torch

        return getattr(torch, self.dtype)


def choose(dtype: Precision, threads: int | None, sharing: int = 1) -> Device:
    """The best device there is. Sets torch's number of threads, and on CPU how memory is kept.

    `sharing` workers have the machine's cores together.
    """
    import torch

    kind = _kind(torch)
    threads = threads or max(min(_cores() // sharing, MOST_THREADS), 1)
    torch.set_num_threads(threads)
    if kind == "cpu":
        _keep_freed_memory()
    name = torch.cuda.get_device_name(0) if kind == "cuda" else platform.processor() or platform.machine()
    return Device(kind, name, _best_dtype(torch, kind) if dtype == "auto" else dtype, threads)


def peak_rss_bytes() -> int:
    """The most memory that this process held."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


@contextmanager
def memory_errors(hint: str) -> Iterator[None]:
    """Give running out of memory one name, whichever library noticed it."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:  # torch.OutOfMemoryError is a RuntimeError
        if isinstance(error, RuntimeError) and not any(words in str(error) for words in _MEMORY_WORDS):
            raise
        raise OutOfMemoryError(str(error) or "no memory left", hint=hint) from error


def quantization(device: Device, quantize: str | None) -> Any:
    """The settings for 4-bit weights, or None. Raises SpecError where they cannot be had."""
    if quantize is None:
        return None
    if device.kind != "cuda":
        raise SpecError(f"quantize: 4bit needs a CUDA GPU, this machine has {device.kind}")
    import torch
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )


def cpu_has_bfloat16(torch: Any) -> bool:
    """Whether the CPU multiplies bf16 natively; elsewhere bf16 is emulated and slower than fp32."""
    try:
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    except AttributeError:
        return _flags_name_bfloat16(Path("/proc/cpuinfo"))


def _flags_name_bfloat16(cpuinfo: Path) -> bool:
    if not cpuinfo.exists():
        return False
    flags = next((line for line in cpuinfo.read_text().splitlines() if line.startswith("flags")), "")
    return not {"avx512_bf16", "amx_bf16"}.isdisjoint(flags.split())


def _keep_freed_memory() -> None:
    """Let glibc hold on to big blocks: given back to the kernel after each use, they cost a fifth of a step's CPU.

    The price is 15 % more memory at the peak (SmolLM2, batch 8).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # other C libraries have none
    if mallopt:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def _kind(torch: Any) -> Kind:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _best_dtype(torch: Any, kind: Kind) -> Literal["float32", "bfloat16"]:
    match kind:
        case "cuda":
            # `is_bf16_supported()` also says yes where bf16 is emulated; Ampere (8.0) has it for real.
            return "bfloat16" if torch.cuda.get_device_capability(0)[0] >= 8 else "float32"
        case "cpu":
            return "bfloat16" if cpu_has_bfloat16(torch) else "float32"
        case "mps":
            return "float32"


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
