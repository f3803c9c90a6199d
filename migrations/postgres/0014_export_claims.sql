-- Who makes an archive, and which of them are put somewhere instead of being fetched.

-- A server that makes a file puts its name there, and an instant after which another may. (ours)
ALTER TABLE short_term_storage ADD COLUMN claimed_by TEXT COLLATE "C";
ALTER TABLE short_term_storage ADD COLUMN next_time BIGINT NOT NULL DEFAULT 0;
-- What its request says as target_uri. (ours)
ALTER TABLE short_term_storage ADD COLUMN is_put BOOLEAN NOT NULL DEFAULT FALSE;
UPDATE short_term_storage SET is_put = TRUE WHERE request LIKE '%"target_uri":"%';
CREATE INDEX short_term_storage_unfinished ON short_term_storage (is_put, id) WHERE state = 'new';
CREATE INDEX short_term_storage_user ON short_term_storage (user_id, id);
