-- How often what workers keep of a repository was reset: part of the name of all that they make.
ALTER TABLE repositories ADD COLUMN generation BIGINT NOT NULL DEFAULT 0;
