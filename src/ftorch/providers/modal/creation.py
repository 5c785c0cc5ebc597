"""The one create: a sandbox for a run, made once. What each failure proves decides what the engine does next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import modal
from modal import exception as said

from ftorch.core.errors import (
    FtorchError,
    NoCapacityError,
    ProviderError,
    RunRejectedError,
    SubmitUnknownError,
)
from ftorch.providers.modal.machines import Machine
from ftorch.providers.modal.names import MOUNT
from ftorch.providers.modal.sdk import FAILURES, Sdk, pause_s

_MIB = 1024


class NameTakenError(Exception):
    """A sandbox of this name lives: an earlier create of the same run has been carried out."""


@dataclass(frozen=True, slots=True)
class NewSandbox:
    """A sandbox, ordered. Everything that it is made of is there already, so that the create is one request."""

    app: modal.App
    name: str
    argv: tuple[str, ...]
    tags: Mapping[str, str]
    image: modal.Image
    volume: modal.Volume
    secrets: tuple[modal.Secret, ...]
    machine: Machine
    timeout_s: int
    hidden: tuple[str, ...] = field(default=(), repr=False)
    """Values that an error must not repeat."""


async def secrets_of(client: modal.Client, values: Mapping[str, str], named: str | None) -> tuple[modal.Secret, ...]:
    """Secrets by reference: values for this run alone, and one that the user keeps at Modal."""
    secrets = [modal.Secret.from_dict(dict(values))] if values else []
    if named:
        secrets.append(modal.Secret.from_name(named))
    return tuple([await secret.hydrate.aio(client) for secret in secrets])


def create(sdk: Sdk, new: NewSandbox, deadline_s: float) -> str:
    """The id of the sandbox. Blocks until it is scheduled, for twenty minutes and more.

    Raises NoCapacityError, RunRejectedError, RateLimitedError and CredentialsError where nothing has come of it,
    NameTakenError where it is there already, and SubmitUnknownError where nobody can tell.
    """

    async def call(client: modal.Client) -> str:
        sandbox = await modal.Sandbox.create.aio(
            *new.argv,
            app=new.app,
            name=new.name,
            tags=dict(new.tags),
            image=new.image,
            volumes={MOUNT: new.volume},
            secrets=new.secrets,
            gpu=new.machine.gpu,
            cpu=(float(new.machine.cores), float(new.machine.cores)),
            memory=(new.machine.memory_gib * _MIB, new.machine.memory_gib * _MIB),
            timeout=new.timeout_s,
            client=client,
        )
        return sandbox.object_id

    try:
        return sdk.raw(call, deadline_s=deadline_s)
    except said.AlreadyExistsError as error:
        raise NameTakenError from error
    except FAILURES as error:
        raise _failure(sdk, new, error) from error


def _failure(sdk: Sdk, new: NewSandbox, error: BaseException) -> FtorchError:
    words = sdk.shown(error, new.hidden)
    match error:
        case said.ResourceExhaustedError() if pause_s(error) is None:
            return _error(NoCapacityError, f"modal has no {new.machine.gpu} now: {words}")
        case said.ResourceExhaustedError() | said.AuthError() | said.PermissionDeniedError():
            return sdk.translated(error, "submit", new.hidden)
        case said.ConflictError():
            return _error(SubmitUnknownError, f"the sandbox ended before it was scheduled: {words}")
        case said.InvalidError():
            return _error(RunRejectedError, f"modal refused submit: {words}")
        case _:
            return _error(SubmitUnknownError, f"the answer of modal to submit was lost: {words}")


def _error(kind: type[ProviderError], words: str) -> ProviderError:
    return kind(words, provider="modal", operation="submit")
