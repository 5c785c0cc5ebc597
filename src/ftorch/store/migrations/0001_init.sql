-- Moments are integer microseconds since 1970, UTC. Money is integer micro-USD. Rates are decimal text.

CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
);

CREATE TABLE jobs (
    id            TEXT PRIMARY KEY,
    name          TEXT NOT NULL,
    plan_hash     TEXT NOT NULL,
    plan          TEXT NOT NULL,
    manifest_path TEXT NOT NULL,
    dataset       TEXT NOT NULL,
    base_model    TEXT NOT NULL,
    method        TEXT NOT NULL,
    provider      TEXT NOT NULL,
    state         TEXT NOT NULL,
    reason        TEXT,
    detail        TEXT NOT NULL DEFAULT '',
    desired       TEXT NOT NULL,
    limit_micro   BIGINT,
    labels        TEXT NOT NULL,
    host          TEXT NOT NULL,
    staged        TEXT,
    adapter       TEXT,
    failures      INTEGER NOT NULL DEFAULT 0,
    granted       INTEGER NOT NULL DEFAULT 0,
    created_at    BIGINT NOT NULL,
    ended_at      BIGINT,
    next_at       BIGINT NOT NULL,
    version       INTEGER NOT NULL DEFAULT 1
);
CREATE INDEX jobs_by_plan ON jobs (plan_hash);
CREATE INDEX jobs_by_name ON jobs (name, id);
CREATE INDEX jobs_open ON jobs (ended_at) WHERE ended_at IS NULL;

-- sent_at with the key is the intent: committed before anything goes over the wire.
CREATE TABLE runs (
    key                 TEXT PRIMARY KEY,
    job_id              TEXT NOT NULL REFERENCES jobs (id),
    number              INTEGER NOT NULL,
    purpose             TEXT NOT NULL,
    provider            TEXT NOT NULL,
    account             TEXT NOT NULL,
    placement           TEXT NOT NULL,
    rate                TEXT,
    max_duration_s      INTEGER,
    resume_from         TEXT,
    hold_micro          BIGINT NOT NULL,
    remote_id           TEXT,
    place               TEXT,
    state               TEXT,
    provider_status     TEXT NOT NULL DEFAULT '',
    detail              TEXT NOT NULL DEFAULT '',
    retry_event         TEXT,
    exit_code           INTEGER,
    trained_tokens      BIGINT,
    progress            TEXT,
    failures            INTEGER NOT NULL DEFAULT 0,
    created_at          BIGINT NOT NULL,
    sends               INTEGER NOT NULL DEFAULT 0,
    sent_at             BIGINT,
    send_before         BIGINT,
    started_at          BIGINT,
    observed_at         BIGINT,
    billable_from       BIGINT,
    billable_to         BIGINT,
    cancel_requested_at BIGINT,
    ended_at            BIGINT,
    fetched_at          BIGINT,
    released_at         BIGINT,
    charged_at          BIGINT,
    settled_at          BIGINT,
    next_at             BIGINT NOT NULL,
    version             INTEGER NOT NULL DEFAULT 1,
    UNIQUE (job_id, number)
);
CREATE INDEX runs_unsettled ON runs (settled_at) WHERE settled_at IS NULL;

CREATE TABLE events (
    seq     INTEGER PRIMARY KEY,
    job_id  TEXT NOT NULL REFERENCES jobs (id),
    run_key TEXT,
    at      BIGINT NOT NULL,
    event   TEXT NOT NULL,
    detail  TEXT NOT NULL DEFAULT ''
);
CREATE INDEX events_by_job ON events (job_id, seq);

-- Append-only. Superseding appends the exact reversal and the new row, so that SUM is right at any moment.
CREATE TABLE ledger (
    id           INTEGER PRIMARY KEY,
    provider     TEXT NOT NULL,
    account      TEXT NOT NULL,
    source       TEXT NOT NULL,
    source_ref   TEXT NOT NULL,
    revision     INTEGER NOT NULL,
    run_key      TEXT,
    job_id       TEXT,
    kind         TEXT NOT NULL,
    amount_micro BIGINT NOT NULL,
    quantity     TEXT NOT NULL,
    unit         TEXT NOT NULL,
    unit_price   TEXT,
    description  TEXT NOT NULL,
    period_start BIGINT NOT NULL,
    period_end   BIGINT NOT NULL,
    as_of        BIGINT NOT NULL,
    recorded_at  BIGINT NOT NULL,
    UNIQUE (provider, account, source, source_ref, revision)
);
CREATE INDEX ledger_by_job ON ledger (job_id);
