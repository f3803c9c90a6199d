-- Tables and columns carry Galaxy's names. Instants are integer milliseconds since 1970 (UTC);
-- JSON values are text. Columns Galaxy does not have are marked (ours).

-- What belongs to this installation alone, such as the secret that encodes ids. (ours)
CREATE TABLE installation (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
);

CREATE TABLE galaxy_user (
    id            INTEGER PRIMARY KEY,
    username      TEXT NOT NULL,
    email         TEXT NOT NULL,
    password_hash TEXT,
    is_admin      BOOLEAN NOT NULL DEFAULT FALSE,
    deleted       BOOLEAN NOT NULL DEFAULT FALSE,
    purged        BOOLEAN NOT NULL DEFAULT FALSE,
    create_time   BIGINT NOT NULL,
    update_time   BIGINT NOT NULL
);
CREATE UNIQUE INDEX galaxy_user_username ON galaxy_user (username);
CREATE UNIQUE INDEX galaxy_user_email ON galaxy_user (email);

-- A key is stored as a hash and shown once. `kind`: 'api' (the newest one is valid) or 'session' (from a login). (ours: hash, kind)
CREATE TABLE api_keys (
    id          INTEGER PRIMARY KEY,
    user_id     BIGINT NOT NULL REFERENCES galaxy_user (id),
    key_hash    TEXT NOT NULL,
    kind        TEXT NOT NULL DEFAULT 'api',
    deleted     BOOLEAN NOT NULL DEFAULT FALSE,
    create_time BIGINT NOT NULL
);
CREATE UNIQUE INDEX api_keys_hash ON api_keys (key_hash);
CREATE INDEX api_keys_user ON api_keys (user_id, id);

---------------------------------------------------------------- histories and data

CREATE TABLE history (
    id           INTEGER PRIMARY KEY,
    user_id      BIGINT NOT NULL REFERENCES galaxy_user (id),
    name         TEXT NOT NULL,
    hid_counter  BIGINT NOT NULL DEFAULT 1,
    deleted      BOOLEAN NOT NULL DEFAULT FALSE,
    purged       BOOLEAN NOT NULL DEFAULT FALSE,
    archived     BOOLEAN NOT NULL DEFAULT FALSE,
    importable   BOOLEAN NOT NULL DEFAULT FALSE,
    published    BOOLEAN NOT NULL DEFAULT FALSE,
    slug         TEXT,
    genome_build TEXT,
    annotation   TEXT,
    tags         TEXT NOT NULL DEFAULT '[]',
    preferred_object_store_id TEXT,
    create_time  BIGINT NOT NULL,
    update_time  BIGINT NOT NULL
);
CREATE INDEX history_user ON history (user_id, id);

CREATE TABLE dataset (
    id          INTEGER PRIMARY KEY,
    uuid        TEXT NOT NULL,
    state       TEXT NOT NULL,
    deleted     BOOLEAN NOT NULL DEFAULT FALSE,
    purged      BOOLEAN NOT NULL DEFAULT FALSE,
    object_store_id TEXT,
    file_size   BIGINT,
    total_size  BIGINT,
    created_from_basename TEXT,
    create_time BIGINT NOT NULL,
    update_time BIGINT NOT NULL
);
CREATE UNIQUE INDEX dataset_uuid ON dataset (uuid);

CREATE TABLE history_dataset_association (
    id          INTEGER PRIMARY KEY,
    history_id  BIGINT NOT NULL REFERENCES history (id),
    dataset_id  BIGINT NOT NULL REFERENCES dataset (id),
    hid         BIGINT NOT NULL,
    name        TEXT NOT NULL,
    info        TEXT,
    blurb       TEXT,
    peek        TEXT,
    extension   TEXT NOT NULL,
    metadata    TEXT NOT NULL DEFAULT '{}',
    visible     BOOLEAN NOT NULL DEFAULT TRUE,
    deleted     BOOLEAN NOT NULL DEFAULT FALSE,
    purged      BOOLEAN NOT NULL DEFAULT FALSE,
    version     BIGINT NOT NULL DEFAULT 1,
    annotation  TEXT,
    tags        TEXT NOT NULL DEFAULT '[]',
    copied_from_history_dataset_association_id BIGINT REFERENCES history_dataset_association (id),
    create_time BIGINT NOT NULL,
    update_time BIGINT NOT NULL
);
CREATE INDEX hda_history ON history_dataset_association (history_id, hid, id);
CREATE INDEX hda_dataset ON history_dataset_association (dataset_id);
CREATE INDEX hda_copied_from ON history_dataset_association (copied_from_history_dataset_association_id)
    WHERE copied_from_history_dataset_association_id IS NOT NULL;

CREATE TABLE dataset_collection (
    id              INTEGER PRIMARY KEY,
    collection_type TEXT NOT NULL,
    populated_state TEXT NOT NULL DEFAULT 'ok',
    populated_state_message TEXT,
    element_count   BIGINT,
    fields          TEXT,
    column_definitions TEXT,
    create_time     BIGINT NOT NULL,
    update_time     BIGINT NOT NULL
);

-- An element whose dataset is not known yet has neither hda_id nor child_collection_id: its collection is then 'new'.
CREATE TABLE dataset_collection_element (
    id                    INTEGER PRIMARY KEY,
    dataset_collection_id BIGINT NOT NULL REFERENCES dataset_collection (id),
    hda_id                BIGINT REFERENCES history_dataset_association (id),
    child_collection_id   BIGINT REFERENCES dataset_collection (id),
    element_index         BIGINT NOT NULL,
    element_identifier    TEXT NOT NULL,
    columns               TEXT
);
CREATE UNIQUE INDEX dce_collection_index ON dataset_collection_element (dataset_collection_id, element_index);
CREATE INDEX dce_hda ON dataset_collection_element (hda_id) WHERE hda_id IS NOT NULL;
CREATE INDEX dce_child ON dataset_collection_element (child_collection_id) WHERE child_collection_id IS NOT NULL;

CREATE TABLE history_dataset_collection_association (
    id            INTEGER PRIMARY KEY,
    collection_id BIGINT NOT NULL REFERENCES dataset_collection (id),
    history_id    BIGINT NOT NULL REFERENCES history (id),
    hid           BIGINT NOT NULL,
    name          TEXT NOT NULL,
    visible       BOOLEAN NOT NULL DEFAULT TRUE,
    deleted       BOOLEAN NOT NULL DEFAULT FALSE,
    annotation    TEXT,
    tags          TEXT NOT NULL DEFAULT '[]',
    implicit_output_name TEXT,
    job_id        BIGINT REFERENCES job (id),
    implicit_collection_jobs_id BIGINT REFERENCES implicit_collection_jobs (id),
    copied_from_history_dataset_collection_association_id BIGINT REFERENCES history_dataset_collection_association (id),
    create_time   BIGINT NOT NULL,
    update_time   BIGINT NOT NULL
);
CREATE INDEX hdca_history ON history_dataset_collection_association (history_id, hid, id);
CREATE INDEX hdca_collection ON history_dataset_collection_association (collection_id);
CREATE INDEX hdca_job ON history_dataset_collection_association (job_id) WHERE job_id IS NOT NULL;
CREATE INDEX hdca_icj ON history_dataset_collection_association (implicit_collection_jobs_id)
    WHERE implicit_collection_jobs_id IS NOT NULL;

---------------------------------------------------------------- jobs

-- A user-defined tool. `value` is its whole representation as JSON.
CREATE TABLE dynamic_tool (
    id          INTEGER PRIMARY KEY,
    uuid        TEXT NOT NULL,
    user_id     BIGINT REFERENCES galaxy_user (id),
    tool_id     TEXT NOT NULL,
    tool_version TEXT,
    active      BOOLEAN NOT NULL DEFAULT TRUE,
    hidden      BOOLEAN NOT NULL DEFAULT FALSE,
    public      BOOLEAN NOT NULL DEFAULT FALSE,
    value       TEXT NOT NULL,
    create_time BIGINT NOT NULL,
    update_time BIGINT NOT NULL
);
CREATE UNIQUE INDEX dynamic_tool_uuid ON dynamic_tool (uuid);
CREATE INDEX dynamic_tool_user ON dynamic_tool (user_id, id);

-- (ours) uuid: the token a runner sees; workflow_invocation_id, scheduler: so that neither dispatch nor the
-- completion of an invocation has to walk its steps; ready_time: when the last input became usable, null before;
-- cores, memory_mb: what the tool asks for.
CREATE TABLE job (
    id           INTEGER PRIMARY KEY,
    uuid         TEXT NOT NULL,
    user_id      BIGINT NOT NULL REFERENCES galaxy_user (id),
    history_id   BIGINT REFERENCES history (id),
    workflow_invocation_id BIGINT REFERENCES workflow_invocation (id),
    scheduler    TEXT,
    handler      TEXT,
    tool_id      TEXT NOT NULL,
    tool_version TEXT,
    dynamic_tool_id BIGINT REFERENCES dynamic_tool (id),
    galaxy_version  TEXT,
    state        TEXT NOT NULL,
    info         TEXT,
    command_line TEXT,
    exit_code    BIGINT,
    tool_stdout  TEXT,
    tool_stderr  TEXT,
    job_messages TEXT,
    traceback    TEXT,
    job_runner_name        TEXT,
    job_runner_external_id TEXT,
    attempt      BIGINT NOT NULL DEFAULT 0,
    cores        BIGINT NOT NULL DEFAULT 1,
    memory_mb    BIGINT NOT NULL DEFAULT 0,
    copied_from_job_id BIGINT REFERENCES job (id),
    ready_time   BIGINT,
    start_time   BIGINT,
    end_time     BIGINT,
    create_time  BIGINT NOT NULL,
    update_time  BIGINT NOT NULL
);
CREATE INDEX job_user ON job (user_id, id);
CREATE INDEX job_user_update ON job (user_id, update_time);
CREATE INDEX job_history ON job (history_id, id);
CREATE INDEX job_invocation ON job (workflow_invocation_id, id) WHERE workflow_invocation_id IS NOT NULL;
-- Is an invocation still working? Which jobs must a starting handler find again?
CREATE INDEX job_unfinished ON job (workflow_invocation_id)
    WHERE state IN ('new', 'resubmitted', 'upload', 'waiting', 'queued', 'running', 'stop', 'deleting');
CREATE INDEX job_ready ON job (handler, ready_time, id) WHERE state = 'new' AND ready_time IS NOT NULL;
CREATE INDEX job_active ON job (handler, state) WHERE state IN ('queued', 'running', 'deleting', 'stop', 'upload');

CREATE TABLE job_parameter (
    job_id BIGINT NOT NULL REFERENCES job (id),
    name   TEXT NOT NULL,
    value  TEXT,
    PRIMARY KEY (job_id, name)
) WITHOUT ROWID;

-- position: the order in which a multiple input lists its datasets; identifier: the element's, inside a mapping. (ours)
CREATE TABLE job_to_input_dataset (
    id         INTEGER PRIMARY KEY,
    job_id     BIGINT NOT NULL REFERENCES job (id),
    hda_id     BIGINT NOT NULL REFERENCES history_dataset_association (id),
    name       TEXT NOT NULL,
    position   BIGINT NOT NULL DEFAULT 0,
    element_identifier TEXT
);
CREATE INDEX job_input_job ON job_to_input_dataset (job_id, id);
CREATE INDEX job_input_hda ON job_to_input_dataset (hda_id);

CREATE TABLE job_to_input_dataset_collection (
    id      INTEGER PRIMARY KEY,
    job_id  BIGINT NOT NULL REFERENCES job (id),
    hdca_id BIGINT REFERENCES history_dataset_collection_association (id),
    dce_id  BIGINT REFERENCES dataset_collection_element (id),
    name    TEXT NOT NULL
);
CREATE INDEX job_input_hdca_job ON job_to_input_dataset_collection (job_id, id);
CREATE INDEX job_input_hdca ON job_to_input_dataset_collection (hdca_id) WHERE hdca_id IS NOT NULL;

CREATE TABLE job_to_output_dataset (
    id     INTEGER PRIMARY KEY,
    job_id BIGINT NOT NULL REFERENCES job (id),
    hda_id BIGINT NOT NULL REFERENCES history_dataset_association (id),
    name   TEXT NOT NULL
);
CREATE INDEX job_output_job ON job_to_output_dataset (job_id, id);
CREATE INDEX job_output_hda ON job_to_output_dataset (hda_id);

-- A collection that one job makes; for a mapped step, the slice's place in the implicit collection is collection_id. (ours: collection_id)
CREATE TABLE job_to_output_dataset_collection (
    id      INTEGER PRIMARY KEY,
    job_id  BIGINT NOT NULL REFERENCES job (id),
    hdca_id BIGINT REFERENCES history_dataset_collection_association (id),
    collection_id BIGINT NOT NULL REFERENCES dataset_collection (id),
    name    TEXT NOT NULL
);
CREATE INDEX job_output_hdca_job ON job_to_output_dataset_collection (job_id, id);

CREATE TABLE job_state_history (
    id          INTEGER PRIMARY KEY,
    job_id      BIGINT NOT NULL REFERENCES job (id),
    state       TEXT NOT NULL,
    info        TEXT,
    create_time BIGINT NOT NULL
);
CREATE INDEX job_state_history_job ON job_state_history (job_id, id);

-- (ours) The inputs a new job still waits for: a row goes when its dataset is usable, and the job is ready
-- when no row is left. Kept so that the end of a job costs its own dependants and nothing else.
CREATE TABLE job_wait (
    job_id     BIGINT NOT NULL REFERENCES job (id),
    dataset_id BIGINT NOT NULL REFERENCES dataset (id),
    PRIMARY KEY (job_id, dataset_id)
) WITHOUT ROWID;
CREATE INDEX job_wait_dataset ON job_wait (dataset_id, job_id);

CREATE TABLE implicit_collection_jobs (
    id              INTEGER PRIMARY KEY,
    populated_state TEXT NOT NULL DEFAULT 'new'
);
CREATE TABLE implicit_collection_jobs_job_association (
    id          INTEGER PRIMARY KEY,
    implicit_collection_jobs_id BIGINT NOT NULL REFERENCES implicit_collection_jobs (id),
    job_id      BIGINT NOT NULL REFERENCES job (id),
    order_index BIGINT NOT NULL
);
CREATE UNIQUE INDEX icj_job_order ON implicit_collection_jobs_job_association (implicit_collection_jobs_id, order_index);
CREATE INDEX icj_job_job ON implicit_collection_jobs_job_association (job_id);

---------------------------------------------------------------- workflows

CREATE TABLE stored_workflow (
    id          INTEGER PRIMARY KEY,
    user_id     BIGINT NOT NULL REFERENCES galaxy_user (id),
    latest_workflow_id BIGINT REFERENCES workflow (id),
    name        TEXT NOT NULL,
    deleted     BOOLEAN NOT NULL DEFAULT FALSE,
    hidden      BOOLEAN NOT NULL DEFAULT FALSE,
    importable  BOOLEAN NOT NULL DEFAULT FALSE,
    published   BOOLEAN NOT NULL DEFAULT FALSE,
    show_in_tool_panel BOOLEAN NOT NULL DEFAULT FALSE,
    slug        TEXT,
    from_path   TEXT,
    annotation  TEXT,
    tags        TEXT NOT NULL DEFAULT '[]',
    create_time BIGINT NOT NULL,
    update_time BIGINT NOT NULL
);
CREATE INDEX stored_workflow_user ON stored_workflow (user_id, id);
CREATE UNIQUE INDEX stored_workflow_slug ON stored_workflow (user_id, slug) WHERE slug IS NOT NULL;
CREATE INDEX stored_workflow_published ON stored_workflow (id) WHERE published;

CREATE TABLE stored_workflow_user_share (
    stored_workflow_id BIGINT NOT NULL REFERENCES stored_workflow (id),
    user_id            BIGINT NOT NULL REFERENCES galaxy_user (id),
    PRIMARY KEY (stored_workflow_id, user_id)
) WITHOUT ROWID;
CREATE INDEX stored_workflow_share_user ON stored_workflow_user_share (user_id);

-- One immutable revision. A subworkflow's revision has no stored workflow, but a parent_workflow_id.
CREATE TABLE workflow (
    id          INTEGER PRIMARY KEY,
    stored_workflow_id BIGINT REFERENCES stored_workflow (id),
    parent_workflow_id BIGINT REFERENCES workflow (id),
    uuid        TEXT NOT NULL,
    name        TEXT NOT NULL,
    annotation  TEXT,
    tags        TEXT NOT NULL DEFAULT '[]',
    has_cycles  BOOLEAN NOT NULL DEFAULT FALSE,
    has_errors  BOOLEAN NOT NULL DEFAULT FALSE,
    reports_config   TEXT,
    creator_metadata TEXT,
    license     TEXT,
    source_metadata  TEXT,
    readme      TEXT,
    logo_url    TEXT,
    help        TEXT,
    doi         TEXT,
    release     TEXT,
    create_time BIGINT NOT NULL,
    update_time BIGINT NOT NULL
);
CREATE INDEX workflow_stored ON workflow (stored_workflow_id, id) WHERE stored_workflow_id IS NOT NULL;
CREATE INDEX workflow_parent ON workflow (parent_workflow_id) WHERE parent_workflow_id IS NOT NULL;
CREATE INDEX workflow_uuid ON workflow (uuid);

-- (ours) extra: what only a lossless export needs, as JSON.
CREATE TABLE workflow_step (
    id           INTEGER PRIMARY KEY,
    workflow_id  BIGINT NOT NULL REFERENCES workflow (id),
    subworkflow_id  BIGINT REFERENCES workflow (id),
    dynamic_tool_id BIGINT REFERENCES dynamic_tool (id),
    type         TEXT NOT NULL,
    tool_id      TEXT,
    tool_version TEXT,
    tool_inputs  TEXT NOT NULL DEFAULT '{}',
    tool_errors  TEXT,
    position     TEXT,
    config       TEXT,
    order_index  BIGINT NOT NULL,
    when_expression TEXT,
    uuid         TEXT,
    label        TEXT,
    annotation   TEXT,
    extra        TEXT
);
CREATE UNIQUE INDEX workflow_step_order ON workflow_step (workflow_id, order_index);
CREATE INDEX workflow_step_subworkflow ON workflow_step (subworkflow_id) WHERE subworkflow_id IS NOT NULL;

CREATE TABLE workflow_step_input (
    id               INTEGER PRIMARY KEY,
    workflow_step_id BIGINT NOT NULL REFERENCES workflow_step (id),
    name             TEXT NOT NULL,
    merge_type       TEXT,
    scatter_type     TEXT,
    value_from       TEXT,
    value_from_type  TEXT,
    default_value    TEXT,
    default_value_set BOOLEAN NOT NULL DEFAULT FALSE,
    runtime_value    BOOLEAN NOT NULL DEFAULT FALSE
);
CREATE UNIQUE INDEX workflow_step_input_name ON workflow_step_input (workflow_step_id, name);

CREATE TABLE workflow_step_connection (
    id                  INTEGER PRIMARY KEY,
    output_step_id      BIGINT NOT NULL REFERENCES workflow_step (id),
    input_step_input_id BIGINT NOT NULL REFERENCES workflow_step_input (id),
    output_name         TEXT NOT NULL,
    input_subworkflow_step_id BIGINT REFERENCES workflow_step (id)
);
CREATE INDEX workflow_step_connection_input ON workflow_step_connection (input_step_input_id, id);
CREATE INDEX workflow_step_connection_output ON workflow_step_connection (output_step_id);

CREATE TABLE workflow_output (
    id               INTEGER PRIMARY KEY,
    workflow_step_id BIGINT NOT NULL REFERENCES workflow_step (id),
    output_name      TEXT NOT NULL,
    label            TEXT,
    uuid             TEXT
);
CREATE INDEX workflow_output_step ON workflow_output (workflow_step_id, id);

CREATE TABLE post_job_action (
    id               INTEGER PRIMARY KEY,
    workflow_step_id BIGINT REFERENCES workflow_step (id),
    action_type      TEXT NOT NULL,
    output_name      TEXT NOT NULL DEFAULT '',
    action_arguments TEXT
);
CREATE INDEX post_job_action_step ON post_job_action (workflow_step_id, id);
CREATE TABLE post_job_action_association (
    job_id             BIGINT NOT NULL REFERENCES job (id),
    post_job_action_id BIGINT NOT NULL REFERENCES post_job_action (id),
    PRIMARY KEY (job_id, post_job_action_id)
) WITHOUT ROWID;
CREATE INDEX post_job_action_association_action ON post_job_action_association (post_job_action_id);

CREATE TABLE workflow_comment (
    id          INTEGER PRIMARY KEY,
    workflow_id BIGINT NOT NULL REFERENCES workflow (id),
    order_index BIGINT NOT NULL,
    value       TEXT NOT NULL
);
CREATE INDEX workflow_comment_workflow ON workflow_comment (workflow_id, order_index);

---------------------------------------------------------------- invocations

-- (ours) signal_count, signal_seen: a durable "look again": whatever may matter to the invocation adds one to
-- signal_count in its own transaction; a scheduling iteration stores the count it started from in signal_seen.
-- The rows where they differ are a handler's whole work list. wake_time: look again at this instant.
-- blocked_on: 'review' while nothing but a person's review holds it up.
CREATE TABLE workflow_invocation (
    id          INTEGER PRIMARY KEY,
    uuid        TEXT NOT NULL,
    workflow_id BIGINT NOT NULL REFERENCES workflow (id),
    history_id  BIGINT NOT NULL REFERENCES history (id),
    user_id     BIGINT NOT NULL REFERENCES galaxy_user (id),
    state       TEXT NOT NULL,
    scheduler   TEXT,
    handler     TEXT,
    on_complete TEXT,
    parent_invocation_id BIGINT REFERENCES workflow_invocation (id),
    signal_count BIGINT NOT NULL DEFAULT 1,
    signal_seen  BIGINT NOT NULL DEFAULT 0,
    wake_time    BIGINT,
    blocked_on   TEXT,
    create_time BIGINT NOT NULL,
    update_time BIGINT NOT NULL
);
CREATE UNIQUE INDEX workflow_invocation_uuid ON workflow_invocation (uuid);
CREATE INDEX workflow_invocation_user ON workflow_invocation (user_id, id);
CREATE INDEX workflow_invocation_workflow ON workflow_invocation (workflow_id, id);
CREATE INDEX workflow_invocation_history ON workflow_invocation (history_id, id);
CREATE INDEX workflow_invocation_parent ON workflow_invocation (parent_invocation_id) WHERE parent_invocation_id IS NOT NULL;
CREATE INDEX workflow_invocation_signalled ON workflow_invocation (handler, id) WHERE signal_count > signal_seen;
CREATE INDEX workflow_invocation_wake ON workflow_invocation (wake_time) WHERE wake_time IS NOT NULL;
CREATE INDEX workflow_invocation_active ON workflow_invocation (history_id, id)
    WHERE state IN ('new', 'requires_materialization', 'ready', 'cancelling');

-- (ours) What an invocation's last iteration stopped at: kind 'dataset', 'job' or 'collection' and that row's id.
CREATE TABLE workflow_invocation_wait (
    kind TEXT NOT NULL,
    item_id BIGINT NOT NULL,
    workflow_invocation_id BIGINT NOT NULL REFERENCES workflow_invocation (id),
    PRIMARY KEY (kind, item_id, workflow_invocation_id)
) WITHOUT ROWID;
CREATE INDEX workflow_invocation_wait_invocation ON workflow_invocation_wait (workflow_invocation_id);

CREATE TABLE workflow_invocation_step (
    id          INTEGER PRIMARY KEY,
    workflow_invocation_id BIGINT NOT NULL REFERENCES workflow_invocation (id),
    workflow_step_id       BIGINT NOT NULL REFERENCES workflow_step (id),
    order_index BIGINT NOT NULL,
    state       TEXT NOT NULL,
    job_id      BIGINT REFERENCES job (id),
    implicit_collection_jobs_id BIGINT REFERENCES implicit_collection_jobs (id),
    action      TEXT,
    create_time BIGINT NOT NULL,
    update_time BIGINT NOT NULL
);
CREATE UNIQUE INDEX wis_invocation_step ON workflow_invocation_step (workflow_invocation_id, workflow_step_id);
CREATE UNIQUE INDEX wis_invocation_order ON workflow_invocation_step (workflow_invocation_id, order_index);
CREATE INDEX wis_job ON workflow_invocation_step (job_id) WHERE job_id IS NOT NULL;
CREATE INDEX wis_icj ON workflow_invocation_step (implicit_collection_jobs_id) WHERE implicit_collection_jobs_id IS NOT NULL;

CREATE TABLE workflow_invocation_step_output_dataset_association (
    workflow_invocation_step_id BIGINT NOT NULL REFERENCES workflow_invocation_step (id),
    output_name TEXT NOT NULL,
    dataset_id  BIGINT NOT NULL REFERENCES history_dataset_association (id),
    PRIMARY KEY (workflow_invocation_step_id, output_name)
) WITHOUT ROWID;
CREATE INDEX wisoda_dataset ON workflow_invocation_step_output_dataset_association (dataset_id);
CREATE TABLE workflow_invocation_step_output_dataset_collection_association (
    workflow_invocation_step_id BIGINT NOT NULL REFERENCES workflow_invocation_step (id),
    output_name TEXT NOT NULL,
    dataset_collection_id BIGINT NOT NULL REFERENCES history_dataset_collection_association (id),
    PRIMARY KEY (workflow_invocation_step_id, output_name)
) WITHOUT ROWID;
CREATE INDEX wisodca_collection ON workflow_invocation_step_output_dataset_collection_association (dataset_collection_id);
-- (ours) Outputs that are plain values: parameter inputs, expression results.
CREATE TABLE workflow_invocation_step_output_value (
    workflow_invocation_step_id BIGINT NOT NULL REFERENCES workflow_invocation_step (id),
    output_name TEXT NOT NULL,
    value       TEXT NOT NULL,
    PRIMARY KEY (workflow_invocation_step_id, output_name)
) WITHOUT ROWID;

CREATE TABLE workflow_invocation_output_dataset_association (
    workflow_invocation_id BIGINT NOT NULL REFERENCES workflow_invocation (id),
    workflow_output_id     BIGINT NOT NULL REFERENCES workflow_output (id),
    workflow_step_id       BIGINT NOT NULL REFERENCES workflow_step (id),
    dataset_id             BIGINT NOT NULL REFERENCES history_dataset_association (id),
    PRIMARY KEY (workflow_invocation_id, workflow_output_id)
) WITHOUT ROWID;
CREATE TABLE workflow_invocation_output_dataset_collection_association (
    workflow_invocation_id BIGINT NOT NULL REFERENCES workflow_invocation (id),
    workflow_output_id     BIGINT NOT NULL REFERENCES workflow_output (id),
    workflow_step_id       BIGINT NOT NULL REFERENCES workflow_step (id),
    dataset_collection_id  BIGINT NOT NULL REFERENCES history_dataset_collection_association (id),
    PRIMARY KEY (workflow_invocation_id, workflow_output_id)
) WITHOUT ROWID;
CREATE TABLE workflow_invocation_output_value (
    workflow_invocation_id BIGINT NOT NULL REFERENCES workflow_invocation (id),
    workflow_output_id     BIGINT NOT NULL REFERENCES workflow_output (id),
    workflow_step_id       BIGINT NOT NULL REFERENCES workflow_step (id),
    value                  TEXT NOT NULL,
    PRIMARY KEY (workflow_invocation_id, workflow_output_id)
) WITHOUT ROWID;

-- The persisted request: what makes scheduling in the background restartable.
-- type 'step' names its step in workflow_step_id as well, so that the parameter cannot outlive it. (ours: the column)
CREATE TABLE workflow_request_input_parameters (
    id     INTEGER PRIMARY KEY,
    workflow_invocation_id BIGINT NOT NULL REFERENCES workflow_invocation (id),
    workflow_step_id BIGINT REFERENCES workflow_step (id),
    name   TEXT NOT NULL,
    value  TEXT,
    type   TEXT NOT NULL
);
CREATE INDEX wrip_invocation ON workflow_request_input_parameters (workflow_invocation_id, id);
CREATE TABLE workflow_request_step_states (
    workflow_invocation_id BIGINT NOT NULL REFERENCES workflow_invocation (id),
    workflow_step_id       BIGINT NOT NULL REFERENCES workflow_step (id),
    value                  TEXT NOT NULL,
    PRIMARY KEY (workflow_invocation_id, workflow_step_id)
) WITHOUT ROWID;
CREATE TABLE workflow_request_to_input_dataset (
    workflow_invocation_id BIGINT NOT NULL REFERENCES workflow_invocation (id),
    workflow_step_id       BIGINT NOT NULL REFERENCES workflow_step (id),
    name                   TEXT,
    dataset_id             BIGINT NOT NULL REFERENCES history_dataset_association (id),
    request                TEXT,
    PRIMARY KEY (workflow_invocation_id, workflow_step_id)
) WITHOUT ROWID;
CREATE INDEX wrtid_dataset ON workflow_request_to_input_dataset (dataset_id);
CREATE TABLE workflow_request_to_input_collection_dataset (
    workflow_invocation_id BIGINT NOT NULL REFERENCES workflow_invocation (id),
    workflow_step_id       BIGINT NOT NULL REFERENCES workflow_step (id),
    name                   TEXT,
    dataset_collection_id  BIGINT NOT NULL REFERENCES history_dataset_collection_association (id),
    request                TEXT,
    PRIMARY KEY (workflow_invocation_id, workflow_step_id)
) WITHOUT ROWID;
CREATE TABLE workflow_request_input_step_parameter (
    workflow_invocation_id BIGINT NOT NULL REFERENCES workflow_invocation (id),
    workflow_step_id       BIGINT NOT NULL REFERENCES workflow_step (id),
    parameter_value        TEXT,
    request                TEXT,
    PRIMARY KEY (workflow_invocation_id, workflow_step_id)
) WITHOUT ROWID;

CREATE TABLE workflow_invocation_to_subworkflow_invocation_association (
    workflow_invocation_id    BIGINT NOT NULL REFERENCES workflow_invocation (id),
    workflow_step_id          BIGINT NOT NULL REFERENCES workflow_step (id),
    subworkflow_invocation_id BIGINT NOT NULL REFERENCES workflow_invocation (id),
    PRIMARY KEY (workflow_invocation_id, workflow_step_id)
) WITHOUT ROWID;
CREATE UNIQUE INDEX witsia_child ON workflow_invocation_to_subworkflow_invocation_association (subworkflow_invocation_id);

CREATE TABLE workflow_invocation_message (
    id          INTEGER PRIMARY KEY,
    workflow_invocation_id BIGINT NOT NULL REFERENCES workflow_invocation (id),
    reason      TEXT NOT NULL,
    details     TEXT,
    output_name TEXT,
    workflow_step_id           BIGINT REFERENCES workflow_step (id),
    dependent_workflow_step_id BIGINT REFERENCES workflow_step (id),
    job_id      BIGINT REFERENCES job (id),
    hda_id      BIGINT REFERENCES history_dataset_association (id),
    hdca_id     BIGINT REFERENCES history_dataset_collection_association (id),
    history_id  BIGINT REFERENCES history (id),
    workflow_step_index_path TEXT,
    create_time BIGINT NOT NULL
);
CREATE INDEX workflow_invocation_message_invocation ON workflow_invocation_message (workflow_invocation_id, id);

CREATE TABLE workflow_invocation_completion (
    workflow_invocation_id BIGINT PRIMARY KEY REFERENCES workflow_invocation (id),
    completion_time   BIGINT NOT NULL,
    job_state_summary TEXT NOT NULL,
    hooks_executed    TEXT NOT NULL DEFAULT '[]'
);
