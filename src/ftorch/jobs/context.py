"""What every step needs, passed in: store, clock, ids, home, providers, secrets. And the one way to change rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from ftorch.core.clock import Clock, Reading
from ftorch.core.errors import CredentialsError
from ftorch.core.host import is_here
from ftorch.core.ids import Ids
from ftorch.core.paths import Home
from ftorch.core.redact import Redactor
from ftorch.jobs.kept_plan import kept_plan
from ftorch.manifest.plan import Plan
from ftorch.manifest.settings import Cap
from ftorch.providers.base import ENDED, Observation, Provider, RunState
from ftorch.store import EventRow, JobRow, RunRow, Store, Transaction

_FIRST_WAIT = timedelta(seconds=2)
_LONGEST_WAIT = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Context:
    """The engine's surroundings. Safe to share between threads."""

    store: Store
    clock: Clock
    ids: Ids
    home: Home
    installation: str
    env: Mapping[str, str] = field(repr=False)
    open_provider: Callable[[str], Provider]
    """One provider object per name, made once and kept."""
    redactor: Redactor = field(default_factory=Redactor, repr=False, compare=False)
    """Told every secret that a step is given, before it has it: no log and no notice may show it."""
    caps: Sequence[Cap] = ()
    _accounts: dict[str, str] = field(default_factory=dict, repr=False, compare=False)
    _first_looks: dict[str, Reading] = field(default_factory=dict, repr=False, compare=False)
    _sights: dict[str, datetime] = field(default_factory=dict, repr=False, compare=False)

    def plan(self, job: JobRow) -> Plan:
        """The job's plan. Raises StoreError for one that this version cannot read."""
        return kept_plan(self.store, job.id)

    def has_files_of(self, job: JobRow) -> bool:
        """The job's frozen rows lie here, and its adapter may be brought here."""
        return not self.store.is_shared or self.home.is_shared or is_here(job.host, self.home)

    def account(self, provider: str) -> str:
        """Whose account the provider's credentials open: asked once per process, for they are read once."""
        if provider not in self._accounts:
            self._accounts[provider] = self.open_provider(provider).check().id
        return self._accounts[provider]

    def check_account(self, run: RunRow) -> None:
        """Raises CredentialsError where the credentials open another account than the one that has the run.

        Asked there, a run would be absent; it is not lost.
        """
        if run.account == (now := self.account(run.provider)):
            return
        raise CredentialsError(
            f"run {run.key} belongs to the account {run.account!r} of {run.provider}; the credentials open {now!r}",
            hint=f"set those of {run.account!r}, then run `ftorch daemon stop` and `ftorch wait {run.job_id}`",
        )

    def secrets(self, plan: Plan) -> dict[str, str]:
        """The values behind the manifest's places. Raises CredentialsError naming every one that is not set."""
        places = {name: place.removeprefix("env:") for name, place in plan.secrets.items()}
        if missing := sorted(place for place in places.values() if place not in self.env):
            raise CredentialsError(
                f"the manifest's secrets are not set: {', '.join(missing)}",
                hint="set them in the environment or in ./.env, then submit again",
            )
        values = {name: self.env[place] for name, place in places.items()}
        self.redactor.conceal(values.values())
        return values

    def reading(self) -> Reading:
        """What the clock shows by which everybody who shares the database measures."""
        return self.store.reading(self.clock)

    def first_look(self, key: str, now: Reading) -> Reading:
        """When this process first asked how long ago a run was sent and nobody could tell."""
        return self._first_looks.setdefault(key, now)

    def saw(self, key: str, seen: Observation) -> None:
        """Remember that a run is there: its row is told so now and then only. One that is missed was there before."""
        if seen.state not in ENDED:
            self._sights[key] = seen.observed_at
        elif seen.state is not RunState.ABSENT:
            self._sights.pop(key, None)

    def last_sight(self, run: RunRow) -> datetime | None:
        """When the run was seen last, by this process or by whoever has written its row."""
        moments = (run.observed_at, self._sights.get(run.key))
        return max((moment for moment in moments if moment is not None), default=None)

    def change_job(self, job: JobRow, event: str = "", words: str = "", /, **changes: object) -> bool:
        """Change a job that is still as it was read, with its event, in one commit. False: it had changed."""
        return self.store.write(lambda tx: self.change_job_in(tx, job, event, words, **changes))

    def change_run(self, run: RunRow, event: str = "", words: str = "", /, **changes: object) -> bool:
        """Change a run that is still as it was read, with its event, in one commit. False: it had changed."""
        return self.store.write(lambda tx: self.change_run_in(tx, run, event, words, **changes))

    def change_job_in(self, tx: Transaction, job: JobRow, event: str, words: str, /, **changes: object) -> bool:
        if not tx.update_job(job, **changes):
            return False
        if event:
            tx.add_event(self.event(job.id, None, event, words))
        return True

    def change_run_in(self, tx: Transaction, run: RunRow, event: str, words: str, /, **changes: object) -> bool:
        if not tx.update_run(run, **changes):
            return False
        if event:
            tx.add_event(self.event(run.job_id, run.key, event, words))
        return True

    def again(self, run: RunRow) -> RunRow:
        """The run as it is in the database now."""
        read = self.store.run(run.key)
        if read is None:
            raise LookupError(f"run {run.key} has left the database")
        return read

    def event(self, job_id: str, run_key: str | None, event: str, detail: str = "") -> EventRow:
        return EventRow(seq=0, job_id=job_id, run_key=run_key, at=self.clock.now(), event=event, detail=detail)

    def later(self, failures: int) -> datetime:
        """When to try again after so many failures in a row: 2 s doubling, 10 minutes at most."""
        wait = min(_FIRST_WAIT * (1 << min(failures, 12)), _LONGEST_WAIT)
        return self.clock.now() + wait
