-- What an amount is the price of: of the run, or of the platform alone where its machines are on another bill.
-- Fees that are in the ledger already say so in their words.

ALTER TABLE ledger ADD COLUMN scope TEXT NOT NULL DEFAULT 'run';
UPDATE ledger SET scope = 'platform_fee' WHERE provider = 'anyscale' AND description LIKE '%scope: platform_fee%';
