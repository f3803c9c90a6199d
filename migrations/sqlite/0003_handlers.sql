-- The processes that share this database (Galaxy: worker_process). A process holds what carries its server_name for as
-- long as its lease lasts; incarnation counts the starts under that name, so that one that was only asleep cannot write
-- any more once another has taken its work.
CREATE TABLE worker_process (
    id          INTEGER PRIMARY KEY,
    server_name TEXT NOT NULL,
    hostname    TEXT NOT NULL,
    pid         BIGINT NOT NULL,
    machine     TEXT NOT NULL,
    incarnation BIGINT NOT NULL DEFAULT 1,
    roles       TEXT NOT NULL,
    tags        TEXT NOT NULL,
    version     TEXT NOT NULL,
    state       TEXT NOT NULL,
    lease_until BIGINT NOT NULL,
    create_time BIGINT NOT NULL,
    update_time BIGINT NOT NULL
);
CREATE UNIQUE INDEX worker_process_server_name ON worker_process (server_name);

-- Each handler waits for the instants of its own invocations.
DROP INDEX workflow_invocation_wake;
CREATE INDEX workflow_invocation_wake ON workflow_invocation (handler, wake_time) WHERE wake_time IS NOT NULL;
