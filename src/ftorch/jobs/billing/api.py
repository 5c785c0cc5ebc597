"""`client.bill`: bills in Python, with the words of `ftorch bill`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from ftorch.store import Store

if TYPE_CHECKING:
    from ftorch.jobs.billing.close import Closed
    from ftorch.jobs.billing.explain import LineView
    from ftorch.jobs.billing.invoice import Imported
    from ftorch.jobs.billing.pull import Pulled
    from ftorch.jobs.billing.status import BillStatus
    from ftorch.jobs.context import Context


class Billing:
    """What a client knows of bills. Reading needs a store alone, everything else the whole installation."""

    def __init__(self, open_context: Callable[[], Context], open_store: Callable[[], Store | None]) -> None:
        self._context = open_context
        self._store = open_store

    def status(self) -> BillStatus:
        """How far every bill was read, where its lines went, and what nobody can explain."""
        from ftorch.jobs.billing.status import BillStatus, bill_status

        store = self._store()
        return bill_status(store) if store else BillStatus((), (), ())

    def pull(self, providers: Sequence[str] = (), *, since: datetime | None = None) -> list[Pulled]:
        """Read the bills of these providers, or of all that are configured, from where they were read last.

        Idempotent. Raises what a provider raises only where it was named; a provider without a bill is said so.
        """
        from ftorch.jobs.billing.pull import pull
        from ftorch.providers.registry import entries

        return pull(self._context(), providers or list(entries()), is_asked=bool(providers), since=since)

    def import_invoice(
        self, file: Path, provider: str, *, mapping: Path | None = None, account: str | None = None
    ) -> Imported:
        """Bring an invoice that is a CSV file into the ledger; the same content again does nothing.

        Raises InputError with every line that cannot be read, and imports none then.
        """
        from ftorch.jobs.billing.invoice import import_invoice
        from ftorch.manifest.invoice import load_mapping

        return import_invoice(self._context(), file, provider, load_mapping(mapping), account)

    def explain(self, line: str) -> LineView:
        """One line: where it went and why. `line` is the id of an entry of the ledger, or the line's reference."""
        from ftorch.jobs.billing.explain import explain

        context = self._context()
        return explain(context.store, line, context.installation)

    def assign(
        self,
        line: str,
        *,
        note: str,
        job: str | None = None,
        labels: Mapping[str, str] | None = None,
        outside: bool = False,
    ) -> LineView | None:
        """Settle a line by a person's word: a job's, under labels, or not ours. With a run's key, accept its bill."""
        from ftorch.jobs.billing.explain import assign

        return assign(self._context(), line, job=job, labels=labels or {}, is_outside=outside, note=note)

    def close(self, month: str, *, force: bool = False, note: str | None = None) -> Closed:
        """Freeze a month, and all before. Raises BillDiffersError or NotFinishedError with what is missing."""
        from ftorch.jobs.billing.close import close

        return close(self._context(), month, force=force, note=note)
