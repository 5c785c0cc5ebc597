"""What acme can and cannot do."""

from __future__ import annotations

from ftorch.costs.items import SpendSource
from ftorch.providers.base import BilledBy, Capabilities, Feature, Find

CAPABILITIES = Capabilities(
    billed_by=BilledBy.SECOND,
    spend_source=SpendSource.BILLING_API,
    billing_quantum_s=1.0,
    settle_lag_s=3600.0,
    rents_machines=False,
    client_chosen_id=False,
    find=Find.TAG,
    list_page_size=100,
    visibility_lag_s=30.0,
    create_timeout_s=60.0,
    requests_per_second=50.0,
    min_poll_s=5.0,
    unsupported={
        Feature.WORKERS: "acme gives a run one machine; for several workers use ray or anyscale",
        Feature.BASE_FOLDER: "acme cannot see folders of your machine; name a base model of the Hub",
    },
)
