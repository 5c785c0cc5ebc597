"""Does it fit into the GPU? Weights, adapter with its optimizer, activations and logits, by one stated formula.

    need = 1.2 x (weights + 16 x trainable + activations + logits + 2 GB)

in bytes, for one GPU (data parallel: each has it all), with gradient checkpointing:

    weights      parameters x 2 (bfloat16), or x 0.6 (4 bit, embeddings in bfloat16)
    trainable    rank x 20 x hidden x layers: the seven projections of a layer with grouped-query attention have inputs
                 and outputs of 20 x hidden together; 16 bytes each: weight, gradient and two moments in float32 (the
                 accounting of ZeRO, Rajbhandari et al. 2020)
    activations  layers x tokens x hidden x 2 (one checkpoint per layer) + 34 x tokens x hidden (the one that is live;
                 Korthikanti et al. 2022); tokens = rows per pass x tokens of the longest row
    logits       tokens x vocabulary x 6 (float32 and its gradient in half precision)
    DPO          twice the activations and logits: chosen and rejected
    2 GB         CUDA's own and fragmentation; 1.2: what the formula does not know

Nobody has checked it on a GPU. It gives 26.5 GB for 8 B and 182 for 70 B at 2,048 tokens and one row a pass, where
Unsloth's table names 22 and 164 as the least.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_UP, Decimal
from enum import StrEnum

from ftorch.manifest.plan import Plan
from ftorch.manifest.schema import Dpo

_GB = Decimal(10**9)
_VOCABULARY = 152_000
"""Of the largest family that we list; smaller ones need less."""
_MARGIN = Decimal("1.2")
_TIGHT = Decimal("0.9")
_LARGEST_PASS = 8


class Fit(StrEnum):
    """Whether the training goes into one GPU's memory."""

    FITS = "fits"
    TIGHT = "tight"
    TOO_LARGE = "too_large"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class MemoryNeed:
    """What one GPU must hold, in GB."""

    weights: Decimal
    adapter: Decimal
    activations: Decimal
    logits: Decimal
    total: Decimal
    """With CUDA's own share and the margin."""

    def fit(self, memory_gb: Decimal | None) -> Fit:
        if memory_gb is None:
            return Fit.UNKNOWN
        if self.total > memory_gb:
            return Fit.TOO_LARGE
        return Fit.TIGHT if self.total > _TIGHT * memory_gb else Fit.FITS


def memory_need(plan: Plan) -> MemoryNeed | None:
    """What the plan needs; None where nobody knows the size of its base model."""
    if not plan.parameters:
        return None
    layers, hidden = _shape(plan.parameters)
    tokens = rows_per_pass(plan) * min(plan.dataset.longest_row_tokens, plan.method.max_length)
    answers = 2 if isinstance(plan.method, Dpo) else 1
    weights = plan.parameters * (Decimal("0.6") if plan.method.quantize else Decimal(2)) / _GB
    adapter = Decimal(16 * plan.method.lora.rank * 20 * hidden * layers) / _GB
    activations = Decimal(answers * tokens * hidden * (2 * layers + 34)) / _GB
    logits = Decimal(answers * tokens * _VOCABULARY * 6) / _GB
    total = _MARGIN * (weights + adapter + activations + logits + 2)
    return MemoryNeed(*(_rounded(one) for one in (weights, adapter, activations, logits, total)))


def rows_per_pass(plan: Plan) -> int:
    """The trainer's rule: the largest divisor of the batch size up to 8, unless the manifest says so."""
    method = plan.method
    if method.micro_batch_size:
        return method.micro_batch_size
    return max(size for size in range(1, _LARGEST_PASS + 1) if method.batch_size % size == 0)


def _shape(parameters: int) -> tuple[int, int]:
    """Layers and hidden size of a usual model: 12 x layers x hidden squared weights, hidden about 113 x layers.

    Qwen3-8B: 38 and 4,270 for its 36 and 4,096; Llama-3.3-70B: 77 and 8,740 for 80 and 8,192.
    """
    layers = max(1, round((parameters / (12 * 113**2)) ** (1 / 3)))
    return layers, round((parameters / (12 * layers)) ** 0.5)


def _rounded(value: Decimal) -> Decimal:
    return value.quantize(Decimal("0.1"), rounding=ROUND_UP)
