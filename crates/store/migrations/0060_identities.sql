-- People whom an identity provider vouches for: its name for itself and its name for them.
CREATE TABLE identities (
    issuer     TEXT   NOT NULL,
    subject    TEXT   NOT NULL,
    holder     TEXT   NOT NULL REFERENCES users (id),
    created_at BIGINT NOT NULL,
    PRIMARY KEY (issuer, subject)
);
CREATE INDEX identities_of_user ON identities (holder);

-- Log-ins that went to an identity provider and have not come back. State and browser are digests of what only that
-- browser has.
CREATE TABLE logins (
    state      TEXT   NOT NULL PRIMARY KEY,
    browser    TEXT   NOT NULL,
    provider   TEXT   NOT NULL,
    nonce      TEXT   NOT NULL,
    verifier   TEXT   NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX logins_by_end ON logins (expires_at);
