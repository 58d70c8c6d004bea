-- How much room an upload counts for, so that what one person uploads and no task names has a bound.
ALTER TABLE blob_uses ADD COLUMN bytes BIGINT NOT NULL DEFAULT 0;
