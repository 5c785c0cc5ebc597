"""The block `[prices]` of `ftorch.toml`: what the user pays, over the prices that we know."""

from __future__ import annotations

from datetime import date as Date  # noqa: N812  the field is called date, and would hide the type
from typing import Annotated, Literal, Self

from pydantic import Field, WithJsonSchema, model_validator

from ftorch.manifest.fields import Amount, Frozen, Whole

HOSTED = "hosted"
"""The name under `[prices]` whose entries are hosted models."""


class OwnPrice(Frozen):
    """A price that the user knows better: of a machine, of trained tokens, or of a hosted model's tokens."""

    price: Amount | None = Field(None, description="for one `unit`")
    unit: Literal["second", "minute", "hour", "million_tokens"] | None = Field(None, description="what `price` is for")
    minimum: Amount | None = Field(None, description="what a run costs at least, where tokens are billed")
    gpu: str | None = Field(None, description="the GPU type of a machine that the price book does not know")
    count: Whole = Field(1, ge=1, description="how many GPUs that machine has")
    input: Amount | None = Field(None, description="hosted: for a million tokens read")
    cached_input: Amount | None = Field(None, description="hosted: for a million tokens read from the prompt cache")
    output: Amount | None = Field(None, description="hosted: for a million tokens written")
    source: str = Field(min_length=1, description="where the figure comes from")
    # A date of TOML is no string, so the schema asks for no type.
    date: Annotated[Date, WithJsonSchema({"format": "date"})] = Field(description="the day on which it was read")

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if (self.price is None) == (self.input is None):
            raise ValueError("give price and unit, or input and output for a hosted model")
        if self.price is not None and self.unit is None:
            raise ValueError("price needs a unit: second, minute, hour or million_tokens")
        if self.input is not None and self.output is None:
            raise ValueError("input needs output: what a million written tokens cost")
        return self
