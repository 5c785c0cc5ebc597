-- What was estimated for a job at its submit, before anything was learned from earlier ones: compared with what it cost.
-- The growing part is what grows with the tokens, without boot and without a minimum.

CREATE TABLE estimates (
    job_id          TEXT PRIMARY KEY REFERENCES jobs (id),
    provider        TEXT NOT NULL,
    amount_micro    BIGINT,
    growing_micro   BIGINT,
    seconds         BIGINT,
    growing_seconds BIGINT,
    basis           TEXT NOT NULL,
    made_at         BIGINT NOT NULL
);
