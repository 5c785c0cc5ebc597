"""What training on a machine of the user's can and cannot do."""

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
    create_timeout_s=60.0,
    requests_per_second=20.0,
    min_poll_s=5.0,
    options={"host": str, "port": int, "identity": str, "python": str, "parallel": int, "cpu": bool},
    unsupported={
        Feature.WORKERS: "ssh trains in one process; for several workers use ray or anyscale",
        Feature.GPU_CHOICE: "ssh trains on the GPU that the machine has; leave resources.gpu out",
        Feature.BASE_FOLDER: "ssh cannot see folders of your machine; name a base model of the Hub",
    },
)
