-- What is still to be fetched by URL. (ours)

-- A dataset whose bytes are at a URL. The row is there until they are in their place or the dataset failed, so whatever
-- happens to a server meanwhile, they are fetched. A server that fetches it puts its name there, and an instant after
-- which another may.
CREATE TABLE dataset_fetch (
    dataset_id     BIGINT PRIMARY KEY REFERENCES dataset (id) ON DELETE CASCADE,
    hda_id         BIGINT NOT NULL REFERENCES history_dataset_association (id) ON DELETE CASCADE,
    job_id         BIGINT NOT NULL REFERENCES job (id) ON DELETE CASCADE,
    user_id        BIGINT NOT NULL,
    url            TEXT NOT NULL,
    extension      TEXT,
    dbkey          TEXT NOT NULL,
    to_posix_lines BOOLEAN NOT NULL,
    space_to_tab   BOOLEAN NOT NULL,
    hashes         TEXT NOT NULL DEFAULT '[]',
    attempts       BIGINT NOT NULL DEFAULT 0,
    next_time      BIGINT NOT NULL DEFAULT 0,
    claimed_by     TEXT,
    create_time    BIGINT NOT NULL
);
CREATE INDEX dataset_fetch_user ON dataset_fetch (user_id, dataset_id);
CREATE INDEX dataset_fetch_job ON dataset_fetch (job_id);
