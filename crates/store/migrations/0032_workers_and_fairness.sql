-- Who asks for work.
CREATE TABLE workers (
    id        TEXT   NOT NULL PRIMARY KEY,
    labels    TEXT   NOT NULL,
    slots     BIGINT NOT NULL,
    version   TEXT   NOT NULL,
    last_seen BIGINT NOT NULL
);
CREATE INDEX workers_seen ON workers (last_seen);

-- The queue is read by person and by what a worker must have; within these by priority and age.
CREATE INDEX turns_in_line ON turns (owner, labels, priority DESC, created_at, id) WHERE state_name = 'queued' AND ready = 1;

-- A row for each person with a limit on live turns, to be locked while one of its turns is leased.
CREATE TABLE limited (
    owner TEXT NOT NULL PRIMARY KEY
);
