"""Whose money it is, and whether there is enough of it."""

from __future__ import annotations

from ftorch.core.errors import CredentialsError, RunRejectedError
from ftorch.core.money import Money
from ftorch.providers.base import Account
from ftorch.providers.together import api
from ftorch.providers.together.settings import KEY_VARIABLE, PROJECT_VARIABLE, Settings


def account(whoami: api.Whoami, settings: Settings) -> Account:
    """The organisation. Raises CredentialsError for a key without one, or of another project than the user named."""
    organisation, project = whoami.organization, whoami.project
    if organisation is None:
        raise CredentialsError(
            f"{KEY_VARIABLE} belongs to no organisation of together",
            hint="use an API key of a project, not the token of a signed-in person",
        )
    if settings.project and project and project.id != settings.project:
        raise CredentialsError(
            f"{KEY_VARIABLE} belongs to together's project {project.id!r}, {PROJECT_VARIABLE} names "
            f"{settings.project!r}",
            hint=f"set {KEY_VARIABLE} to a key of that project, or leave {PROJECT_VARIABLE} out",
        )
    words = [organisation.name or organisation.id, *([f"project {project.name or project.id}"] if project else [])]
    return Account(organisation.id, ", ".join(words))


def unpaid(estimate: api.Estimate) -> RunRejectedError:
    """The account has not the money that the job would cost, says Together before anything is paid."""
    limit = f" of {Money(estimate.user_limit)}" if estimate.user_limit is not None else ""
    asked = f"{Money(estimate.estimated_total_price)}" if estimate.estimated_total_price is not None else "its price"
    return RunRejectedError(
        f"together does not let the job proceed: it would cost {asked}, above the limit{limit} of the account",
        provider="together",
        operation="quote",
        hint="add credit to your account at together, then run `ftorch submit MANIFEST --again`",
    )
