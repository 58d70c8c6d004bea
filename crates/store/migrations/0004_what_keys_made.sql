-- What a call with the key made, where that is not the task itself: a turn or a message.
ALTER TABLE idempotency ADD COLUMN made TEXT;

-- item is the one that a message answers: each is answered once.
ALTER TABLE messages ADD COLUMN item BIGINT;
CREATE UNIQUE INDEX messages_that_answer ON messages (turn, item) WHERE item IS NOT NULL;

CREATE INDEX events_of_artifacts ON events (attempt, seq) WHERE kind = 'artifact';
