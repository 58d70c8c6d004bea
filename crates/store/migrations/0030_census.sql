-- For operators: how many turns of each state are open, and a row that is written to see whether writing works.

CREATE INDEX turns_open ON turns (state_name, created_at) WHERE state_name <> 'finished';

CREATE TABLE probe (
    id BIGINT NOT NULL PRIMARY KEY,
    at BIGINT NOT NULL
);
INSERT INTO probe (id, at) VALUES (1, 0);
