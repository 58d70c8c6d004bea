-- A stored recipe is the team's, or one person's own.

ALTER TABLE environments ADD COLUMN owner TEXT REFERENCES users (id);
DROP INDEX environments_by_name;
CREATE UNIQUE INDEX environments_by_name ON environments (repository, name, COALESCE(owner, '')) WHERE removed_at IS NULL;
