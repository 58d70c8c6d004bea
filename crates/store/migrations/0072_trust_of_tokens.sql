-- For whom a token hands tasks over: "member" or "outsider". Servers of before take all for members'.
ALTER TABLE tokens ADD COLUMN trust TEXT NOT NULL DEFAULT 'member';
-- 1: no worker has the turn as a member's. 0 where nobody knows.
ALTER TABLE turns ADD COLUMN outsider BIGINT NOT NULL DEFAULT 0;
