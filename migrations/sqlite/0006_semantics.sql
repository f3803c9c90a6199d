-- What jobs with the same key would compute is the same. (ours)
ALTER TABLE job ADD COLUMN equivalence_key TEXT;
CREATE INDEX job_equivalent ON job (user_id, equivalence_key) WHERE equivalence_key IS NOT NULL;

-- Mail that somebody asked for, until it is sent. (ours)
CREATE TABLE mail (
    id          INTEGER PRIMARY KEY,
    recipient   TEXT NOT NULL,
    subject     TEXT NOT NULL,
    body        TEXT NOT NULL,
    attempts    BIGINT NOT NULL DEFAULT 0,
    create_time BIGINT NOT NULL,
    sent_time   BIGINT
);
CREATE INDEX mail_waiting ON mail (id) WHERE sent_time IS NULL;
