"""Which models can be tuned and what that costs: the emulator's own table and tariff, dated 2026-11-23.

Names, sizes and prices follow public pages of 2026; context lengths and batch sizes are of the right order and may
differ from what the service says today. Nothing of ftorch reads its prices from here: this is the other side.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Literal, Self

from ftorch.emulators.server import RefusedError

Method = Literal["sft", "dpo"]

MIN_SEQ_LENGTH = 32
MAX_EPOCHS, MAX_EVALS, MAX_CHECKPOINTS = 20, 100, 20
MIN_LEARNING_RATE, MAX_LEARNING_RATE = 1e-8, 1e-2
DEFAULT_RANK = 8
_NANO = Decimal("0.000000001")
_MILLION = 1_000_000
_LINEAR = ("k_proj", "o_proj", "q_proj", "v_proj", "gate_proj", "up_proj", "down_proj")
_INTERNAL_COPY = "__TOG__FT"


@dataclass(frozen=True, slots=True)
class TunableModel:
    """One base model of the table. `billions` counts all weights, those that rest included: prices go by it."""

    id: str
    billions: Decimal
    context_sft: int
    context_dpo: int
    min_batch: int = 8
    max_batch: int = 64
    max_batch_dpo: int = 32
    max_rank: int = 64
    has_full_training: bool = True
    has_reasoning: bool = False
    target_modules: tuple[str, ...] = _LINEAR

    @property
    def name_in_adapters(self) -> str:
        """What `adapter_config.json` names: for the `-Reference` models it is the service's internal copy."""
        if not self.id.endswith("-Reference"):
            return self.id
        return f"togethercomputer/{self.id.partition('/')[2]}{_INTERNAL_COPY}"

    @property
    def parameters(self) -> int:
        return int(self.billions * 1_000_000_000)

    def context(self, method: Method) -> int:
        return self.context_dpo if method == "dpo" else self.context_sft

    def largest_batch(self, method: Method) -> int:
        return self.max_batch_dpo if method == "dpo" else self.max_batch


_MODELS = (
    TunableModel("Qwen/Qwen3-0.6B", Decimal("0.6"), 32768, 16384, has_reasoning=True),
    TunableModel("Qwen/Qwen3-1.7B", Decimal("1.7"), 32768, 16384, has_reasoning=True),
    TunableModel("Qwen/Qwen3-4B", Decimal("4.0"), 32768, 16384, has_reasoning=True),
    TunableModel("Qwen/Qwen3-8B", Decimal("8.2"), 32768, 16384, has_reasoning=True),
    TunableModel("Qwen/Qwen3-14B", Decimal("14.8"), 32768, 16384, has_reasoning=True),
    TunableModel("Qwen/Qwen3-32B", Decimal("32.8"), 16384, 8192, 8, 16, 8, has_reasoning=True),
    TunableModel(
        "Qwen/Qwen3-235B-A22B", Decimal(235), 16384, 8192, 1, 1, 1, 16, has_full_training=False, has_reasoning=True
    ),
    TunableModel("Qwen/Qwen3.5-9B", Decimal("9.0"), 65536, 32768, has_reasoning=True),
    TunableModel("Qwen/Qwen2.5-7B-Instruct", Decimal("7.6"), 32768, 16384),
    TunableModel("Qwen/Qwen2.5-72B-Instruct", Decimal("72.7"), 32768, 16384, 8, 16, 8, has_full_training=False),
    TunableModel("meta-llama/Llama-3.2-1B-Instruct", Decimal("1.24"), 131072, 65536),
    TunableModel("meta-llama/Llama-3.2-3B-Instruct", Decimal("3.21"), 131072, 65536),
    TunableModel("meta-llama/Meta-Llama-3.1-8B-Instruct-Reference", Decimal("8.03"), 131072, 65536),
    TunableModel(
        "meta-llama/Meta-Llama-3.1-70B-Instruct-Reference",
        Decimal("70.6"),
        32768,
        16384,
        8,
        8,
        8,
        has_full_training=False,
    ),
    TunableModel("mistralai/Mistral-7B-Instruct-v0.2", Decimal("7.2"), 32768, 16384),
    TunableModel("mistralai/Ministral-3-8B-Instruct-2512", Decimal("8.8"), 32768, 16384),
    TunableModel("mistralai/Mixtral-8x7B-Instruct-v0.1", Decimal("46.7"), 32768, 16384, 8, 16, 8),
    TunableModel("microsoft/phi-4", Decimal("14.7"), 16384, 8192),
    TunableModel("openai/gpt-oss-20b", Decimal(21), 16384, 8192, 8, 8, 8, has_reasoning=True),
)
MODELS: Mapping[str, TunableModel] = {model.id: model for model in _MODELS}


def find_model(model_id: str) -> TunableModel:
    """A model of the table. Raises RefusedError for all others."""
    if model_id not in MODELS:
        raise RefusedError(404, "model_not_found", f"Model {model_id} is not available for fine-tuning.")
    return MODELS[model_id]


@dataclass(frozen=True, slots=True)
class Rates:
    """USD per million tokens; None: not offered."""

    sft_lora: Decimal
    dpo_lora: Decimal
    sft_full: Decimal | None = None
    dpo_full: Decimal | None = None

    def of(self, method: Method, *, is_lora: bool) -> Decimal | None:
        if is_lora:
            return self.dpo_lora if method == "dpo" else self.sft_lora
        return self.dpo_full if method == "dpo" else self.sft_full

    def times(self, factor: Decimal) -> Rates:
        full = (None if rate is None else rate * factor for rate in (self.sft_full, self.dpo_full))
        return Rates(self.sft_lora * factor, self.dpo_lora * factor, *full)


@dataclass(frozen=True, slots=True)
class Tariff:
    """What training costs. Tiers go by all weights of the model; a model may have rates of its own."""

    tiers: tuple[tuple[Decimal, Rates], ...]
    own: Mapping[str, Rates] = field(default_factory=dict)
    minimum: Decimal = Decimal("4.00")
    """USD for a job that was trained to its end, however small."""

    def rate(self, model: TunableModel, method: Method, *, is_lora: bool = True) -> Decimal:
        """USD per million tokens. Raises RefusedError for what is not offered."""
        found = self._rates(model).of(method, is_lora=is_lora)
        if found is None:
            raise RefusedError(400, "invalid_request", f"Full training is not supported for model {model.id}.")
        return found

    def changed(self, factor: Decimal) -> Self:
        """The same tariff with every price times `factor`."""
        tiers = tuple((limit, rates.times(factor)) for limit, rates in self.tiers)
        own = {name: rates.times(factor) for name, rates in self.own.items()}
        return replace(self, tiers=tiers, own=own, minimum=self.minimum * factor)

    def _rates(self, model: TunableModel) -> Rates:
        if model.id in self.own:
            return self.own[model.id]
        for limit, rates in self.tiers:
            if model.billions <= limit:
                return rates
        raise RefusedError(400, "invalid_request", f"Model {model.id} has no price; please contact sales.")


def price(tokens: int, usd_per_million: Decimal) -> Decimal:
    """USD for so many tokens."""
    return to_nano(usd_per_million * tokens / _MILLION)


def to_nano(usd: Decimal) -> Decimal:
    """USD to the nano-dollar, which is the unit of `total_price`."""
    return usd.quantize(_NANO, rounding=ROUND_HALF_EVEN)


def _rates(sft_lora: str, dpo_lora: str, sft_full: str | None = None, dpo_full: str | None = None) -> Rates:
    full = (None if text is None else Decimal(text) for text in (sft_full, dpo_full))
    return Rates(Decimal(sft_lora), Decimal(dpo_lora), *full)


TARIFF = Tariff(
    tiers=(
        (Decimal(16), _rates("0.48", "1.20", "0.54", "1.35")),
        (Decimal(69), _rates("1.50", "3.75", "1.65", "4.12")),
        (Decimal(100), _rates("2.90", "7.25", "3.20", "8.00")),
    ),
    own={"Qwen/Qwen3-235B-A22B": _rates("6.00", "15.00")},
)
