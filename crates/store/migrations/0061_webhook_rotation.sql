-- Secrets that sign beside the newest one after a rotation: a JSON array of {"secret", "until"}, newest first, in microseconds.
ALTER TABLE webhooks ADD COLUMN earlier TEXT NOT NULL DEFAULT '[]';
