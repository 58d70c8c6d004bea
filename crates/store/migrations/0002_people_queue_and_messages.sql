-- Who handed a task over, what the scheduler looks at, what a turn has spent, and what people say to a running turn.

ALTER TABLE tasks ADD COLUMN created_by TEXT NOT NULL DEFAULT 'usr_00000000000000000000000000';
ALTER TABLE tasks ADD COLUMN repository TEXT NOT NULL DEFAULT '';
ALTER TABLE tasks ADD COLUMN archived_at BIGINT;

-- owner and priority are the task's, so that the queue is read from one table. ready is 1 when every earlier turn of the
-- attempt is finished.
ALTER TABLE turns ADD COLUMN usage TEXT NOT NULL DEFAULT '{"input_tokens":0,"cached_tokens":0,"output_tokens":0,"cost_microusd":null,"model_requests":0,"tool_calls":0}';
ALTER TABLE turns ADD COLUMN owner TEXT NOT NULL DEFAULT 'usr_00000000000000000000000000';
ALTER TABLE turns ADD COLUMN priority BIGINT NOT NULL DEFAULT 1;
ALTER TABLE turns ADD COLUMN labels TEXT NOT NULL DEFAULT '[]';
ALTER TABLE turns ADD COLUMN ready BIGINT NOT NULL DEFAULT 1;
CREATE INDEX turns_queue ON turns (owner, priority DESC, created_at, id) WHERE state_name = 'queued' AND ready = 1;
CREATE INDEX turns_live ON turns (owner) WHERE lease_until IS NOT NULL;

-- What a person said to a turn that had begun. heard_at is set when the log shows the message's id.
CREATE TABLE messages (
    id         TEXT   NOT NULL PRIMARY KEY,
    turn       TEXT   NOT NULL REFERENCES turns (id),
    created_at BIGINT NOT NULL,
    body       TEXT   NOT NULL,
    heard_at   BIGINT
);
CREATE INDEX messages_to_hear ON messages (turn, created_at, id) WHERE heard_at IS NULL;
