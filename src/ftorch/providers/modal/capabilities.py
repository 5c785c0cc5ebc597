"""What Modal can and cannot do."""

from __future__ import annotations

from ftorch.costs.items import SpendSource
from ftorch.providers.base import BilledBy, Capabilities, Feature, Find

SCHEDULING_S = 21 * 60.0
"""Modal's client waits so long for a machine, then ends the sandbox."""
CREATE_DEADLINE_S = SCHEDULING_S + 60.0
"""Our own deadline for a create, from before its first byte on."""
STATS_DELAY_S = 300.0
"""How late usage may show in Modal's statistics: what ran and left no mark is seen then."""
START_S = 120.0
"""For boot, libraries and the last commit: billed, and not trained in."""
LONGEST_S = 24 * 3600
"""No sandbox lives longer."""
SETTLE_LAG_S = 2 * 3600.0

CAPABILITIES = Capabilities(
    billed_by=BilledBy.SECOND,
    spend_source=SpendSource.BILLING_API,
    billing_quantum_s=1.0,
    overhead_s=START_S,
    settle_lag_s=SETTLE_LAG_S,
    rents_machines=False,
    client_chosen_id=False,
    find=Find.TAG,
    list_page_size=None,
    visibility_lag_s=STATS_DELAY_S,
    create_timeout_s=CREATE_DEADLINE_S,
    requests_per_second=10.0,
    min_poll_s=10.0,
    options={"cores": int, "memory_gib": int, "secret": str},
    unsupported={
        Feature.WORKERS: "modal gives a run one machine with one GPU; for several workers use ray or anyscale",
        Feature.BASE_FOLDER: "modal cannot see folders of your machine; name a base model of the Hub",
        Feature.MLFLOW: "modal's image has no mlflow in it; leave tracking.mlflow out",
        Feature.TRACKIO: "modal's image has no trackio in it; leave tracking.trackio out",
    },
)
