-- Where the files of attempts are. A machine is a data directory of workers; '' is nowhere, or not known.

ALTER TABLE workers ADD COLUMN machine TEXT NOT NULL DEFAULT '';
-- When a lease of it ended, if it has not asked for work since; NULL: it asked last.
ALTER TABLE workers ADD COLUMN heard_at BIGINT;

-- Of the layers that the log's last snapshot names.
ALTER TABLE attempts ADD COLUMN machine TEXT NOT NULL DEFAULT '';
-- While a worker has the turn, that worker's; else that of the attempt's files, as they were when the turn ended.
ALTER TABLE turns ADD COLUMN machine TEXT NOT NULL DEFAULT '';

-- The queue is read by machine and labels, of which there are few, then by person. turns_in_line stays for servers of before
-- that still run.
CREATE INDEX turns_for_machine ON turns (machine, labels, owner, priority DESC, created_at, id) WHERE state_name = 'queued' AND ready = 1;
CREATE INDEX turns_live_on ON turns (machine) WHERE lease_until IS NOT NULL;
CREATE INDEX workers_of_machine ON workers (machine);

CREATE INDEX events_of_patches ON events (attempt, seq) WHERE kind = 'patch';
