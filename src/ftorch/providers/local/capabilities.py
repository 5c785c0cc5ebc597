"""What training on this machine can and cannot do."""

from __future__ import annotations

from ftorch.costs.items import SpendSource
from ftorch.providers.base import BilledBy, Capabilities, Feature, Find

CAPABILITIES = Capabilities(
    billed_by=BilledBy.SECOND,
    spend_source=SpendSource.DECLARED,
    billing_quantum_s=1.0,
    settle_lag_s=0.0,
    rents_machines=False,
    client_chosen_id=True,
    find=Find.LIST,
    list_page_size=None,
    visibility_lag_s=0.0,
    create_timeout_s=5.0,
    requests_per_second=50.0,
    min_poll_s=0.5,
    options={"threads": int, "parallel": int},
    unsupported={
        Feature.WORKERS: "local trains in one process; for several workers use ray or anyscale",
        Feature.GPU_CHOICE: "local trains on the GPU or CPU that this machine has; leave resources.gpu out",
    },
)
