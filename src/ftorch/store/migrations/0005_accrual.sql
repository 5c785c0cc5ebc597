-- What a provider says that a run costs before it has ended.

ALTER TABLE runs ADD COLUMN accrual_micro BIGINT;
