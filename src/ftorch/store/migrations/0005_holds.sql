-- What a job holds before its first run does, what a provider says that a run costs before it has ended, and how often
-- its adapter arrived damaged.

ALTER TABLE jobs ADD COLUMN hold_micro BIGINT NOT NULL DEFAULT 0;
ALTER TABLE runs ADD COLUMN accrual_micro BIGINT;
ALTER TABLE runs ADD COLUMN bad_fetches BIGINT NOT NULL DEFAULT 0;

CREATE INDEX ledger_by_run ON ledger (run_key);
