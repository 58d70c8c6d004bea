-- Who may do what.

CREATE TABLE users (
    id          TEXT   NOT NULL PRIMARY KEY,
    name        TEXT   NOT NULL UNIQUE,
    created_at  BIGINT NOT NULL,
    disabled_at BIGINT
);

-- Whoever started the server on its machine.
INSERT INTO users (id, name, created_at) VALUES ('usr_00000000000000000000000000', 'local', 0);

-- url is what tasks.repository holds. A task of an older server may name one that has no row; only a grant for everything
-- reaches it.
CREATE TABLE repositories (
    id         TEXT   NOT NULL PRIMARY KEY,
    url        TEXT   NOT NULL UNIQUE,
    created_at BIGINT NOT NULL,
    created_by TEXT   NOT NULL REFERENCES users (id)
);
CREATE INDEX tasks_of_repository ON tasks (repository, id);

-- repository is empty where the grant is for everything.
CREATE TABLE grants (
    holder     TEXT NOT NULL REFERENCES users (id),
    repository TEXT NOT NULL,
    role       TEXT NOT NULL,
    PRIMARY KEY (holder, repository)
);
INSERT INTO grants (holder, repository, role) VALUES ('usr_00000000000000000000000000', '', 'owner');

-- digest is the SHA-256 of the token, which is kept nowhere.
CREATE TABLE tokens (
    id           TEXT   NOT NULL PRIMARY KEY,
    holder       TEXT   NOT NULL REFERENCES users (id),
    name         TEXT   NOT NULL,
    digest       TEXT   NOT NULL UNIQUE,
    scope        TEXT   NOT NULL,
    created_at   BIGINT NOT NULL,
    expires_at   BIGINT NOT NULL,
    revoked_at   BIGINT,
    last_used_at BIGINT
);
CREATE INDEX tokens_of_user ON tokens (holder, id);

-- A line is an entry with the digest of the line before. The head is the last line's; it locks the log for a writer.
CREATE TABLE audit (
    seq    BIGINT NOT NULL PRIMARY KEY,
    line   TEXT   NOT NULL,
    digest TEXT   NOT NULL
);
CREATE TABLE audit_head (
    id     BIGINT NOT NULL PRIMARY KEY,
    seq    BIGINT NOT NULL,
    digest TEXT   NOT NULL
);
INSERT INTO audit_head (id, seq, digest) VALUES (1, 0, '0000000000000000000000000000000000000000000000000000000000000000');

-- A key is its sender's: two people may use the same one.
UPDATE idempotency SET key = 'usr_00000000000000000000000000/' || key;
