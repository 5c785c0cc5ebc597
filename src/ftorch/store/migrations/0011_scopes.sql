-- What an amount is the price of: of the run, or of the platform alone where its machines are on another bill.

ALTER TABLE ledger ADD COLUMN scope TEXT NOT NULL DEFAULT 'run';
