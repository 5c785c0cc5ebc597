-- What held-out rows said about a job's adapter. Append-only: a new look is a new row. The report is JSON.

CREATE TABLE evaluations (
    id         TEXT PRIMARY KEY,
    job_id     TEXT NOT NULL REFERENCES jobs (id),
    dataset    TEXT NOT NULL,
    verdict    TEXT,
    report     TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX evaluations_by_job ON evaluations (job_id, id);

-- Calls of an endpoint that the ledger has: one entry stands for many of them, since a call may cost less than a micro-USD.
CREATE TABLE booked_calls (
    call      TEXT PRIMARY KEY,
    booked_at BIGINT NOT NULL
);
