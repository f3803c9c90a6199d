-- What is to be done after an invocation was completed (ours), and whether datasets are what they say.

-- One row for each element of on_complete, made in the transaction that completes the invocation. A server that works on it
-- puts its name there, and an instant after which another may.
CREATE TABLE workflow_invocation_hook (
    workflow_invocation_id BIGINT NOT NULL REFERENCES workflow_invocation (id) ON DELETE CASCADE,
    position               BIGINT NOT NULL,
    name                   TEXT NOT NULL,
    arguments              TEXT NOT NULL,
    -- new, ok, error
    state                  TEXT NOT NULL,
    message                TEXT,
    result                 TEXT,
    attempts               BIGINT NOT NULL DEFAULT 0,
    next_time              BIGINT NOT NULL DEFAULT 0,
    claimed_by             TEXT,
    update_time            BIGINT NOT NULL,
    PRIMARY KEY (workflow_invocation_id, position)
);
CREATE INDEX workflow_invocation_hook_due ON workflow_invocation_hook (next_time) WHERE state = 'new';

-- What ValidateOutputsAction found: unknown, ok or invalid, and why.
ALTER TABLE history_dataset_association ADD COLUMN validated_state TEXT NOT NULL DEFAULT 'unknown';
ALTER TABLE history_dataset_association ADD COLUMN validated_state_message TEXT;
