-- Stored recipes, each version of them, and secrets, sealed with a key that the database does not hold.

CREATE TABLE environments (
    id         TEXT   NOT NULL PRIMARY KEY,
    repository TEXT   NOT NULL REFERENCES repositories (id),
    name       TEXT   NOT NULL,
    version    BIGINT NOT NULL,
    removed_at BIGINT
);
CREATE UNIQUE INDEX environments_by_name ON environments (repository, name) WHERE removed_at IS NULL;

CREATE TABLE environment_versions (
    environment TEXT   NOT NULL REFERENCES environments (id),
    version     BIGINT NOT NULL,
    recipe      TEXT   NOT NULL,
    changed_at  BIGINT NOT NULL,
    changed_by  TEXT   NOT NULL REFERENCES users (id),
    PRIMARY KEY (environment, version)
);

-- sealed is hexadecimal: nonce, ciphertext, tag. key_id names the key. bytes is the length of the value.
CREATE TABLE secrets (
    environment TEXT   NOT NULL REFERENCES environments (id),
    name        TEXT   NOT NULL,
    key_id      TEXT   NOT NULL,
    sealed      TEXT   NOT NULL,
    bytes       BIGINT NOT NULL,
    changed_at  BIGINT NOT NULL,
    PRIMARY KEY (environment, name)
);

-- Rises with each change of a secret, so that a server that shares the database sees that it must read them again.
CREATE TABLE secrets_revision (
    id       BIGINT NOT NULL PRIMARY KEY,
    revision BIGINT NOT NULL
);
INSERT INTO secrets_revision (id, revision) VALUES (1, 0);
