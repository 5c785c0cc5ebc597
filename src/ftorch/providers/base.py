"""The provider contract: what every provider does, in which words, and what a second call does.

Calls are synchronous; the engine runs them in threads and never two creates for one key. Nothing in here retries a
create. Errors are those of `core.errors`, and nothing else may leave a provider.

Who calls what, for one run: `stage` until ready, `submit` once, `start` until it returns, `observe` again and again,
then `fetch`, `release`, `charges`. After a crash or a lost answer `find` comes before anything else.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import ClassVar, Protocol, Self, runtime_checkable

from ftorch.core.clock import Clock
from ftorch.core.money import Money
from ftorch.costs.book.listed import ListedPrice
from ftorch.costs.items import LineItem, Quote, SpendSource, Window
from ftorch.costs.prices import TokenPrice
from ftorch.manifest.plan import Plan
from ftorch.manifest.schema import RetryEvent


class RunState(StrEnum):
    """Where a run is, in our words. The provider's own word is kept beside it."""

    PROVISIONED = "provisioned"
    """A machine is ours and `start` has not begun the work."""
    QUEUED = "queued"
    RUNNING = "running"
    FINALIZING = "finalizing"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    STOPPED = "stopped"
    """Ended from outside: cancelled, preempted, killed."""
    TIMED_OUT = "timed_out"
    """Ended by the order's `max_duration_s`."""
    ABSENT = "absent"
    """Proven not to be there: a complete walk and a direct not-found. Unreachable is never absent."""
    UNKNOWN = "unknown"
    """A word that we do not know; logged, never taken for a failure."""


ENDED = frozenset({RunState.SUCCEEDED, RunState.FAILED, RunState.STOPPED, RunState.TIMED_OUT, RunState.ABSENT})
"""States that a run never leaves."""


class Feature(StrEnum):
    """What a plan may ask for and a provider may lack."""

    SFT = "sft"
    DPO = "dpo"
    TRAIN_ON_ALL = "train_on_all"
    MAX_STEPS = "max_steps"
    PART_EPOCHS = "part_epochs"
    LORA_TARGETS = "lora_targets"
    QUANTIZE_4BIT = "quantize_4bit"
    FROM_ADAPTER = "from_adapter"
    REVISION = "revision"
    BASE_FOLDER = "base_folder"
    BUILTIN_BASE = "builtin_base"
    VALIDATION = "validation"
    WORKERS = "workers"
    GPU_CHOICE = "gpu_choice"
    SECRETS = "secrets"
    """What the run itself may read, beside the key of its tracking."""
    WANDB = "wandb"
    MLFLOW = "mlflow"
    TRACKIO = "trackio"


class BilledBy(StrEnum):
    """What the provider's price counts."""

    TOKEN = "token"  # noqa: S105  a unit of price, not a password
    SECOND = "second"
    MINUTE = "minute"
    NOTHING = "nothing"


class Find(StrEnum):
    """How a run is found by its key when its remote id was lost."""

    TAG = "tag"
    LIST = "list"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What differs between providers, as data."""

    billed_by: BilledBy
    spend_source: SpendSource
    """The best source that `charges` or the bill gives."""
    billing_quantum_s: float
    """The smallest step in which time is billed; also the overshoot that a budget tolerates."""
    overhead_s: float = 0.0
    """Billed time of a run that is not training: boot, idle grace, pulling the adapter. Part of every hold."""
    start_timeout_s: float | None = None
    """A machine or a place in a queue where the work has not begun so long after its create is given up."""
    settle_lag_s: float
    """How long after its end a run's price may still change."""
    rents_machines: bool
    """Something keeps costing until `release` has proven it gone."""
    held_until_fetched: bool = False
    """A machine whose training is done is kept until its adapter is home or `budget.limit` is used up: the run holds
    all that is left of it."""
    client_chosen_id: bool
    """The run's remote id is our key, so a second create with it is refused by the provider."""
    find: Find
    list_page_size: int | None
    visibility_lag_s: float
    """How long a created run may be missing from `find`."""
    create_timeout_s: float
    """After `send_before` plus this, a create that was sent has ended one way or the other."""
    requests_per_second: float
    min_poll_s: float
    """How often `observe` may be called for one run."""
    options: Mapping[str, type] = field(default_factory=dict)
    """The keys of the provider's own block in the manifest, with their types."""
    unsupported: Mapping[Feature, str] = field(default_factory=dict)
    """What it cannot do, with the sentence that the user sees before anything is uploaded."""
    altered: Sequence[str] = ()
    """What it takes otherwise than it was asked, in a sentence each: `plan --compare` shows them."""


@dataclass(frozen=True, slots=True)
class Account:
    """Whose money it is: organisation, cluster address, or host. A run stays with the account that made it."""

    id: str
    description: str


@dataclass(frozen=True, slots=True)
class RunRef:
    """Where a run lives. Every call also works with `remote_id=None`: the key finds it."""

    provider: str
    account: str
    key: str
    remote_id: str | None = None
    place: str | None = None
    """Region, cluster, host or folder, when the provider needs it to reach the run."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """What travels to the provider: one folder of files named by their content."""

    folder: Path
    sha256: str
    """Over the names and hashes of all files: the identity for `stage`."""
    files: Mapping[str, str]
    """Relative name -> SHA-256 in hex."""


@dataclass(frozen=True, slots=True)
class Staged:
    """What `stage` left at the provider. Kept in the database as JSON, so values are text."""

    ready: bool
    bundle_sha256: str
    detail: Mapping[str, str] = field(default_factory=dict)
    """The provider's own ids and paths."""
    waiting_for: str | None = None
    """For people, while not ready."""


@dataclass(frozen=True, slots=True)
class StagedContent:
    """Something that was staged and still lies at the provider."""

    id: str
    """The provider's own."""
    name: str
    """For people; empty where the provider keeps none."""
    created_at: datetime
    size: int
    sha256: str | None
    """Of a file as it lies in a bundle, or of the bundle; None: the provider cannot tell."""


@dataclass(frozen=True, slots=True)
class Placement:
    """One way to place a run: a machine type in a region, a GPU of the list, or the only way there is."""

    name: str
    rate: Decimal | None
    """USD per hour of all that is billed while the run has it; None: billed otherwise, or nobody told."""
    detail: Mapping[str, str] = field(default_factory=dict)
    token_price: TokenPrice | None = None
    """For providers that bill by trained tokens: what our estimate goes by until they name a price themselves."""
    gpu: str | None = None
    """The type of its GPUs, as the price book names it; None: none, or the provider chooses."""
    gpus: int = 1


@dataclass(frozen=True, slots=True)
class RunOrder:
    """One run, ordered. `secrets` holds values and is never stored or logged."""

    key: str
    plan: Plan
    staged: Staged
    placement: Placement
    send_before: datetime
    """The create may be written to the wire until then; later the transport refuses."""
    max_duration_s: int | None
    """The provider enforces it where it can, else the trainer does, ending with reason `deadline`."""
    max_life_s: int | None = None
    """A rented machine must be gone by then, counted from its first billed moment: what the run holds pays for no more.
    None: nothing limits it."""
    resume_from: RunRef | None = None
    """An ended run of the same job whose checkpoints are carried on."""
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the training is. `loss` is the trainer's last."""

    step: int
    total_steps: int
    """0: the provider tells no steps, only the time that is left."""
    loss: str | None = None
    seconds_left: int | None = None


@dataclass(frozen=True, slots=True)
class Observation:
    """One reading of a run."""

    state: RunState
    provider_status: str
    observed_at: datetime
    exit_code: int | None = None
    rate: Decimal | None = None
    """USD per hour as read back from the provider; None: not said."""
    billable_from: datetime | None = None
    billable_to: datetime | None = None
    trained_tokens: int | None = None
    accrual: Money | None = None
    """What the provider says that the run costs so far, or will have cost; None: not said."""
    detail: str = ""
    """For people: why it ended, what it waits for."""
    retry_event: RetryEvent | None = None
    """When it ended badly: the event that a manifest may retry on. None: its own fault, the same again would fail."""
    progress: Progress | None = None


@dataclass(frozen=True, slots=True)
class LogPage:
    """Lines of a run's log, oldest first. Give `cursor` back to go on from here; None: nothing was written yet."""

    lines: Sequence[str]
    cursor: str | None
    is_last: bool
    """The run has ended and nothing more will come."""


@dataclass(frozen=True, slots=True)
class FileDigest:
    """A file's identity."""

    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class Artifact:
    """An adapter brought home: complete, its files hashed."""

    folder: Path
    files: Mapping[str, FileDigest]
    trained_tokens: int | None = None


class Provider(Protocol):
    """What every provider does. See the module docstring for the order of the calls."""

    name: ClassVar[str]
    capabilities: ClassVar[Capabilities]

    @classmethod
    def from_env(cls, env: Mapping[str, str], clock: Clock | None = None) -> Self:
        """Build it from the environment. Raises CredentialsError naming variables, `.env` and login file.

        `clock` is that of the caller: what was ordered before a moment is sent, and seen, by the same clock. None: the
        machine's own.
        """
        ...

    def check(self) -> Account:
        """Whose account this is. Reads only."""
        ...

    def stage(self, plan: Plan, bundle: Bundle) -> Staged:
        """Bring the bundle to the provider. Idempotent by content hash; called again until `Staged.ready`."""
        ...

    def quote(self, plan: Plan, staged: Staged | None) -> Quote | None:
        """The provider's own price, where it has one: before staging and, where better known, after."""
        ...

    def placements(self, plan: Plan) -> Sequence[Placement]:
        """Where the run may be placed, cheapest first; exactly one where there is no choice."""
        ...

    def submit(self, order: RunOrder) -> RunRef:
        """Create the run: exactly one create, never retried inside.

        Raises NoCapacityError (the engine tries the next placement), RunRejectedError, ProviderUnavailableError only
        when nothing can have been sent, and SubmitUnknownError when the answer was lost.
        """
        ...

    def start(self, ref: RunRef, order: RunOrder) -> None:
        """Probe, push and start on a provisioned machine. Repeatable; does nothing where create already starts."""
        ...

    def find(self, keys: Collection[str]) -> Mapping[str, Sequence[RunRef]]:
        """The runs that carry these keys, oldest first.

        The search is complete: an absent key is proof that no run has it. Raises when it cannot look everywhere.
        """
        ...

    def observe(self, refs: Collection[RunRef]) -> Mapping[RunRef, Observation]:
        """Read many runs in as few requests as the provider allows. A ref missing from the answer: nothing learned."""
        ...

    def logs(self, ref: RunRef, *, cursor: str | None) -> LogPage:
        """The next page of the run's log."""
        ...

    def cancel(self, ref: RunRef) -> None:
        """Ask the provider to stop the run. Returns at once; cancelling twice is harmless."""
        ...

    def fetch(self, ref: RunRef, dest: Path) -> Artifact:
        """Bring the adapter to `dest`. Resumable: a second call goes on. Complete and hashed, or ArtifactError."""
        ...

    def release(self, ref: RunRef) -> bool:
        """Leave nothing rented. True when absence is proven; called again while False. Never deletes staged content."""
        ...

    def charges(self, ref: RunRef, history: Sequence[Observation]) -> Sequence[LineItem]:
        """What this run cost so far: from the provider's record, from measured time, or from a declared rate.

        `history` is oldest first. A reading that missed the run is no sight of it (`sightings.paid_time`): what nobody
        can be asked about is charged to the last moment at which it was seen, which is the reading's `billable_to`
        where the row alone is left.
        """
        ...

    def owned(self, installation: str) -> Iterator[RunRef]:
        """Everything that carries our installation's mark, running or not. For the reaper."""
        ...

    def close(self) -> None:
        """Give back connections. Closing twice is harmless."""
        ...


@runtime_checkable
class PriceListed(Protocol):
    """Providers whose places and prices stand in a list that we ship: a plan there needs no credentials."""

    @classmethod
    def listed(cls, plan: Plan) -> Sequence[Placement]:
        """What `placements` says, without anybody being asked."""
        ...


@runtime_checkable
class Remarks(Protocol):
    """Providers that have something to say about a plan before a cent is spent on it."""

    @classmethod
    def remarks(cls, plan: Plan, placement: Placement) -> Sequence[str]:
        """Sentences that `plan` prints: how long something may cost, and the worst case."""
        ...


@runtime_checkable
class Catalogued(Protocol):
    """Providers that tell what all their machines cost now, and whether there are any."""

    def catalogue(self) -> Sequence[ListedPrice]:
        """Every machine type with its price, dated today. Reads only."""
        ...


class Bills(Protocol):
    """Providers whose bill can be read row by row."""

    def line_items(self, window: Window) -> Iterator[LineItem]:
        """All rows of the account in `[start, end)`, also those that are not ours, with stable references."""
        ...


@runtime_checkable
class Stages(Protocol):
    """Providers that keep what was staged until somebody deletes it."""

    def staged_content(self) -> Iterator[StagedContent]:
        """All staged content of the account, also what is not ours. Raises when it cannot look everywhere."""
        ...

    def discard(self, content: StagedContent) -> None:
        """Delete it; `stage` sends it again when it is wanted again. Discarding twice is harmless."""
        ...
