"""Every statement, once. Parameters are written `:name`; a dialect may rewrite them, not the text around them."""

from __future__ import annotations

from ftorch.store.rows import EvaluationRow, EventRow, JobRow, LedgerRow, RunRow, columns


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
INSERT_LEDGER = _insert("ledger", tuple(name for name in columns(LedgerRow) if name != "id"))

GET_META = "SELECT value FROM meta WHERE key = :key"
PUT_META = "INSERT INTO meta (key, value) VALUES (:key, :value) ON CONFLICT (key) DO UPDATE SET value = excluded.value"

JOB = f"{_JOB} WHERE id = :id"
JOBS = f"{_JOB} ORDER BY id DESC"
JOBS_BY_NAME = f"{_JOB} WHERE name = :name ORDER BY id DESC"
JOBS_BY_PREFIX = f"{_JOB} WHERE id LIKE :prefix || '%' ORDER BY id DESC"
JOBS_BY_PLAN = f"{_JOB} WHERE plan_hash = :plan_hash ORDER BY id DESC"
SET_ADAPTER = "UPDATE jobs SET adapter = :adapter, version = version + 1 WHERE id = :id"
PLAN_TEXT = "SELECT plan FROM jobs WHERE id = :id"

# The engine's work: jobs that have not ended, and jobs with a run that is not ended, released and settled.
WORK_JOBS = (
    f"{_JOB} WHERE ended_at IS NULL OR id IN "
    "(SELECT job_id FROM runs WHERE ended_at IS NULL OR released_at IS NULL OR settled_at IS NULL)"
)
HAS_WORK = "SELECT EXISTS (SELECT 1 FROM jobs WHERE ended_at IS NULL AND state <> 'unknown')"
WORK_RUNS = (
    f"{_RUN} WHERE job_id IN (SELECT id FROM jobs WHERE ended_at IS NULL) "
    "OR ended_at IS NULL OR released_at IS NULL OR settled_at IS NULL ORDER BY job_id, number"
)

RUN = f"{_RUN} WHERE key = :key"
RUNS = f"{_RUN} ORDER BY job_id, number"
RUNS_OF_JOB = f"{_RUN} WHERE job_id = :job_id ORDER BY number"

EVENTS_OF_JOB = f"SELECT {_names(EventRow)} FROM events WHERE job_id = :job_id AND seq > :after ORDER BY seq"

LEDGER = f"{_LEDGER} ORDER BY id"
LEDGER_OF_JOB = f"{_LEDGER} WHERE job_id = :job_id ORDER BY id"
LEDGER_OF_REF = (
    f"{_LEDGER} WHERE provider = :provider AND account = :account AND source = :source "
    "AND source_ref = :source_ref ORDER BY revision"
)
SPEND_OF_JOB = (
    "SELECT COALESCE(SUM(amount_micro), 0) AS micro FROM ledger "
    "WHERE job_id = :job_id AND kind IN ('provisional', 'billed', 'adjusted')"
)
# A hold stands from the intent until the run is settled; what the ledger already has for the run is not held twice.
HELD_BY_JOB = "SELECT COALESCE(SUM(hold_micro), 0) AS micro FROM runs WHERE job_id = :job_id AND charged_at IS NULL"
# What the daemon's metrics show.
COUNT_JOBS = "SELECT state, COUNT(*) FROM jobs GROUP BY state"
COUNT_RUNS = "SELECT COALESCE(state, 'not_sent'), provider, COUNT(*) FROM runs GROUP BY 1, 2"
HELD = "SELECT COALESCE(SUM(hold_micro), 0) FROM runs WHERE charged_at IS NULL"
SPEND_BY_KIND = "SELECT provider, kind, SUM(amount_micro) FROM ledger GROUP BY provider, kind"

_EVALUATION = f"SELECT {_names(EvaluationRow)} FROM evaluations"
EVALUATIONS_OF_JOB = f"{_EVALUATION} WHERE job_id = :job_id ORDER BY id DESC"
VERDICTS = (
    "SELECT job_id, verdict FROM evaluations WHERE id IN "
    "(SELECT MAX(id) FROM evaluations WHERE verdict IS NOT NULL GROUP BY job_id)"
)
GATES_ON_DATASET = "SELECT COUNT(*) AS n FROM evaluations WHERE dataset = :dataset AND verdict IS NOT NULL"
BOOK_CALL = "INSERT INTO booked_calls (call, booked_at) VALUES (:call, :booked_at) ON CONFLICT (call) DO NOTHING"


def update(table: str, key: str, names: tuple[str, ...]) -> str:
    """A compare-and-set: changes the row only while it still has the version that was read."""
    changes = ", ".join(f"{name} = :{name}" for name in names)
    return f"UPDATE {table} SET {changes}, version = version + 1 WHERE {key} = :_key AND version = :_version"
