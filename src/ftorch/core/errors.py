"""Every error that ftorch raises on purpose.

    FtorchError                      1   a bug, when nothing narrower fits
      UsageError                     2   the command cannot be carried out as asked
        MissingExtraError            2   an optional package is not installed
        StoreError                   2   the database or the state folder cannot be used
      InputError                     3   what the user wrote is wrong; holds one Fault per finding
        ManifestError                3
        SettingsError                3
        DataError                    3
      CredentialsError               4
      BudgetError                    5
      ProviderError                  6   has provider, operation, request_id
        ProviderUnavailableError     6   nothing happened at the provider; try again
        RateLimitedError             6   try again after retry_after_s
        NoCapacityError              6   the placement has no machine now; try the next one
        HardwareError                6   the machine is broken
        RunRejectedError             6   the provider refused the order; trying again changes nothing
        RunNotFoundError             6   no such run in this account
        SubmitUnknownError           6   the answer to a create was lost; find it before anything else
        ProviderProtocolError        6   an answer that we cannot read; keeps the body
        BillNotEnabledError          6   the account may not read its bill; spend comes from elsewhere
      JobFailedError                 7   the job ended failed or lost
      JobCancelledError              8
      NotFinishedError               9   still running, or nobody can tell
      ArtifactError                 10   an adapter is incomplete, damaged or not the one ordered
      BillDiffersError              11   a bill has what nobody can explain

An error says what happened; its hint says what to do next. `code` is the word in JSON answers, `exit_code` what
the command returns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class Fault:
    """One finding in what the user wrote. `line` counts from 1; `key` is the dotted path, `rule` a stable id."""

    message: str
    file: str | None = None
    line: int | None = None
    key: str | None = None
    rule: str | None = None
    hint: str | None = None

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.file, self.line) if part is not None)
        return ": ".join(part for part in (place, self.rule, self.key, self.message) if part)


class FtorchError(Exception):
    """The base class of all errors that ftorch raises on purpose."""

    code: ClassVar[str] = "internal"
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(FtorchError):
    """The command cannot be carried out as asked."""

    code = "usage"
    exit_code = 2


class MissingExtraError(UsageError):
    """An optional package is not installed; the hint is the command that installs it."""

    code = "missing_extra"

    def __init__(self, what: str, *, extra: str) -> None:
        super().__init__(
            f"{what} needs the extra {extra!r}", hint=f"run `pip install -e '.[{extra}]'` in your ftorch clone"
        )
        self.extra = extra


class StoreError(UsageError):
    """The database or the state folder cannot be used as it is."""

    code = "store"


class InputError(FtorchError):
    """What the user wrote is wrong. `faults` holds every finding, in file order."""

    code = "input"
    exit_code = 3

    def __init__(self, faults: Sequence[Fault], *, hint: str | None = None) -> None:
        super().__init__("\n".join(map(str, faults)), hint=hint or next((f.hint for f in faults if f.hint), None))
        self.faults = tuple(faults)


class ManifestError(InputError):
    """A job manifest cannot be read or makes no sense."""

    code = "manifest"


class SettingsError(InputError):
    """`ftorch.toml` cannot be read or makes no sense."""

    code = "settings"


class DataError(InputError):
    """The dataset breaks a rule of level error."""

    code = "data"


class CredentialsError(FtorchError):
    """A provider's credentials are missing, refused, or those of another account."""

    code = "credentials"
    exit_code = 4


class BudgetError(FtorchError):
    """The money asked for is more than a budget allows, or cannot be bounded."""

    code = "budget"
    exit_code = 5


class ProviderError(FtorchError):
    """A provider did not do what was asked."""

    code = "provider"
    exit_code = 6

    def __init__(
        self,
        message: str,
        *,
        provider: str,
        operation: str,
        request_id: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.provider = provider
        self.operation = operation
        self.request_id = request_id


class ProviderUnavailableError(ProviderError):
    """Nothing happened at the provider: the request never left, or a read failed."""

    code = "provider_unavailable"


class RateLimitedError(ProviderError):
    """The provider asks for a pause of `retry_after_s` seconds."""

    code = "rate_limited"

    def __init__(self, message: str, *, retry_after_s: float, provider: str, operation: str) -> None:
        super().__init__(message, provider=provider, operation=operation)
        self.retry_after_s = retry_after_s


class NoCapacityError(ProviderError):
    """The placement has no machine now; the next placement may."""

    code = "no_capacity"


class HardwareError(ProviderError):
    """The machine that was rented does not work."""

    code = "hardware"


class RunRejectedError(ProviderError):
    """The provider refused the order; the same order will be refused again."""

    code = "run_rejected"


class RunNotFoundError(ProviderError):
    """This account has no such run."""

    code = "run_not_found"


class SubmitUnknownError(ProviderError):
    """The answer to a create was lost: the run may exist. Find it by its key before anything else."""

    code = "submit_unknown"


class ProviderProtocolError(ProviderError):
    """The provider's answer is not one that we can read. `body` keeps it for the report."""

    code = "provider_protocol"

    def __init__(self, message: str, *, provider: str, operation: str, body: str = "") -> None:
        super().__init__(message, provider=provider, operation=operation)
        self.body = body


class BillNotEnabledError(ProviderError):
    """The provider has a bill that this account may not read. Nothing is wrong: spend comes from another source."""

    code = "bill_not_enabled"


class JobFailedError(FtorchError):
    """The job ended failed or lost."""

    code = "job_failed"
    exit_code = 7


class JobCancelledError(FtorchError):
    """The job was cancelled."""

    code = "job_cancelled"
    exit_code = 8


class NotFinishedError(FtorchError):
    """The job has not ended yet, or nobody can tell."""

    code = "not_finished"
    exit_code = 9


class ArtifactError(FtorchError):
    """An adapter is incomplete, damaged, or not the one that was ordered."""

    code = "artifact"
    exit_code = 10


class BillDiffersError(FtorchError):
    """A bill has lines, or amounts, that nobody can explain."""

    code = "bill_differs"
    exit_code = 11
