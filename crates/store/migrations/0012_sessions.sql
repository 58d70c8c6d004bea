-- Browsers' sessions and the one-time links that open them, by the SHA-256 of what opens.

CREATE TABLE sessions (
    digest     TEXT   NOT NULL PRIMARY KEY,
    holder     TEXT   NOT NULL REFERENCES users (id),
    created_at BIGINT NOT NULL,
    seen_at    BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX sessions_of_user ON sessions (holder, created_at);

CREATE TABLE links (
    digest     TEXT   NOT NULL PRIMARY KEY,
    holder     TEXT   NOT NULL REFERENCES users (id),
    expires_at BIGINT NOT NULL
);
