-- What a clock that nobody sets showed when the create was sent: see ftorch/jobs/quiet.py.

ALTER TABLE runs ADD COLUMN sent_reading TEXT;
