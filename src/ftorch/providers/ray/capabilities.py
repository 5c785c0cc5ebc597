"""What a Ray cluster can and cannot do."""

from __future__ import annotations

from ftorch.costs.items import SpendSource
from ftorch.providers.base import BilledBy, Capabilities, Feature, Find

START_S = 600.0
"""Less than Ray's own 900 s, after which it fails a job that found no room."""
CREATE_S = 60.0
"""A client that hangs up early may leave a job that nobody starts."""

CAPABILITIES = Capabilities(
    billed_by=BilledBy.SECOND,
    spend_source=SpendSource.DECLARED,
    billing_quantum_s=1.0,
    overhead_s=120.0,
    start_timeout_s=START_S,
    settle_lag_s=0.0,
    rents_machines=False,
    client_chosen_id=True,
    find=Find.LIST,
    list_page_size=None,
    visibility_lag_s=0.0,
    create_timeout_s=2 * CREATE_S,
    requests_per_second=20.0,
    min_poll_s=2.0,
    options={"cpu": bool, "output_uri": str, "install": bool},
    unsupported={
        Feature.BASE_FOLDER: "ray cannot see folders of your machine; name a base model of the Hub",
        Feature.GPU_CHOICE: "ray trains on the GPUs that the cluster has; leave resources.gpu out",
        Feature.SECRETS: (
            "ray shows the environment of a job to whoever reaches its API; keep secrets where its nodes have them"
        ),
    },
)
