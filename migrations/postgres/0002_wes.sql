-- What only the GA4GH WES door keeps of an invocation. (ours)

-- request: the submission as it is echoed; request_hash: of everything in it, files included, so that a repeated
-- Idempotency-Key with another request is noticed.
CREATE TABLE wes_run (
    workflow_invocation_id BIGINT PRIMARY KEY REFERENCES workflow_invocation (id),
    user_id         BIGINT NOT NULL REFERENCES galaxy_user (id),
    request         TEXT COLLATE "C" NOT NULL,
    tags            TEXT COLLATE "C" NOT NULL DEFAULT '{}',
    idempotency_key TEXT COLLATE "C",
    request_hash    TEXT COLLATE "C"
);
CREATE UNIQUE INDEX wes_run_idempotency ON wes_run (user_id, idempotency_key) WHERE idempotency_key IS NOT NULL;

-- The tags once more, for filters.
CREATE TABLE wes_run_tag (
    user_id BIGINT NOT NULL REFERENCES galaxy_user (id),
    name    TEXT COLLATE "C" NOT NULL,
    value   TEXT COLLATE "C" NOT NULL,
    workflow_invocation_id BIGINT NOT NULL REFERENCES workflow_invocation (id),
    PRIMARY KEY (user_id, name, value, workflow_invocation_id)
);

-- How many are in each state, and a user's by state.
CREATE INDEX workflow_invocation_state ON workflow_invocation (state, user_id, id, parent_invocation_id) WHERE parent_invocation_id IS NULL;
CREATE INDEX workflow_invocation_review ON workflow_invocation (state) WHERE blocked_on = 'review';
