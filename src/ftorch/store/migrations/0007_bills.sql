-- Where every line of a bill went, the month in which an entry counts, and what people said about lines.

ALTER TABLE ledger ADD COLUMN place TEXT NOT NULL DEFAULT 'run';
ALTER TABLE ledger ADD COLUMN list_micro BIGINT NOT NULL DEFAULT 0;
ALTER TABLE ledger ADD COLUMN counted_at BIGINT NOT NULL DEFAULT 0;
ALTER TABLE ledger ADD COLUMN corrects TEXT;
ALTER TABLE ledger ADD COLUMN labels TEXT;
UPDATE ledger SET counted_at = period_start;
UPDATE ledger SET list_micro = amount_micro WHERE kind IN ('provisional', 'billed', 'adjusted');

-- All that a report adds up, by run: a million entries are summed from here without a sort, and without their texts. It
-- also finds a run's entries.
DROP INDEX ledger_by_run;
CREATE INDEX ledger_sums ON ledger
    (run_key, job_id, provider, account, kind, source, place, counted_at, recorded_at, amount_micro, list_micro);
CREATE INDEX ledger_elsewhere ON ledger (place) WHERE place <> 'run';

-- What was told to the person at the submit: our estimate, or the provider's quote once there is one.
ALTER TABLE jobs ADD COLUMN estimate_micro BIGINT;
ALTER TABLE jobs ADD COLUMN estimate_source TEXT;

-- How far a bill has been read. Usage until data_through will not change any more by itself.
CREATE TABLE bills (
    provider     TEXT NOT NULL,
    account      TEXT NOT NULL,
    source       TEXT NOT NULL,
    data_through BIGINT NOT NULL,
    pulled_at    BIGINT NOT NULL,
    PRIMARY KEY (provider, account)
);

-- The newest as-of time at which a line was seen with the amount that stands: an older reading that comes late is old.
CREATE TABLE readings (
    provider   TEXT NOT NULL,
    account    TEXT NOT NULL,
    source     TEXT NOT NULL,
    source_ref TEXT NOT NULL,
    as_of      BIGINT NOT NULL,
    PRIMARY KEY (provider, account, source, source_ref)
);

-- A person's word about a line, or about a run whose bill differs. Append-only: the newest counts.
CREATE TABLE assignments (
    id         INTEGER PRIMARY KEY,
    provider   TEXT NOT NULL,
    account    TEXT NOT NULL,
    source     TEXT NOT NULL,
    source_ref TEXT NOT NULL,
    place      TEXT NOT NULL,
    job_id     TEXT,
    labels     TEXT,
    note       TEXT NOT NULL,
    host       TEXT NOT NULL,
    at         BIGINT NOT NULL
);
CREATE INDEX assignments_by_line ON assignments (provider, account, source, source_ref, id);

-- Files of bills that were imported, by their content.
CREATE TABLE invoices (
    sha256   TEXT PRIMARY KEY,
    provider TEXT NOT NULL,
    account  TEXT NOT NULL,
    name     TEXT NOT NULL,
    lines    INTEGER NOT NULL,
    at       BIGINT NOT NULL
);

-- Months that are frozen, and with them all before: what comes later counts later.
CREATE TABLE closes (
    month     TEXT PRIMARY KEY,
    ends_at   BIGINT NOT NULL,
    closed_at BIGINT NOT NULL,
    note      TEXT,
    findings  TEXT NOT NULL
);
