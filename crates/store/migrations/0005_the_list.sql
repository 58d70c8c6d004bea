-- What lists show of a task, kept up to date by the transactions that change it. The columns beside listing are what lists
-- are searched by; a table of its own, so that a page of it is a few pages of disk.
CREATE TABLE listings (
    task         TEXT   NOT NULL PRIMARY KEY REFERENCES tasks (id),
    repository   TEXT   NOT NULL,
    created_by   TEXT   NOT NULL,
    archived_at  BIGINT,
    state        TEXT   NOT NULL,
    title_folded TEXT   NOT NULL,
    ended_at     BIGINT,
    news_at      BIGINT NOT NULL,
    listing      TEXT   NOT NULL
);
CREATE INDEX listings_of_person ON listings (created_by, task);
CREATE INDEX listings_of_repository ON listings (repository, task);

-- Until when a person has seen what is new of a task.
CREATE TABLE seen (
    person TEXT   NOT NULL,
    task   TEXT   NOT NULL REFERENCES tasks (id),
    at     BIGINT NOT NULL,
    PRIMARY KEY (person, task)
);
CREATE INDEX seen_of_task ON seen (task);

-- What changed in the list, in the order of the commits. The oldest are taken away again.
CREATE TABLE changes (
    seq        BIGINT NOT NULL PRIMARY KEY,
    task       TEXT   NOT NULL,
    repository TEXT   NOT NULL
);
CREATE TABLE change_head (
    id  BIGINT NOT NULL PRIMARY KEY,
    seq BIGINT NOT NULL
);
INSERT INTO change_head (id, seq) VALUES (1, 0);
