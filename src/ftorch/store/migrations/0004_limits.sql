-- What a run was allowed, and why the engine ended it.

ALTER TABLE runs ADD COLUMN agreed_rate TEXT;
ALTER TABLE runs ADD COLUMN bounded_by TEXT;
ALTER TABLE runs ADD COLUMN stop_reason TEXT;
ALTER TABLE runs ADD COLUMN absent_at BIGINT;
