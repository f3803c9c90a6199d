-- Who may read what, and what is made for somebody to take away.

-- What a dataset's owner said about who may read it: 'public', 'private', 'roles' (those of dataset_permissions with the
-- action 'access'), or null: whoever may read a history that shows it. (ours)
ALTER TABLE dataset ADD COLUMN access TEXT;

-- user_id: the administrator who made it. (ours: user_id)
CREATE TABLE role (
    id          INTEGER PRIMARY KEY,
    name        TEXT NOT NULL,
    description TEXT NOT NULL,
    type        TEXT NOT NULL,
    user_id     BIGINT REFERENCES galaxy_user (id),
    deleted     BOOLEAN NOT NULL DEFAULT FALSE,
    create_time BIGINT NOT NULL,
    update_time BIGINT NOT NULL
);
CREATE UNIQUE INDEX role_name ON role (name);

CREATE TABLE user_role_association (
    user_id BIGINT NOT NULL REFERENCES galaxy_user (id),
    role_id BIGINT NOT NULL REFERENCES role (id),
    PRIMARY KEY (user_id, role_id)
);
CREATE INDEX user_role_association_role ON user_role_association (role_id);

CREATE TABLE dataset_permissions (
    dataset_id BIGINT NOT NULL REFERENCES dataset (id),
    action     TEXT NOT NULL,
    role_id    BIGINT NOT NULL REFERENCES role (id),
    PRIMARY KEY (dataset_id, action, role_id)
);
CREATE INDEX dataset_permissions_role ON dataset_permissions (role_id);

CREATE TABLE history_user_share_association (
    history_id BIGINT NOT NULL REFERENCES history (id),
    user_id    BIGINT NOT NULL REFERENCES galaxy_user (id),
    PRIMARY KEY (history_id, user_id)
);
CREATE INDEX history_user_share_association_user ON history_user_share_association (user_id);

-- A file that is made on request and kept for a while (Galaxy: short term storage, and exports of histories). kind:
-- 'invocation' or 'history', item_id that row's id; request: what was asked for, so that whoever finds it unfinished can
-- make it; state: 'new', 'ok', 'error'. (ours)
CREATE TABLE short_term_storage (
    id          INTEGER PRIMARY KEY,
    uuid        TEXT NOT NULL,
    user_id     BIGINT NOT NULL REFERENCES galaxy_user (id),
    kind        TEXT NOT NULL,
    item_id     BIGINT NOT NULL,
    request     TEXT NOT NULL,
    state       TEXT NOT NULL,
    message     TEXT,
    file_name   TEXT NOT NULL,
    media_type  TEXT NOT NULL,
    create_time BIGINT NOT NULL,
    update_time BIGINT NOT NULL
);
CREATE UNIQUE INDEX short_term_storage_uuid ON short_term_storage (uuid);
CREATE INDEX short_term_storage_item ON short_term_storage (kind, item_id, id);
CREATE INDEX short_term_storage_time ON short_term_storage (create_time);
