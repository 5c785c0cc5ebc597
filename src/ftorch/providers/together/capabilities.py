"""What Together can and cannot do."""

from __future__ import annotations

from ftorch.costs.items import SpendSource
from ftorch.providers.base import BilledBy, Capabilities, Feature, Find

CREATE_TIMEOUT_S = 60.0
"""For writing a create, and as long again for its answer."""

CAPABILITIES = Capabilities(
    billed_by=BilledBy.TOKEN,
    spend_source=SpendSource.BILLING_API,
    billing_quantum_s=0.0,
    settle_lag_s=24 * 3600.0,
    rents_machines=False,
    client_chosen_id=False,
    find=Find.LIST,
    list_page_size=None,
    visibility_lag_s=60.0,
    create_timeout_s=2 * CREATE_TIMEOUT_S,
    requests_per_second=5.0,
    min_poll_s=15.0,
    altered=(
        "method.batch_size: together packs short rows into long ones, so a step holds more rows than that",
        "method.save_every_steps: together keeps the end of the training and nothing before it",
    ),
    unsupported={
        Feature.MAX_STEPS: "together counts whole epochs and no steps; leave method.max_steps out",
        Feature.PART_EPOCHS: "together trains whole epochs only; round method.epochs",
        Feature.QUANTIZE_4BIT: "together chooses the precision of the training itself; leave method.quantize out",
        Feature.FROM_ADAPTER: "together goes on from its own jobs only, not from an adapter; leave from_adapter out",
        Feature.REVISION: "together has one copy of each base model and no revisions; leave base_model.revision out",
        Feature.BASE_FOLDER: "together cannot see folders of your machine; name a base model that it fine-tunes",
        Feature.BUILTIN_BASE: "together has none of ftorch's builtin models; name a base model that it fine-tunes",
        Feature.WORKERS: "together chooses the machines itself; leave resources.workers out",
        Feature.GPU_CHOICE: "together chooses the GPUs itself and bills tokens; leave resources.gpu out",
        Feature.SECRETS: "together hands no secrets to a run, except WANDB_API_KEY for tracking.wandb",
        Feature.MLFLOW: "together reports to Weights & Biases only; leave tracking.mlflow out",
        Feature.TRACKIO: "together reports to Weights & Biases only; leave tracking.trackio out",
    },
)
