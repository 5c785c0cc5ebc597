"""Whether a plan keeps to what Together allows for a model, and how its batch is split there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ftorch.core.errors import RunRejectedError
from ftorch.manifest.plan import Plan
from ftorch.providers.together.api import Limits
from ftorch.providers.together.body import evaluations


@dataclass(frozen=True, slots=True)
class Batch:
    """A step of the optimizer: so many sequences at once, so many times."""

    size: int
    accumulation: int


def fit(plan: Plan, limits: Limits) -> Batch:
    """How the plan's batch is split. Raises RunRejectedError with all that is outside of the limits."""
    faults = list(_faults(plan, limits))
    batch = _batch(plan, limits)
    if batch is None:
        low, high = _batch_range(plan, limits)
        size = f"{low}" if low == high else f"a number from {low} to {high}"
        faults.append(f"method.batch_size is {plan.method.batch_size}, it must be a multiple of {size}")
    if faults or batch is None:
        words = f"together does not train {plan.base_model.id} like this: {'; '.join(faults)}"
        raise RunRejectedError(words, provider="together", operation="stage", hint="change the manifest and submit it")
    return batch


def _faults(plan: Plan, limits: Limits) -> Iterator[str]:
    method, lora = plan.method, limits.lora_training
    longest = limits.max_seq_length_dpo if method.type == "dpo" else limits.max_seq_length_sft
    rate = (limits.min_learning_rate, limits.max_learning_rate)
    yield from _outside("method.lora.rank", method.lora.rank, 1, lora.max_rank)
    yield from _outside("method.epochs", method.epochs, 1, limits.max_num_epochs)
    yield from _outside("method.learning_rate", method.learning_rate or 0, *rate)
    yield from _outside("method.max_length", method.max_length, limits.min_max_seq_length, longest)
    yield from _outside("evaluations, one an epoch,", evaluations(plan), 0, limits.max_num_evals)
    if not isinstance(method.lora.targets, str) and lora.target_modules:
        for name in sorted(set(method.lora.targets) - set(lora.target_modules)):
            yield f"method.lora.targets has {name!r}, the model has {', '.join(lora.target_modules)}"


def _outside(name: str, value: float, low: float | None, high: float | None) -> Iterator[str]:
    if low is not None and value < low:
        yield f"{name} is {value:g}, the least is {low:g}"
    if high is not None and value > high:
        yield f"{name} is {value:g}, the most is {high:g}"


def _batch(plan: Plan, limits: Limits) -> Batch | None:
    """As few passes as possible: together they are the plan's batch. None where no number of passes is."""
    low, high = _batch_range(plan, limits)
    wanted = plan.method.batch_size
    sizes = (size for size in range(min(high, wanted), low - 1, -1) if wanted % size == 0)
    size = next(sizes, None)
    return Batch(size, wanted // size) if size else None


def _batch_range(plan: Plan, limits: Limits) -> tuple[int, int]:
    lora = limits.lora_training
    return max(lora.min_batch_size, 1), lora.max_batch_size_dpo if plan.method.type == "dpo" else lora.max_batch_size
