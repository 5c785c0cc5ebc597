"""The quiet time: how long after a create was sent it may still become visible at its provider.

It is measured by a clock that nobody sets: boot time on one machine, the server's clock where hosts share a database.
A process that cannot tell how long ago the create was sent (another boot, another host) waits for the whole time, from
the moment when it first looked: a wall clock that was set forward must not bring a second run.
"""

from __future__ import annotations

from datetime import timedelta

from ftorch.core.clock import Reading
from ftorch.jobs.context import Context
from ftorch.providers.base import Capabilities
from ftorch.store import RunRow

SEND_WINDOW = timedelta(seconds=30)
"""So long after its intent a create may be written to the wire."""


def quiet_left(context: Context, run: RunRow, capabilities: Capabilities, now: Reading) -> timedelta:
    """How long from `now` the run's create may still become visible; zero for one that we did not send."""
    if run.send_before is None:
        return timedelta(0)
    whole = SEND_WINDOW + timedelta(seconds=capabilities.create_timeout_s + capabilities.visibility_lag_s)
    return max(whole - _since_sent(context, run, now), timedelta(0))


def _since_sent(context: Context, run: RunRow, now: Reading) -> timedelta:
    since = now.since(Reading.parse(run.sent_reading)) if run.sent_reading else None
    if since is None:
        since = now.since(context.first_look(run.key, now))
    return since or timedelta(0)
