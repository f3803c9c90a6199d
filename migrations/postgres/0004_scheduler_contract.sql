-- (ours) Why a scheduler does not let something go on, for people. One row for what is held: order_index is the step's;
-- -1 is the invocation as a whole, -2 its jobs that wait for a runner. Written when it changes, removed when it goes on.
CREATE TABLE workflow_invocation_hold (
    workflow_invocation_id BIGINT NOT NULL REFERENCES workflow_invocation (id),
    order_index BIGINT NOT NULL,
    code        TEXT NOT NULL,
    text        TEXT NOT NULL,
    wake_time   BIGINT,
    since       BIGINT NOT NULL,
    PRIMARY KEY (workflow_invocation_id, order_index)
);

-- (ours) What a scheduler wants to find again after a restart (capability barycenter.state/1). Each server's scheduler has
-- a state of its own.
CREATE TABLE scheduler_state (
    handler     TEXT NOT NULL,
    scheduler   TEXT NOT NULL,
    plugin_type TEXT NOT NULL,
    plugin_version TEXT NOT NULL,
    state       TEXT NOT NULL,
    update_time BIGINT NOT NULL,
    PRIMARY KEY (handler, scheduler)
);

-- (ours) An invocation that a passive scheduler has taken. Who knows the token may act until expire_time; from then on
-- the invocation can be taken again, under another token.
CREATE TABLE scheduler_lease (
    workflow_invocation_id BIGINT NOT NULL PRIMARY KEY REFERENCES workflow_invocation (id),
    scheduler   TEXT NOT NULL,
    token       TEXT NOT NULL,
    claims      BIGINT NOT NULL,
    claim_time  BIGINT NOT NULL,
    expire_time BIGINT NOT NULL
);
CREATE UNIQUE INDEX scheduler_lease_token ON scheduler_lease (token);
