-- A daemon asks at every tick whether a person has retried a job that failed: it need not read the history for that.
CREATE INDEX occurrences_of_failed_jobs ON occurrences (job_id) WHERE state = 'failed' AND reason = 'job';
