"""What else goes on in an organisation: a colleague's job, another installation's, inference, a rented endpoint.

For tests of those who must tell their own runs and costs from the rest.
"""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal

from ftorch.emulators.together.accounts import ACCOUNTS, COLLEAGUE_KEY, KEY
from ftorch.emulators.together.bill import hour_line
from ftorch.emulators.together.jobs import Job
from ftorch.emulators.together.schemas import CreateFineTune, Lora
from ftorch.emulators.together.service import Service

OTHER_INSTALLATION = "ft-zzzzzz-01m853egkdvypddzfanrkc5c05"
_ROW = {"messages": [{"role": "user", "content": "2 + 2"}, {"role": "assistant", "content": "4"}]}


def add_strangers(service: Service) -> list[Job]:
    """Let them all use the organisation of KEY now; returns their jobs."""
    _use_other_products(service)
    content = (json.dumps(_ROW) + "\n").encode() * 32
    file_id = service.files.keep(ACCOUNTS[KEY].organisation, content).id
    return [
        service.create(ACCOUNTS[key], _order(file_id, suffix))
        for key, suffix in ((COLLEAGUE_KEY, "nightly-7b"), (COLLEAGUE_KEY, None), (KEY, OTHER_INSTALLATION))
    ]


def _use_other_products(service: Service) -> None:
    account = ACCOUNTS[COLLEAGUE_KEY]
    now = service.clock.now()
    named = {"api_key_id": account.key_id, "project_id": account.project}
    tokens = hour_line(
        now, "Token Based Inference (Per 1M Tokens)", Decimal("0.008435"), Decimal("0.50"), Decimal("0.0042175")
    )
    model = {"model": "Qwen/Qwen3-8B", "token_type": "input"}
    service.use(account.organisation, replace(tokens, attributes=named, pricing_dimensions=model))
    covered = replace(tokens, pricing_dimensions={**model, "token_type": "output"}, applied_credit="CREDIT")
    service.use(account.organisation, replace(covered, attributes=named))
    hours = hour_line(now, "Dedicated Endpoint (Per GPU Hour)", Decimal("0.25"), Decimal("3.99"), Decimal("0.9975"))
    service.use(account.organisation, replace(hours, attributes={**named, "endpoint_id": "endpoint-1"}))


def _order(file_id: str, suffix: str | None) -> CreateFineTune:
    return CreateFineTune(
        training_file=file_id,
        model="mistralai/Mistral-7B-Instruct-v0.2",
        suffix=suffix,
        training_type=Lora(lora_r=8, lora_alpha=16),
    )
