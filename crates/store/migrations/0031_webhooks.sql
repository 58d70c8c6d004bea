-- Where state changes are told. topics is a JSON array; empty: everything. secret signs the deliveries.
CREATE TABLE webhooks (
    id               TEXT   NOT NULL PRIMARY KEY,
    owner            TEXT   NOT NULL REFERENCES users (id),
    url              TEXT   NOT NULL,
    topics           TEXT   NOT NULL,
    repository       TEXT   REFERENCES repositories (id),
    secret           TEXT   NOT NULL,
    created_at       BIGINT NOT NULL,
    disabled_at      BIGINT,
    disabled_because TEXT
);
CREATE INDEX webhooks_of_user ON webhooks (owner, id);
CREATE INDEX webhooks_that_hear ON webhooks (id) WHERE disabled_at IS NULL;

-- What was, or will be, told to whom. No foreign keys: a state change must not fail because its receiver is being deleted
-- at the same time. since is when it was made, or sent again on demand. due_at is when to try, and is NULL when it is
-- settled. claimed_until is set while a server sends it.
CREATE TABLE deliveries (
    id            TEXT   NOT NULL PRIMARY KEY,
    webhook       TEXT   NOT NULL,
    topic         TEXT   NOT NULL,
    task          TEXT   NOT NULL,
    body          TEXT   NOT NULL,
    created_at    BIGINT NOT NULL,
    since         BIGINT NOT NULL,
    state         TEXT   NOT NULL,
    tries         BIGINT NOT NULL,
    due_at        BIGINT,
    claimed_until BIGINT,
    last_at       BIGINT,
    last_status   BIGINT,
    last_error    TEXT
);
CREATE INDEX deliveries_due ON deliveries (due_at, id) WHERE due_at IS NOT NULL;
CREATE INDEX deliveries_claimed ON deliveries (webhook) WHERE claimed_until IS NOT NULL;
CREATE INDEX deliveries_of_webhook ON deliveries (webhook, id);
CREATE INDEX deliveries_settled ON deliveries (created_at) WHERE due_at IS NULL;
