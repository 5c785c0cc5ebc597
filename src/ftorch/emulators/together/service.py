"""What Together keeps, in memory and following a clock: files, jobs, archives, a bill. It knows nothing of HTTP.

Tests reach into it: they end, lose, refund and spoil what is here, and compare with `truth`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from uuid import uuid4

from ftorch.core.clock import Clock
from ftorch.emulators.server import RefusedError
from ftorch.emulators.together import archives, orders
from ftorch.emulators.together.accounts import ORGANISATION, Account
from ftorch.emulators.together.bill import Corrections, Line, by_day, gathered, job_lines
from ftorch.emulators.together.files import FileStore
from ftorch.emulators.together.jobs import CANCEL_S, WORK_S, Ending, Job, Note, Refund
from ftorch.emulators.together.models import TARIFF, Tariff, TunableModel, find_model, to_nano
from ftorch.emulators.together.records import Status
from ftorch.emulators.together.schemas import CreateFineTune
from ftorch.emulators.training import Training

_ACTIVE: tuple[Status, ...] = ("pending", "queued", "running", "compressing", "uploading", "cancel_requested")


class Service:
    """All that Together keeps."""

    def __init__(self, clock: Clock, training: Training) -> None:
        self.clock = clock
        self.files = FileStore(clock)
        self.tariff = TARIFF
        """The prices of orders from now on."""
        self.billing_tariff: Tariff | None = None
        """The prices that the bill is made with, where they are to differ from those of the orders."""
        self.credit_limit = Decimal(100)
        """USD. A job that is dearer is stopped with `billing_limit` once its price is known."""
        self.listing_lag_s = 0.0
        """How long a new job is missing from the list; asking for its id finds it at once."""
        self.billing_enabled = {ORGANISATION}
        """Organisations that may read their bill; the others get 404."""
        self.billing_lag_s = 900.0
        """How long after its usage a line appears on the bill."""
        self.bill_page_limit = 1000
        """The most windows in one page, whatever was asked for."""
        self.creates: Counter[str] = Counter()
        """Jobs made, by suffix."""
        self._training = training
        self._jobs: dict[str, Job] = {}
        self._billed: list[Job] = []
        self._foreign: list[tuple[str, Line]] = []
        self._corrections = Corrections()

    @property
    def received(self) -> Counter[str]:
        """How often each content was sent, by SHA-256."""
        return self.files.received

    # jobs

    def create(self, account: Account, order: CreateFineTune) -> Job:
        """Make a job. Not idempotent: the same order again makes a second one."""
        model = self.base_model(account, order.model, order.from_checkpoint)
        orders.check_order(order, model)
        data = self._data(account, order)
        job = self._new_job(account, order, model, data)
        self._jobs[job.id] = job
        self._billed.append(job)
        self.creates[job.suffix] += 1
        if job.full_cost(job.tariff) > self.credit_limit:
            self._plan_billing_limit(job)
        return job

    def base_model(self, account: Account, model: str | None, from_checkpoint: str | None) -> TunableModel:
        """What is trained on: a base model, or the base of an earlier job's adapter."""
        if (model is None) == (from_checkpoint is None):
            raise RefusedError(400, "invalid_request", "You must specify either a model or a checkpoint, not both")
        if model is not None:
            return find_model(model)
        name = (from_checkpoint or "").partition(":")[0]
        for job in self.listed(account.organisation):
            if name in (job.id, job.output_name) and job.status(self.clock.now()) == "completed":
                return job.model
        raise RefusedError(400, "invalid_request", f"Checkpoint {from_checkpoint} not found")

    def job(self, organisation: str, job_id: str) -> Job:
        job = self._jobs.get(job_id)
        if job is None or job.organisation != organisation:
            raise RefusedError(404, "not_found", f"Fine-tune job {job_id} not found")
        self._settle(job)
        return job

    def listed(self, organisation: str) -> Iterator[Job]:
        """Newest first, which nobody promises."""
        seen_until = self.clock.now() - timedelta(seconds=self.listing_lag_s)
        for job in reversed(self._jobs.values()):
            if job.organisation == organisation and job.created_at <= seen_until:
                self._settle(job)
                yield job

    def cancel(self, job: Job) -> None:
        """Stop a job in a moment; its steps until now are paid. Twice is harmless, after the end it is refused."""
        now = self.clock.now()
        status = job.status(now)
        if status not in _ACTIVE:
            raise RefusedError(400, "invalid_request", f"Fine-tune job {job.id} is already in the state {status}")
        if status != "cancel_requested":
            job.notes.append(Note(now, "cancel_requested", "Job cancellation requested"))
            self._stop(job, now + timedelta(seconds=CANCEL_S), "cancelled", "Job cancelled by its owner")

    def delete(self, job: Job) -> None:
        """Drop the record of an ended job; the bill keeps it."""
        if not job.is_over(self.clock.now()):
            raise RefusedError(400, "invalid_request", f"Fine-tune job {job.id} has not ended; cancel it first")
        self.forget(job)

    def archive_of(self, job: Job) -> bytes:
        """The adapter as it is downloaded. Raises RefusedError while there is none."""
        if job.status(self.clock.now()) != "completed" or job.outcome is None:
            raise RefusedError(404, "not_found", f"Fine-tune job {job.id} has no checkpoint to download yet")
        if job.archive is None:
            job.archive = archives.pack(job.outcome.files)
        return job.archive

    # the bill

    def bill(self, organisation: str, start: datetime, end: datetime) -> Sequence[Line]:
        """The hourly lines of windows that start in `[start, end)`, as far as they are on the bill by now."""
        return [line for line in self.hours(organisation) if start <= line.start < end]

    def hours(self, organisation: str) -> list[Line]:
        """All hourly lines on the bill by now, by time."""
        now = self.clock.now()
        due = (line for line in self._usage(organisation, now) if line.is_on_the_bill(now, self.billing_lag_s))
        return [self._corrections.applied(line) for line in gathered(due)]

    def days(self, organisation: str) -> list[Line]:
        """The same by the day, of the days that are over."""
        now = self.clock.now()
        return [line for line in by_day(self.hours(organisation)) if line.end <= now]

    def truth(self, job: Job) -> Decimal:
        """What the job really costs, in USD to the nano-dollar, by its order's prices and without corrections."""
        self._settle(job)
        now = self.clock.now()
        return job.cost(now, job.tariff) - job.refunded(now)

    # for tests

    def newest(self, suffix: str) -> Job:
        """The newest job under a suffix, whoever's, forgotten ones too."""
        job = next(job for job in reversed(self._billed) if job.suffix == suffix)
        self._settle(job)
        return job

    def end(self, job: Job, status: Status, message: str = "") -> None:
        """End a job now: `error`, `user_error` or `cancelled`. One that has ended stays as it is."""
        now = self.clock.now()
        if not job.is_over(now):
            self._stop(job, now, status, message)

    def forget(self, job: Job) -> None:
        """Lose every trace of a job, except on the bill."""
        self._jobs.pop(job.id, None)

    def refund(self, job: Job, usd: Decimal) -> None:
        """Give money back: an event, a lower `total_price`, a negative line."""
        now = self.clock.now()
        job.refunds.append(Refund(now, to_nano(usd)))
        job.notes.append(Note(now, "refund", f"Refunded {usd} USD"))

    def limit_billing(self, job: Job) -> None:
        """The credit is used up while the job works: it is cancelled by the service."""
        now = self.clock.now()
        job.notes.append(Note(now, "billing_limit", "Job stopped: the billing limit has been reached"))
        self.end(job, "cancelled", "Job cancelled: insufficient balance")

    def replace_archive(self, job: Job, content: bytes) -> None:
        """Let something else be downloaded in place of the adapter."""
        job.archive = content

    def damage(self, job: Job) -> None:
        """Turn one bit of the adapter's archive over."""
        self.replace_archive(job, archives.corrupted(self.archive_of(job)))

    def use(self, organisation: str, line: Line) -> None:
        """Let the organisation have used something that is no fine-tuning."""
        self._foreign.append((organisation, line))

    def correct(self, line: Line, usd: Decimal) -> None:
        """Change a line of the bill after the fact."""
        self._corrections.add(line, usd)

    # inside

    def _data(self, account: Account, order: CreateFineTune) -> orders.Data:
        method = order.training_method.method
        train = self.files.checked(account.organisation, order.training_file)
        orders.check_format(method, train, "training_file")
        validation = None
        if order.validation_file:
            validation = self.files.checked(account.organisation, order.validation_file)
            orders.check_format(method, validation, "validation_file")
        content = self.files.get(account.organisation, order.training_file).content or b""
        return orders.Data(train, validation, len(content))

    def _new_job(self, account: Account, order: CreateFineTune, model: TunableModel, data: orders.Data) -> Job:
        now = self.clock.now()
        size = orders.size_of(order, model, data)
        job = Job(
            number=len(self._billed) + 1,
            id=f"ft-{uuid4()}",
            account=account,
            order=order,
            model=model,
            lora=orders.lora_of(order),
            batch_size=orders.batch_of(order, model),
            max_seq_length=orders.sequence_of(order, model),
            size=size,
            tariff=self.tariff,
            created_at=now,
            trained_at=now,
            work=orders.work_of(order, model, data, size),
        )
        job.rate(job.tariff)  # refuses what is not offered
        job.trained_at = job.tokenised_at + timedelta(seconds=WORK_S)
        return job

    def _settle(self, job: Job) -> None:
        """Bring the training up to now: begin it, take what it made, wait for it."""
        now = self.clock.now()
        if job.outcome or now < job.starts_at or (job.ending and job.ending.stopped_at <= now):
            return
        self._training.start(job.work)
        job.outcome = self._training.outcome(job.work)
        if job.outcome is None or job.outcome.error:
            job.trained_at = max(job.trained_at, now + timedelta(seconds=1))
        if job.outcome and job.outcome.error:
            self._stop(job, now, "error", job.outcome.error)

    def _stop(self, job: Job, at: datetime, status: Status, message: str) -> None:
        """Set an early ending. What was paid for steps that are not done comes back."""
        now = self.clock.now()
        stopped_at = min(now, job.ending.stopped_at) if job.ending else now
        job.ending = Ending(at, status, stopped_at, message)
        job.notes = [note for note in job.notes if note.at <= now]
        unused = job.full_cost(job.tariff) - job.cost(now, job.tariff)
        if now >= job.tokenised_at and unused:
            job.notes.append(Note(at, "refund", f"Refunded {unused} USD for uncompleted steps"))

    def _plan_billing_limit(self, job: Job) -> None:
        at = job.tokenised_at
        job.notes.append(Note(at, "billing_limit", "Job stopped: the price is above the credit limit and balance"))
        job.ending = Ending(at, "cancelled", at, "Job cancelled: insufficient balance")

    def _usage(self, organisation: str, now: datetime) -> Iterator[Line]:
        for job in self._billed:
            if job.organisation == organisation:
                self._settle(job)
                yield from job_lines(job, now, self.billing_tariff or job.tariff)
        yield from (line for whose, line in self._foreign if whose == organisation)
