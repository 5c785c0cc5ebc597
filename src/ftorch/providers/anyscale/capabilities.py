"""What Anyscale can and cannot do."""

from __future__ import annotations

from ftorch.costs.items import SpendSource
from ftorch.providers.base import BilledBy, Capabilities, Feature, Find

CREATE_TIMEOUT_S = 60.0
"""For writing a create, and as long again for its answer."""
START_S = 600.0
"""For machines that boot, an image that is pulled, libraries, and the end: billed, and not trained in."""
WAIT_S = 1800.0
"""For machines to come: a queue as old is given up, and the next GPU tried."""
SETTLE_LAG_S = 72 * 3600.0
"""Rows of the bill are by UTC day, and how late they come is said nowhere."""
PAGE = 100

CAPABILITIES = Capabilities(
    billed_by=BilledBy.SECOND,
    spend_source=SpendSource.BILLING_API,
    billing_quantum_s=60.0,
    overhead_s=START_S,
    start_timeout_s=WAIT_S,
    settle_lag_s=SETTLE_LAG_S,
    rents_machines=False,
    client_chosen_id=False,
    find=Find.TAG,
    list_page_size=PAGE,
    visibility_lag_s=60.0,
    create_timeout_s=2 * CREATE_TIMEOUT_S,
    requests_per_second=5.0,
    min_poll_s=10.0,
    options={
        "output_uri": str,
        "cloud": str,
        "project": str,
        "image_uri": str,
        "compute_config": str,
        "instance_type": str,
        "install": bool,
    },
    unsupported={
        Feature.BASE_FOLDER: "anyscale cannot see folders of your machine; name a base model of the Hub",
        Feature.SECRETS: "anyscale shows the variables of a job to the whole organisation; leave secrets out, and "
        "have the values where its machines find them",
    },
)
