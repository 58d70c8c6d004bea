-- Who may read a blob: who uploaded it, and who sees a task that names it. used_by is a user's or a task's id.
CREATE TABLE blob_uses (
    blob    TEXT NOT NULL,
    used_by TEXT NOT NULL,
    PRIMARY KEY (blob, used_by)
);
