-- Tools asked for by POST /api/jobs: what was asked, and what became of it.

CREATE TABLE tool_request (
    id            INTEGER PRIMARY KEY,
    user_id       BIGINT NOT NULL REFERENCES galaxy_user (id),
    history_id    BIGINT NOT NULL REFERENCES history (id),
    request       TEXT NOT NULL,
    -- submitted or failed; state_message says why, as JSON.
    state         TEXT NOT NULL,
    state_message TEXT,
    create_time   BIGINT NOT NULL
);
CREATE INDEX tool_request_history ON tool_request (history_id, id);

CREATE TABLE tool_request_job (
    tool_request_id BIGINT NOT NULL REFERENCES tool_request (id) ON DELETE CASCADE,
    job_id          BIGINT NOT NULL REFERENCES job (id) ON DELETE CASCADE,
    PRIMARY KEY (tool_request_id, job_id)
) WITHOUT ROWID;
CREATE INDEX tool_request_job_job ON tool_request_job (job_id);

CREATE TABLE tool_request_implicit_collection (
    tool_request_id BIGINT NOT NULL REFERENCES tool_request (id) ON DELETE CASCADE,
    output_name     TEXT NOT NULL,
    dataset_collection_id BIGINT NOT NULL REFERENCES history_dataset_collection_association (id) ON DELETE CASCADE,
    PRIMARY KEY (tool_request_id, output_name)
) WITHOUT ROWID;
