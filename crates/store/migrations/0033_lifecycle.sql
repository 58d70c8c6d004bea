-- Deleted tasks, and blobs that nothing uses any more; how long workers keep the files of attempts.

ALTER TABLE workers ADD COLUMN keeps_ms BIGINT;

-- From then on nobody sees it. What it held goes later.
ALTER TABLE tasks ADD COLUMN deleted_at BIGINT;
CREATE INDEX tasks_deleted ON tasks (deleted_at, id) WHERE deleted_at IS NOT NULL;
CREATE INDEX idempotency_of_task ON idempotency (task);
CREATE INDEX messages_of_turn ON messages (turn);

-- Until when a blob is kept for this use; NULL: as long as who uses it is there.
ALTER TABLE blob_uses ADD COLUMN kept_until BIGINT;
CREATE INDEX blob_uses_of ON blob_uses (used_by);
CREATE INDEX blob_uses_ending ON blob_uses (kept_until) WHERE kept_until IS NOT NULL;

-- Blobs of which a use has ended. If it was the last, their bytes go.
CREATE TABLE blobs_unused (
    blob  TEXT   NOT NULL PRIMARY KEY,
    since BIGINT NOT NULL
);
CREATE INDEX blobs_unused_since ON blobs_unused (since, blob);
