"""The mapping of an invoice file: which of its columns is what, and how its dates are written."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from ftorch.core.errors import Fault, SettingsError
from ftorch.manifest.faults import Where, dotted, faults_of
from ftorch.manifest.fields import Frozen
from ftorch.manifest.load import take_out_unknown_keys

Kind = Literal["billed", "adjusted", "tax", "credit"]


class Columns(Frozen):
    """What the file calls each field. Those with a default are used when the file has such a column."""

    amount: str = Field("amount", description="what is to be paid; required")
    start: str = Field("start", description="when the usage began; required")
    end: str = Field("end", description="when it ended")
    description: str = Field("description", description="words")
    currency: str = Field("currency", description="must say USD in every line")
    reference: str = Field("reference", description="the provider's own id of the line, when it has one")
    kind: str = Field("kind", description="what kind of line it is, see kinds")
    run: str = Field("run", description="the key of our run")
    remote_id: str = Field("remote_id", description="the provider's own id of the run")
    quantity: str = Field("quantity", description="how much was used")
    unit: str = Field("unit", description="of what")
    unit_price: str = Field("unit_price", description="USD per unit")
    as_of: str = Field("as_of", description="when the provider made or changed the line")


class Mapped(Frozen):
    """How to read an invoice that is a CSV file."""

    account: str | None = Field(None, description="whose invoice it is; asked of the provider when not given")
    delimiter: str = Field(",", min_length=1, max_length=1, description="what stands between two columns")
    date: str | None = Field(None, description="as strptime has it, such as %d.%m.%Y; RFC 3339 when not given")
    timezone: str = Field("UTC", description="of dates that name none themselves")
    end_included: bool = Field(False, description="the end is a day that still belongs to the usage")
    columns: Columns = Field(Columns(), description="the file's names of the columns")
    kinds: Mapping[str, Kind] = Field(
        default_factory=dict, description="the file's words of its kinds -> billed, adjusted, tax or credit"
    )


def load_mapping(path: Path | None) -> Mapped:
    """Read a mapping; None means that the file uses our names. Raises SettingsError with every fault."""
    if path is None:
        return Mapped()
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError([Fault(f"cannot be read: {error.strerror}", file=str(path))]) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError([Fault(f"is not TOML: {error}", file=str(path))]) from error
    faults: list[Fault] = []

    def report(message: str, where: Where) -> None:
        faults.append(Fault(message, str(path), None, dotted(where)))

    take_out_unknown_keys(Mapped, values, report)
    try:
        mapped = Mapped.model_validate(values)
    except ValidationError as error:
        raise SettingsError([*faults, *faults_of(error, Mapped, str(path), lambda _where: None)]) from error
    if faults:
        raise SettingsError(faults)
    return mapped
