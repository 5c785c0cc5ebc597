-- Schedules and what became of each of their times, versions of adapters and which of them is in service, and notices.

-- The rule is the block `schedule` as JSON, with every default; seen is what its triggers saw last. All times up to
-- watched_until have an occurrence.
CREATE TABLE schedules (
    id            TEXT PRIMARY KEY,
    name          TEXT NOT NULL,
    manifest_path TEXT NOT NULL,
    host          TEXT NOT NULL,
    rule          TEXT NOT NULL,
    state         TEXT NOT NULL,
    seen          TEXT NOT NULL,
    created_at    BIGINT NOT NULL,
    watched_until BIGINT NOT NULL,
    next_at       BIGINT,
    version       INTEGER NOT NULL DEFAULT 1
);
CREATE UNIQUE INDEX schedules_by_name ON schedules (name) WHERE state <> 'removed';

-- The id is made of the schedule and the moment: no process can note one time twice.
CREATE TABLE occurrences (
    id          TEXT PRIMARY KEY,
    schedule_id TEXT NOT NULL REFERENCES schedules (id),
    fire_at     BIGINT NOT NULL,
    kind        TEXT NOT NULL,
    state       TEXT NOT NULL,
    reason      TEXT,
    detail      TEXT NOT NULL DEFAULT '',
    job_id      TEXT REFERENCES jobs (id),
    failures    INTEGER NOT NULL DEFAULT 0,
    noted_at    BIGINT NOT NULL,
    next_at     BIGINT NOT NULL,
    ended_at    BIGINT,
    version     INTEGER NOT NULL DEFAULT 1,
    UNIQUE (schedule_id, fire_at)
);
CREATE INDEX occurrences_open ON occurrences (ended_at) WHERE ended_at IS NULL;
CREATE INDEX occurrences_by_job ON occurrences (job_id);

-- Every adapter that came home, numbered by the name of its job, and what was said about it.
CREATE TABLE versions (
    job_id   TEXT PRIMARY KEY REFERENCES jobs (id),
    name     TEXT NOT NULL,
    number   INTEGER NOT NULL,
    state    TEXT NOT NULL,
    reason   TEXT NOT NULL DEFAULT '',
    parent   TEXT,
    code     TEXT NOT NULL,
    made_at  BIGINT NOT NULL,
    UNIQUE (name, number)
);
INSERT INTO versions (job_id, name, number, state, code, made_at)
SELECT id, name, ROW_NUMBER() OVER (PARTITION BY name ORDER BY id), 'kept', '', COALESCE(ended_at, created_at)
FROM jobs WHERE adapter IS NOT NULL;

-- Append-only: the newest row of a name says which version is in service.
CREATE TABLE promotions (
    id         INTEGER PRIMARY KEY,
    name       TEXT NOT NULL,
    number     INTEGER NOT NULL,
    previous   INTEGER,
    how        TEXT NOT NULL,
    evaluation TEXT,
    note       TEXT NOT NULL DEFAULT '',
    host       TEXT NOT NULL,
    at         BIGINT NOT NULL
);
CREATE INDEX promotions_by_name ON promotions (name, id);

-- What people are to be told, once for each subject; a delivery is one way to tell it.
CREATE TABLE notices (
    id       TEXT PRIMARY KEY,
    subject  TEXT NOT NULL UNIQUE,
    kind     TEXT NOT NULL,
    job_id   TEXT,
    body     TEXT NOT NULL,
    at       BIGINT NOT NULL,
    sent_out INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX notices_new ON notices (sent_out) WHERE sent_out = 0;
CREATE TABLE deliveries (
    id        TEXT PRIMARY KEY,
    notice_id TEXT NOT NULL REFERENCES notices (id),
    channel   TEXT NOT NULL,
    attempts  INTEGER NOT NULL DEFAULT 0,
    next_at   BIGINT NOT NULL,
    error     TEXT NOT NULL DEFAULT '',
    sent_at   BIGINT,
    ended_at  BIGINT,
    version   INTEGER NOT NULL DEFAULT 1
);
CREATE INDEX deliveries_open ON deliveries (ended_at) WHERE ended_at IS NULL;
