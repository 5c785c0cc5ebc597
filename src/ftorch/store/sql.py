"""Every statement, once. Parameters are written `:name`; a dialect may rewrite them, not the text around them.

Two marks mean something to a dialect: `:now` is the database's own clock on PostgreSQL and the host's on SQLite, and
`FOR UPDATE SKIP LOCKED` goes where one writer at a time is all there is.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from ftorch.store.rows import EstimateRow, EvaluationRow, EventRow, JobRow, LedgerRow, RunRow, columns


def _names(row_type: type, *, without: tuple[str, ...] = ()) -> str:
    return ", ".join(name for name in columns(row_type) if name not in without)


def _insert(table: str, names: tuple[str, ...]) -> str:
    return f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join(':' + name for name in names)})"


_JOB = f"SELECT {_names(JobRow)} FROM jobs"
_RUN = f"SELECT {_names(RunRow)} FROM runs"
_LEDGER = f"SELECT {_names(LedgerRow)} FROM ledger"

INSERT_JOB = _insert("jobs", (*columns(JobRow), "plan"))
INSERT_RUN = _insert("runs", columns(RunRow))
INSERT_EVENT = _insert("events", tuple(name for name in columns(EventRow) if name != "seq"))
INSERT_EVALUATION = _insert("evaluations", columns(EvaluationRow))
INSERT_ESTIMATE = _insert("estimates", columns(EstimateRow))
INSERT_LEDGER = _insert("ledger", tuple(name for name in columns(LedgerRow) if name != "id"))

# The kinds of ledger entries whose sum is spend: all but tax and credit. Everybody who adds up builds on this.
SPEND_KINDS = ("provisional", "billed", "adjusted")
_IS_SPEND = "kind IN ('{}')".format("', '".join(SPEND_KINDS))
_SPENT = "CAST(COALESCE(SUM(amount_micro), 0) AS BIGINT) AS micro"

GET_META = "SELECT value FROM meta WHERE key = :key"
PUT_META = "INSERT INTO meta (key, value) VALUES (:key, :value) ON CONFLICT (key) DO UPDATE SET value = excluded.value"

NOW = "SELECT :now AS now"

# The row of meta that holds the installation's mark.
INSTALLATION = "installation"
# The row of meta that says where a database was moved to; its triggers then refuse every change in words that begin so.
SEALED = "sealed"
SEAL_MARK = "moved to "
# The row of meta that a database has while another is being moved into it: it names the installation that moves.
ARRIVING = "arriving"

SKIP_LOCKED = "FOR UPDATE SKIP LOCKED"

JOB = f"{_JOB} WHERE id = :id"
JOBS = f"{_JOB} ORDER BY id DESC"
JOBS_BY_NAME = f"{_JOB} WHERE name = :name ORDER BY id DESC"
JOBS_BY_PREFIX = f"{_JOB} WHERE id LIKE :prefix || '%' ORDER BY id DESC"
JOBS_BY_PLAN = f"{_JOB} WHERE plan_hash = :plan_hash ORDER BY id DESC"
SET_ADAPTER = "UPDATE jobs SET adapter = :adapter, version = version + 1 WHERE id = :id"
PLAN_TEXT = "SELECT plan FROM jobs WHERE id = :id"

# The engine's work: jobs that have not ended, and jobs with a run that is not ended, released and settled.
# Settling comes after ending and releasing, so one column, which has an index, tells of all three.
_UNDONE = "settled_at IS NULL"
_WORK_JOBS = f"WHERE ended_at IS NULL OR id IN (SELECT job_id FROM runs WHERE {_UNDONE})"
_WORK_RUNS = f"WHERE job_id IN (SELECT id FROM jobs WHERE ended_at IS NULL) OR {_UNDONE}"
WORK_JOB_VERSIONS = f"SELECT id, version FROM jobs {_WORK_JOBS}"
WORK_RUN_VERSIONS = f"SELECT key, version FROM runs {_WORK_RUNS}"
HAS_WORK = "SELECT EXISTS (SELECT 1 FROM jobs WHERE ended_at IS NULL AND state <> 'unknown')"

# A line per job for the table of all of them: what it costs to read whole rows is paid only where they are shown.
JOB_LINES = "SELECT id, name, state, reason, provider, created_at FROM jobs ORDER BY id DESC"
PROGRESS = (
    "SELECT job_id, progress FROM runs WHERE progress IS NOT NULL "
    "AND job_id IN (SELECT id FROM jobs WHERE ended_at IS NULL) ORDER BY job_id, number"
)
SPEND_LINES = (
    f"SELECT job_id, source, kind, {_SPENT}, MAX(id) AS newest FROM ledger "
    f"WHERE {_IS_SPEND} AND job_id IS NOT NULL GROUP BY job_id, source, kind"
)

RUN = f"{_RUN} WHERE key = :key"
RUNS = f"{_RUN} ORDER BY job_id, number"
PROVIDERS_USED = "SELECT provider, COUNT(*) AS n FROM runs GROUP BY provider"
RUNS_OF_JOB = f"{_RUN} WHERE job_id = :job_id ORDER BY number"

EVENTS_OF_JOB = f"SELECT {_names(EventRow)} FROM events WHERE job_id = :job_id AND seq > :after ORDER BY seq"

LEDGER = f"{_LEDGER} ORDER BY id"
LEDGER_OF_JOB = f"{_LEDGER} WHERE job_id = :job_id ORDER BY id"
LEDGER_OF_RUN = f"{_LEDGER} WHERE run_key = :run_key ORDER BY source, source_ref, revision"
LEDGER_ENTRY = f"{_LEDGER} WHERE id = :id"
# A key and those of its duplicates, `<key>/2` and so on: the zero comes right after the slash.
LEDGER_OF_KEY = f"{_LEDGER} WHERE run_key >= :key AND run_key < :key || '0' ORDER BY id"
OPEN_PLACES = (
    "SELECT runs.provider, jobs.labels FROM runs JOIN jobs ON runs.job_id = jobs.id WHERE runs.ended_at IS NULL"
)
LEDGER_OF_REF = (
    f"{_LEDGER} WHERE provider = :provider AND account = :account AND source = :source "
    "AND source_ref = :source_ref ORDER BY revision"
)
SPEND_OF_JOB = f"SELECT {_SPENT} FROM ledger WHERE job_id = :job_id AND {_IS_SPEND}"
# Lines of a bill that are not ours, or that nobody can explain, are not spent by a job or under a label.
_IS_OURS = "place IN ('run', 'assigned')"
SPEND_SINCE = (
    f"SELECT job_id, {_SPENT} FROM ledger WHERE period_end >= :since AND {_IS_SPEND} AND {_IS_OURS} GROUP BY job_id"
)
# A hold stands from the submit or the intent until the run is settled; it is what the ledger does not have yet.
HELD_NOW = (
    "SELECT job_id, CAST(SUM(micro) AS BIGINT) AS micro FROM ("
    f"SELECT job_id, hold_micro AS micro FROM runs WHERE {_UNDONE} AND hold_micro > 0 "
    "UNION ALL SELECT id AS job_id, hold_micro AS micro FROM jobs WHERE hold_micro > 0) AS holds GROUP BY job_id"
)
LABELS = "SELECT id, labels FROM jobs"
HELD_BY_RUNS_OF_JOB = (
    f"SELECT CAST(COALESCE(SUM(hold_micro), 0) AS BIGINT) AS micro FROM runs WHERE job_id = :job_id AND {_UNDONE}"
)
# What a training came to whose estimate was kept: runs that trained it all at the provider that was estimated.
_OUTCOMES = (
    "SELECT estimates.job_id AS job_id, estimates.provider AS provider, jobs.base_model AS base_model, "
    "estimates.growing_micro AS growing_micro, estimates.growing_seconds AS growing_seconds, "
    "(SELECT CAST(SUM(amount_micro) AS BIGINT) FROM ledger WHERE ledger.run_key = runs.key "
    f"AND {_IS_SPEND}) AS actual_micro, "
    "runs.billable_from AS billable_from, runs.billable_to AS billable_to FROM estimates "
    "JOIN jobs ON jobs.id = estimates.job_id JOIN runs ON runs.job_id = jobs.id "
    "AND runs.provider = estimates.provider AND runs.purpose = 'train' AND runs.state = 'succeeded' "
    "AND runs.resume_from IS NULL"
)
OUTCOMES_OF = (
    f"{_OUTCOMES} WHERE estimates.provider = :provider AND jobs.base_model = :base_model "
    "ORDER BY estimates.job_id DESC LIMIT 200"
)
# What the daemon's metrics show.
COUNT_JOBS = "SELECT state, COUNT(*) AS n FROM jobs GROUP BY state"
COUNT_RUNS = "SELECT COALESCE(state, 'not_sent') AS state, provider, COUNT(*) AS n FROM runs GROUP BY 1, 2"
HELD = f"SELECT CAST(COALESCE(SUM(micro), 0) AS BIGINT) AS micro FROM ({HELD_NOW}) AS held"
SPEND_BY_KIND = f"SELECT provider, kind, {_SPENT} FROM ledger WHERE {_IS_OURS} GROUP BY provider, kind"

_EVALUATION = f"SELECT {_names(EvaluationRow)} FROM evaluations"
EVALUATIONS_OF_JOB = f"{_EVALUATION} WHERE job_id = :job_id ORDER BY id DESC"
VERDICTS = (
    "SELECT job_id, verdict FROM evaluations WHERE id IN "
    "(SELECT MAX(id) FROM evaluations WHERE verdict IS NOT NULL GROUP BY job_id)"
)
GATES_ON_DATASET = "SELECT COUNT(*) AS n FROM evaluations WHERE dataset = :dataset AND verdict IS NOT NULL"
BOOK_CALL = "INSERT INTO booked_calls (call, booked_at) VALUES (:call, :booked_at) ON CONFLICT (call) DO NOTHING"

# A lease goes to a new owner with a new token; whoever holds it may ask again and keeps the token.
ACQUIRE_LEASE = (
    "INSERT INTO leases (name, owner, token, expires_at) VALUES (:name, :owner, 1, :now + :ttl_micro) "
    "ON CONFLICT (name) DO UPDATE SET owner = excluded.owner, expires_at = excluded.expires_at, "
    "token = leases.token + CASE WHEN leases.owner = excluded.owner AND leases.expires_at > :now THEN 0 ELSE 1 END "
    "WHERE leases.owner = excluded.owner OR leases.expires_at <= :now RETURNING token"
)
RENEW_LEASE = (
    "UPDATE leases SET expires_at = :now + :ttl_micro "
    "WHERE name = :name AND owner = :owner AND token = :token AND expires_at > :now"
)
RELEASE_LEASE = "UPDATE leases SET expires_at = 0 WHERE name = :name AND owner = :owner AND token = :token"
LEASE_LEFT = "SELECT expires_at - :now AS micro FROM leases WHERE name = :name"
ADD_CLAIM = "INSERT INTO leases (name, owner, token, expires_at) VALUES (:name, '', 0, 0) ON CONFLICT (name) DO NOTHING"
CLAIM = (
    "UPDATE leases SET owner = :owner, expires_at = :now + :ttl_micro, token = token + 1 WHERE name IN "
    f"(SELECT name FROM leases WHERE name = :name AND expires_at <= :now {SKIP_LOCKED}) RETURNING token"
)


# Every table with its primary key, those that others refer to first.
TABLES = {
    "meta": "key",
    "jobs": "id",
    "runs": "key",
    "estimates": "job_id",
    "events": "seq",
    "ledger": "id",
    "evaluations": "id",
    "booked_calls": "call",
    "leases": "name",
    "bills": "provider, account",
    "readings": "provider, account, source, source_ref",
    "assignments": "id",
    "invoices": "sha256",
    "closes": "month",
    "schedules": "id",
    "occurrences": "id",
    "versions": "job_id",
    "promotions": "id",
    "notices": "id",
    "deliveries": "id",
}
# Those whose keys the database gives.
NUMBERED = ("events", "ledger", "assignments", "promotions")
LEDGER_SUM = f"SELECT {_SPENT} FROM ledger"


def count(table: str) -> str:
    return f"SELECT COUNT(*) AS n FROM {table}"


def all_rows(table: str, names: Sequence[str]) -> str:
    """Every row, in the order of the primary key: by number, or by the bytes of its text on both databases."""
    return f"SELECT {', '.join(names)} FROM {table} ORDER BY {TABLES[table]}"


@cache
def update(table: str, key: str, names: tuple[str, ...]) -> str:
    """A compare-and-set: changes the row only while it still has the version that was read."""
    changes = ", ".join(f"{name} = :{name}" for name in names)
    return f"UPDATE {table} SET {changes}, version = version + 1 WHERE {key} = :_key AND version = :_version"


NAMES_AT_ONCE = (4, 40, 400)
"""How many names a statement asks for: connections keep the statements they have seen, and long ones are large."""


def by_names(row_type: type, table: str, key: str, count: int) -> str:
    """Whole rows by `count` names, given as n0, n1 and so on."""
    places = ", ".join(f":n{i}" for i in range(count))
    return f"SELECT {_names(row_type)} FROM {table} WHERE {key} IN ({places})"
