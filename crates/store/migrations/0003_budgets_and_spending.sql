-- What was spent, by spender ('server', a task's id, a user's id) and day in UTC (days since 1970-01-01).
CREATE TABLE spending (
    spender       TEXT   NOT NULL,
    day           BIGINT NOT NULL,
    cost_microusd BIGINT NOT NULL,
    tokens        BIGINT NOT NULL,
    wall_ms       BIGINT NOT NULL,
    PRIMARY KEY (spender, day)
);
CREATE INDEX spending_by_day ON spending (day, spender);

-- What may be spent; NULL: no limit. period is 'total' or 'day'.
CREATE TABLE budgets (
    spender       TEXT NOT NULL,
    period        TEXT NOT NULL,
    cost_microusd BIGINT,
    tokens        BIGINT,
    wall_ms       BIGINT,
    PRIMARY KEY (spender, period)
);

-- What a turn's next model request may cost. granted is 0 where there was no room for it: the turn waits for that much.
CREATE TABLE reservations (
    turn          TEXT   NOT NULL PRIMARY KEY REFERENCES turns (id),
    task          TEXT   NOT NULL,
    owner         TEXT   NOT NULL,
    tokens        BIGINT NOT NULL,
    cost_microusd BIGINT,
    granted       BIGINT NOT NULL
);

-- Until when the time under the present lease is in spending.
ALTER TABLE turns ADD COLUMN metered_at BIGINT;
CREATE INDEX turns_parked ON turns (id) WHERE state_name = 'parked';
