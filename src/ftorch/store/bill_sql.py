"""Statements about bills: how far they are read, where their lines went, what a month counts, when it was closed."""

from __future__ import annotations

from ftorch.store.rows import AssignmentRow, BillRow, CloseRow, InvoiceRow, LedgerRow, RunRow, columns
from ftorch.store.sql import SPEND_KINDS


def _select(row_type: type, table: str) -> str:
    return f"SELECT {', '.join(columns(row_type))} FROM {table}"


def _insert(row_type: type, table: str, *, without: str = "") -> str:
    names = [name for name in columns(row_type) if name != without]
    return f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join(':' + name for name in names)})"


_SPEND = "kind IN ('{}')".format("', '".join(SPEND_KINDS))
_BILLED = "source IN ('billing_api', 'invoice')"
_LINE = "provider = :provider AND account = :account AND source = :source AND source_ref = :source_ref"
_SUMS = "CAST(SUM(amount_micro) AS BIGINT) AS micro, CAST(SUM(list_micro) AS BIGINT) AS list_micro, COUNT(*) AS entries"

BILLS = f"{_select(BillRow, 'bills')} ORDER BY provider, account"
BILL = f"{_select(BillRow, 'bills')} WHERE provider = :provider AND account = :account"
# What was read stays read: a pull of an earlier time does not take it back.
PUT_BILL = (
    f"{_insert(BillRow, 'bills')} ON CONFLICT (provider, account) DO UPDATE SET pulled_at = excluded.pulled_at, "
    "data_through = CASE WHEN excluded.data_through > bills.data_through THEN excluded.data_through "
    "ELSE bills.data_through END"
)

SPEND_OF_ACCOUNT = (
    "SELECT CAST(COALESCE(SUM(amount_micro), 0) AS BIGINT) AS micro FROM ledger "
    f"WHERE provider = :provider AND account = :account AND {_SPEND}"
)

LAST_ENTRY = "SELECT COALESCE(MAX(id), 0) AS id FROM ledger"
# What a pulled bill has changed since an entry: lines, what they and their covers come to, and the newest entry.
BILLED_SINCE = (
    "SELECT COUNT(DISTINCT CASE WHEN source = 'billing_api' THEN source_ref END) AS lines, "
    f"CAST(COALESCE(SUM(CASE WHEN {_SPEND} THEN amount_micro ELSE 0 END), 0) AS BIGINT) AS micro, MAX(id) AS newest "
    "FROM ledger WHERE provider = :provider AND account = :account AND id > :after "
    "AND (source = 'billing_api' OR source_ref LIKE 'bill/%')"
)

READING = f"SELECT as_of FROM readings WHERE {_LINE}"
PUT_READING = (
    "INSERT INTO readings (provider, account, source, source_ref, as_of) "
    "VALUES (:provider, :account, :source, :source_ref, :as_of) "
    "ON CONFLICT (provider, account, source, source_ref) DO UPDATE SET as_of = excluded.as_of"
)

LINES_CALLED = f"{_select(LedgerRow, 'ledger')} WHERE source_ref = :source_ref AND {_BILLED} ORDER BY id"

INSERT_ASSIGNMENT = _insert(AssignmentRow, "assignments", without="id")
ASSIGNMENTS_OF = f"{_select(AssignmentRow, 'assignments')} WHERE {_LINE} ORDER BY id"
ACCEPTED_RUNS = "SELECT DISTINCT source_ref, 1 AS one FROM assignments WHERE source = 'run'"

INSERT_INVOICE = _insert(InvoiceRow, "invoices")
INVOICE = f"{_select(InvoiceRow, 'invoices')} WHERE sha256 = :sha256"

INSERT_CLOSE = _insert(CloseRow, "closes")
CLOSES = f"{_select(CloseRow, 'closes')} ORDER BY month"
CLOSED_UNTIL = "SELECT MAX(ends_at) AS ends_at FROM closes"

RUNS_OF_KEY = f"{_select(RunRow, 'runs')} WHERE key >= :key AND key < :key || '0' ORDER BY key"
RUNS_OF_REMOTE = f"{_select(RunRow, 'runs')} WHERE provider = :provider AND remote_id = :remote_id ORDER BY key"
# Runs that the bill covers since it was read until :through, and whose lines may have come before.
RUNS_COVERED = (
    f"{_select(RunRow, 'runs')} WHERE provider = :provider AND account = :account "
    "AND COALESCE(billable_to, ended_at) > :before AND COALESCE(billable_to, ended_at) <= :through ORDER BY key"
)
FIRST_RUN = "SELECT MIN(created_at) AS at FROM runs WHERE provider = :provider AND account = :account"
ACCOUNTS_USED = "SELECT DISTINCT provider, account FROM runs ORDER BY provider, account"

# What stands of every line, by where it went.
LINE_SUMS = (
    "SELECT provider, account, place, kind, CAST(SUM(micro) AS BIGINT) AS micro, COUNT(*) AS lines FROM ("
    "SELECT provider, account, source, source_ref, place, kind, SUM(amount_micro) AS micro FROM ledger "
    f"WHERE {_BILLED} GROUP BY provider, account, source, source_ref, place, kind HAVING SUM(amount_micro) <> 0"
    ") AS standing GROUP BY provider, account, place, kind ORDER BY provider, account, place, kind"
)
# The newest entry of every line that nobody can explain.
UNEXPLAINED = (
    f"{_select(LedgerRow, 'ledger')} WHERE id IN (SELECT MAX(id) FROM ledger WHERE place = 'unexplained' "
    "AND place <> 'run' GROUP BY provider, account, source, source_ref HAVING SUM(amount_micro) <> 0) ORDER BY id"
)
# Runs that have both a bill and what we had charged in a scope, as they stand. A line that was corrected or refunded is
# the provider's last word, and is not held against our figure; so is one that it made or changed after its usage had
# settled, where its as-of time is not just when we read it (ten minutes: some bills have no as-of time of their own).
_LATE = (
    "(as_of > period_end + (bills.pulled_at - bills.data_through) AND recorded_at > as_of + 600000000 "
    "OR revision > 1 OR kind = 'adjusted')"
)
_OF_BILL = "ledger.source IN ('billing_api', 'invoice')"
BILLED_RUNS = (
    "SELECT SUBSTR(run_key, 1, 36) AS run, MAX(job_id) AS job_id, ledger.provider, ledger.account, "
    f"CAST(SUM(CASE WHEN {_OF_BILL} THEN amount_micro ELSE 0 END) AS BIGINT) AS billed, "
    f"CAST(SUM(CASE WHEN {_OF_BILL} OR source_ref LIKE 'bill/%' THEN 0 ELSE amount_micro END) AS BIGINT) AS charged, "
    f"MAX(CASE WHEN {_OF_BILL} THEN '' ELSE ledger.source END) AS source, MAX(period_end) AS ends_at FROM ledger "
    "JOIN bills ON bills.provider = ledger.provider AND bills.account = ledger.account "
    f"WHERE run_key IS NOT NULL AND place = 'run' AND {_SPEND} "
    "GROUP BY 1, ledger.provider, ledger.account, ledger.scope "
    f"HAVING MAX(CASE WHEN {_OF_BILL} AND {_LATE} THEN 1 ELSE 0 END) = 0 "
    f"AND MAX(CASE WHEN {_OF_BILL} THEN 1 ELSE 0 END) = 1 AND MIN(CASE WHEN {_OF_BILL} THEN 1 ELSE 0 END) = 0"
)
# Runs of a time that are not on any bill although we charged for them, and runs that are not settled.
UNBILLED_RUNS = (
    "SELECT SUBSTR(run_key, 1, 36) AS run, MAX(job_id) AS job_id, provider, account, "
    "CAST(SUM(amount_micro) AS BIGINT) AS micro FROM ledger "
    f"WHERE run_key IS NOT NULL AND place = 'run' AND {_SPEND} AND counted_at >= :start AND counted_at < :end "
    f"GROUP BY 1, provider, account HAVING MAX(CASE WHEN {_BILLED} THEN 1 ELSE 0 END) = 0 AND SUM(amount_micro) <> 0"
)
UNSETTLED_RUNS = (
    f"{_select(RunRow, 'runs')} WHERE settled_at IS NULL AND created_at < :end AND sent_at IS NOT NULL "
    "AND (billable_to IS NULL OR billable_to < :end) ORDER BY key"
)

_COUNTED = "recorded_at <= :as_of AND counted_at >= :start AND counted_at < :end"
_SHOWN = "(place IN ('run', 'assigned') OR kind IN ('credit', 'tax'))"
_OUTCOME = (
    "CASE WHEN per_run.run_key IS NULL THEN NULL WHEN runs.key IS NULL THEN 'stray' "
    "WHEN runs.ended_at <= :as_of THEN runs.state ELSE 'open' END AS outcome"
)


def _where(*, one_job: bool) -> str:
    return f"{_COUNTED} AND {_SHOWN}{' AND job_id = :job_id' if one_job else ''}"


def spend_groups(*, one_job: bool) -> str:
    """All that a report adds up: by run first, from the index alone, so that a run's end is looked up once."""
    per_run = (
        "SELECT run_key, job_id, provider, kind, source, place, SUM(amount_micro) AS amount_micro, "
        f"SUM(list_micro) AS list_micro, COUNT(*) AS n FROM ledger WHERE {_where(one_job=one_job)} "
        "GROUP BY run_key, job_id, provider, kind, source, place"
    )
    return (
        "SELECT per_run.job_id AS job_id, per_run.provider AS provider, kind, source, per_run.place AS place, "
        f"{_OUTCOME}, CAST(SUM(amount_micro) AS BIGINT) AS micro, CAST(SUM(list_micro) AS BIGINT) AS list_micro, "
        f"CAST(SUM(n) AS BIGINT) AS entries FROM ({per_run}) AS per_run LEFT JOIN runs ON runs.key = per_run.run_key "
        "GROUP BY per_run.job_id, per_run.provider, kind, source, per_run.place, outcome"
    )


# Lines that a person gave labels instead of a job: few, and by an index of their own.
ASSIGNED_GROUPS = (
    f"SELECT labels, provider, kind, source, {_SUMS} FROM ledger WHERE place = 'assigned' AND place <> 'run' "
    f"AND {_COUNTED} GROUP BY labels, provider, kind, source"
)


def spend_months(months: int, *, one_job: bool) -> str:
    """Sums by month: the i-th month begins at :mi, so that a month of any time zone can be asked for."""
    return (
        f"SELECT {_month(months)} AS month, kind, source, {_SUMS} FROM ledger "
        f"WHERE {_where(one_job=one_job)} GROUP BY 1, kind, source"
    )


def jobs_months(months: int, *, one_job: bool) -> str:
    return (
        f"SELECT {_month(months)} AS month, COUNT(DISTINCT job_id) AS jobs FROM ledger "
        f"WHERE {_where(one_job=one_job)} GROUP BY 1"
    )


def waste_months(months: int, *, one_job: bool) -> str:
    """What runs that did not succeed cost, by month."""
    return (
        f"SELECT {_month(months)} AS month, CAST(SUM(amount_micro) AS BIGINT) AS micro FROM runs "
        f"JOIN ledger ON ledger.run_key = runs.key WHERE runs.state <> 'succeeded' AND runs.ended_at <= :as_of "
        f"AND {_SPEND} AND {_COUNTED}{' AND ledger.job_id = :job_id' if one_job else ''} GROUP BY 1"
    )


def _month(months: int) -> str:
    cuts = " ".join(f"WHEN counted_at < :m{i} THEN {i - 1}" for i in range(1, months))
    return f"CASE {cuts} ELSE {months - 1} END" if cuts else "0"


SPAN = "SELECT MIN(counted_at) AS first, MAX(counted_at) AS last FROM ledger WHERE recorded_at <= :as_of"
JOB_FACTS = "SELECT id, name, base_model, method, labels, host, estimate_micro, estimate_source FROM jobs"
UNPRICED = (
    "SELECT job_id, COUNT(*) AS n FROM runs WHERE charged_at <= :as_of AND billable_from IS NOT NULL AND NOT EXISTS "
    "(SELECT 1 FROM ledger WHERE ledger.run_key = runs.key AND recorded_at <= :as_of) GROUP BY job_id"
)
WASTED_RUNS = "SELECT key, 1 AS one FROM runs WHERE state <> 'succeeded' AND ended_at <= :as_of"

# What stands of every line that counts in a span, and what is left of our own charges once the bill has covered them:
# a correction within an open month leaves one row, one of a closed month a row of its own.
_IS_COVER = f"(source_ref LIKE 'bill/%' AND NOT {_BILLED})"
_STANDING = (
    f"SELECT COALESCE(MAX(CASE WHEN {_IS_COVER} THEN NULL ELSE id END), MAX(id)) AS id, "
    "CAST(SUM(amount_micro) AS BIGINT) AS micro, CAST(SUM(list_micro) AS BIGINT) AS list_micro FROM ledger "
    f"WHERE {_COUNTED} AND {_SHOWN} GROUP BY provider, account, source, "
    f"CASE WHEN {_BILLED} OR run_key IS NULL THEN source_ref ELSE SUBSTR(run_key, 1, 36) END, "
    "kind, place, job_id, corrects HAVING SUM(amount_micro) <> 0 OR SUM(list_micro) <> 0"
)
STANDING = (
    f"SELECT {', '.join('ledger.' + name for name in columns(LedgerRow))}, standing.micro AS standing_micro, "
    f"standing.list_micro AS standing_list FROM ledger JOIN ({_STANDING}) AS standing ON standing.id = ledger.id "
    "ORDER BY ledger.counted_at, ledger.id"
)
LINES_OF_SPAN = (
    "SELECT job_id, run_key, provider, source, unit, quantity, amount_micro, scope FROM ledger "
    f"WHERE {_COUNTED} AND {_SPEND} AND place IN ('run', 'assigned') ORDER BY run_key, id"
)
