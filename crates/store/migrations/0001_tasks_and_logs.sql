-- Columns are TEXT and BIGINT alone, times are microseconds, structures are JSON: so the same statements serve Postgres.
-- A column beside a JSON document is there to be searched by; the document is the truth.

CREATE TABLE tasks (
    id         TEXT   NOT NULL PRIMARY KEY,
    created_at BIGINT NOT NULL,
    body       TEXT   NOT NULL
);

-- What a create call with this key answered, and the digest of what it asked.
CREATE TABLE idempotency (
    key        TEXT   NOT NULL PRIMARY KEY,
    digest     TEXT   NOT NULL,
    task       TEXT   NOT NULL REFERENCES tasks (id),
    created_at BIGINT NOT NULL
);

-- last_seq is where the log ends; drawing the next numbers from it locks the log for the transaction.
CREATE TABLE attempts (
    id       TEXT   NOT NULL PRIMARY KEY,
    task     TEXT   NOT NULL REFERENCES tasks (id),
    number   BIGINT NOT NULL,
    last_seq BIGINT NOT NULL,
    UNIQUE (task, number)
);

-- received counts the events that came under the present epoch; revision rises with each write (compare-and-set).
CREATE TABLE turns (
    id                  TEXT   NOT NULL PRIMARY KEY,
    task                TEXT   NOT NULL REFERENCES tasks (id),
    attempt             TEXT   NOT NULL REFERENCES attempts (id),
    number              BIGINT NOT NULL,
    created_at          BIGINT NOT NULL,
    input               TEXT   NOT NULL,
    images              TEXT   NOT NULL,
    epoch               BIGINT NOT NULL,
    tries               BIGINT NOT NULL,
    cancel_requested_at BIGINT,
    state_name          TEXT   NOT NULL,
    state               TEXT   NOT NULL,
    lease_until         BIGINT,
    received            BIGINT NOT NULL,
    revision            BIGINT NOT NULL,
    UNIQUE (attempt, number)
);
CREATE INDEX turns_of_task ON turns (task);
CREATE INDEX turns_queued ON turns (created_at, id) WHERE state_name = 'queued';
CREATE INDEX turns_leased ON turns (lease_until) WHERE lease_until IS NOT NULL;

-- line is the event as every view gets it. item is set where an item starts or completes.
CREATE TABLE events (
    attempt TEXT   NOT NULL REFERENCES attempts (id),
    seq     BIGINT NOT NULL,
    kind    TEXT   NOT NULL,
    item    BIGINT,
    line    TEXT   NOT NULL,
    PRIMARY KEY (attempt, seq)
);
-- An item starts once and completes once.
CREATE UNIQUE INDEX events_of_items ON events (attempt, item, kind) WHERE item IS NOT NULL;
-- What the next worker needs of a log, however long it is.
CREATE INDEX events_to_resume ON events (attempt, seq) WHERE kind IN ('base', 'context', 'snapshot');
