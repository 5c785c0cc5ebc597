"""What an order would cost, before it is made: from the checked files, not knowing packing and sequence length."""

from __future__ import annotations

from ftorch.emulators.server import RefusedError
from ftorch.emulators.together.accounts import Account
from ftorch.emulators.together.answers import AvailableEstimate, UnavailableEstimate, UnavailableReason
from ftorch.emulators.together.models import price
from ftorch.emulators.together.rows import count_tokens
from ftorch.emulators.together.schemas import Estimate, Full
from ftorch.emulators.together.service import Service

_REASONS: dict[str, tuple[UnavailableReason, UnavailableReason]] = {
    "train": ("train_file_not_validated", "train_file_invalid"),
    "eval": ("eval_file_not_validated", "eval_file_invalid"),
}


def estimate(service: Service, account: Account, asked: Estimate) -> AvailableEstimate | UnavailableEstimate:
    """In dollars. Raises RefusedError for a model that cannot be tuned and for a file that is not there."""
    model = service.base_model(account, asked.model or None, asked.from_checkpoint or None)
    files = {"train": asked.training_file, "eval": asked.validation_file}
    counts = {"train": 0, "eval": 0}
    for role, file_id in files.items():
        if not file_id:
            continue
        if reason := _why_not(service, account, role, file_id):
            return UnavailableEstimate(unavailable_reason=reason)
        rows = service.files.checked(account.organisation, file_id).rows
        counts[role] = count_tokens(rows, max_length=model.context(asked.training_method.method), packs=True)
    train, evaluated = asked.n_epochs * counts["train"], asked.n_evals * counts["eval"]
    is_lora = not isinstance(asked.training_type, Full)
    rate = service.tariff.rate(model, asked.training_method.method, is_lora=is_lora)
    usd = max(price(train + evaluated, rate), service.tariff.minimum)
    return AvailableEstimate(
        estimated_total_price=float(usd),
        estimated_train_token_count=float(train),
        estimated_eval_token_count=float(evaluated),
        allowed_to_proceed=usd <= service.credit_limit,
        user_limit=float(service.credit_limit),
    )


def _why_not(service: Service, account: Account, role: str, file_id: str) -> UnavailableReason | None:
    status = service.files.status(service.files.get(account.organisation, file_id))
    not_validated, invalid = _REASONS[role]
    match status:
        case "COMPLETED":
            return None
        case None:
            raise RefusedError(400, "invalid_request", f"File {file_id} was not uploaded for fine-tuning")
        case "INVALID_FORMAT" | "FAILED":
            return invalid
        case _:
            return not_validated
