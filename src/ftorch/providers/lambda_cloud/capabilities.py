"""What training at Lambda can and cannot do."""

from __future__ import annotations

from ftorch.costs.items import SpendSource
from ftorch.providers.base import BilledBy, Capabilities, Feature, Find

IDLE_S = 3600.0
"""Held for a machine beside the training: packages, base model, and waiting until somebody fetches the adapter."""

CAPABILITIES = Capabilities(
    billed_by=BilledBy.MINUTE,
    spend_source=SpendSource.MEASURED_TIME,
    billing_quantum_s=60.0,
    overhead_s=IDLE_S,
    start_timeout_s=45 * 60.0,
    settle_lag_s=900.0,
    rents_machines=True,
    held_until_fetched=True,
    client_chosen_id=False,
    find=Find.LIST,
    list_page_size=None,
    visibility_lag_s=60.0,
    create_timeout_s=60.0,
    requests_per_second=1.0,
    min_poll_s=15.0,
    options={"dead_man": bool, "hold_minutes": int, "region": str},
    unsupported={
        Feature.WORKERS: "lambda trains in one process; for several workers use ray or anyscale",
        Feature.BASE_FOLDER: "lambda cannot see folders of your machine; name a base model of the Hub",
    },
)
