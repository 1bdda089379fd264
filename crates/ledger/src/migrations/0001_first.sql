-- Ids are UUIDs as text. Times end in _ms: milliseconds since 1970, by the database's clock.
-- {LONG_TEXT} and {TABLE} differ between databases, see dialect.rs.

CREATE TABLE users (
    id VARCHAR(36) NOT NULL PRIMARY KEY,
    name VARCHAR(190) NOT NULL UNIQUE,
    role VARCHAR(16) NOT NULL,
    password_hash VARCHAR(255) NOT NULL,
    email VARCHAR(254),
    created_ms BIGINT NOT NULL,
    disabled_ms BIGINT,
    -- Quotas of this user; NULL is the service's default.
    max_unfinished_jobs BIGINT,
    max_stored_bytes BIGINT,
    max_daily_audio_ms BIGINT,
    -- What counts against them, kept up to date by every change of a job's state.
    unfinished_jobs BIGINT NOT NULL,
    stored_bytes BIGINT NOT NULL
) {TABLE};

-- Audio that was converted for a user, by days since 1970 (UTC).
CREATE TABLE daily_audio (
    user_id VARCHAR(36) NOT NULL,
    day BIGINT NOT NULL,
    audio_ms BIGINT NOT NULL,
    PRIMARY KEY (user_id, day)
) {TABLE};

-- API keys, and refresh tokens: one row for each token, with the family of its log-in.
CREATE TABLE credentials (
    id VARCHAR(36) NOT NULL PRIMARY KEY,
    user_id VARCHAR(36) NOT NULL,
    kind VARCHAR(16) NOT NULL,
    family VARCHAR(36) NOT NULL,
    secret_hash VARCHAR(64) NOT NULL,
    label VARCHAR(190) NOT NULL,
    scopes VARCHAR(190) NOT NULL,
    created_ms BIGINT NOT NULL,
    expires_ms BIGINT,
    used_ms BIGINT,
    revoked_ms BIGINT
) {TABLE};
CREATE INDEX credentials_by_user ON credentials (user_id, kind, id);
CREATE INDEX credentials_by_family ON credentials (family);
CREATE INDEX credentials_by_expiry ON credentials (expires_ms);

-- Ed25519 keys that sign access tokens.
CREATE TABLE signing_keys (
    id VARCHAR(36) NOT NULL PRIMARY KEY,
    pkcs8_hex VARCHAR(255) NOT NULL,
    created_ms BIGINT NOT NULL,
    signs_from_ms BIGINT NOT NULL
) {TABLE};

-- Fairness: the turn that each lane serves, and the last turn that each user has in it.
CREATE TABLE lanes (
    lane VARCHAR(8) NOT NULL PRIMARY KEY,
    serving_turn BIGINT NOT NULL
) {TABLE};
INSERT INTO lanes (lane, serving_turn) VALUES ('high', 0), ('normal', 0), ('low', 0);
CREATE TABLE turns (
    user_id VARCHAR(36) NOT NULL,
    lane VARCHAR(8) NOT NULL,
    last_turn BIGINT NOT NULL,
    PRIMARY KEY (user_id, lane)
) {TABLE};

CREATE TABLE jobs (
    id VARCHAR(36) NOT NULL PRIMARY KEY,
    user_id VARCHAR(36) NOT NULL,
    state VARCHAR(16) NOT NULL,
    -- Counts the changes of state.
    version BIGINT NOT NULL,
    lane VARCHAR(8) NOT NULL,
    turn BIGINT NOT NULL,
    not_before_ms BIGINT NOT NULL,
    label VARCHAR(190) NOT NULL,
    file_name VARCHAR(255) NOT NULL,
    media VARCHAR(32) NOT NULL,
    options {LONG_TEXT} NOT NULL,
    traceparent VARCHAR(64),
    -- NULL when it was deleted.
    input_key VARCHAR(190),
    input_bytes BIGINT NOT NULL,
    input_blake3 VARCHAR(64),
    -- What the next message to the workers says of earlier attempts.
    history VARCHAR(190) NOT NULL,
    attempts BIGINT NOT NULL,
    worker VARCHAR(190),
    created_ms BIGINT NOT NULL,
    dispatched_ms BIGINT,
    started_ms BIGINT,
    ended_ms BIGINT,
    output_key VARCHAR(190),
    output_bytes BIGINT,
    duration_ms BIGINT,
    audio_blake3 VARCHAR(64),
    truncated SMALLINT NOT NULL,
    warnings {LONG_TEXT},
    report {LONG_TEXT},
    failure {LONG_TEXT},
    failure_kind VARCHAR(16),
    -- What of the user's stored bytes is this job's.
    stored_bytes BIGINT NOT NULL
) {TABLE};
CREATE INDEX jobs_by_turn ON jobs (state, lane, turn, id);
CREATE INDEX jobs_by_end ON jobs (state, ended_ms);
CREATE INDEX jobs_by_user ON jobs (user_id, id);
CREATE INDEX jobs_by_user_state ON jobs (user_id, state, id);
CREATE INDEX jobs_by_user_label ON jobs (user_id, label, id);

CREATE TABLE attempts (
    job_id VARCHAR(36) NOT NULL,
    attempt BIGINT NOT NULL,
    worker VARCHAR(190) NOT NULL,
    started_ms BIGINT,
    ended_ms BIGINT,
    outcome VARCHAR(16),
    failure {LONG_TEXT},
    PRIMARY KEY (job_id, attempt)
) {TABLE};

CREATE TABLE idempotency_keys (
    user_id VARCHAR(36) NOT NULL,
    idempotency_key VARCHAR(190) NOT NULL,
    -- What the request asked for, so that another under the same key is noticed.
    request_hash VARCHAR(64) NOT NULL,
    job_id VARCHAR(36) NOT NULL,
    created_ms BIGINT NOT NULL,
    PRIMARY KEY (user_id, idempotency_key)
) {TABLE};
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_ms);

-- Uploads that come in several requests (tus), or past us straight into the store.
CREATE TABLE uploads (
    id VARCHAR(36) NOT NULL PRIMARY KEY,
    user_id VARCHAR(36) NOT NULL,
    kind VARCHAR(16) NOT NULL,
    object_key VARCHAR(190) NOT NULL,
    file_name VARCHAR(255) NOT NULL,
    -- As the client sent it, to be told again.
    metadata {LONG_TEXT} NOT NULL,
    media VARCHAR(32),
    total_bytes BIGINT NOT NULL,
    received_bytes BIGINT NOT NULL,
    -- The store's name for it, and of an incomplete last part the object that holds it.
    store_upload VARCHAR(1024),
    tail_key VARCHAR(190),
    blake3 VARCHAR(64),
    -- Whose request writes to it.
    writer VARCHAR(36),
    writer_until_ms BIGINT NOT NULL,
    finished_ms BIGINT,
    created_ms BIGINT NOT NULL,
    expires_ms BIGINT NOT NULL
) {TABLE};
CREATE INDEX uploads_by_user ON uploads (user_id, id);
CREATE INDEX uploads_by_expiry ON uploads (expires_ms);
CREATE TABLE upload_parts (
    upload_id VARCHAR(36) NOT NULL,
    number BIGINT NOT NULL,
    tag VARCHAR(255) NOT NULL,
    subtree_hash VARCHAR(64) NOT NULL,
    PRIMARY KEY (upload_id, number)
) {TABLE};

CREATE TABLE webhooks (
    id VARCHAR(36) NOT NULL PRIMARY KEY,
    user_id VARCHAR(36) NOT NULL,
    url VARCHAR(2000) NOT NULL,
    secret VARCHAR(190) NOT NULL,
    -- The secret before, which signs as well for a while after a rotation.
    old_secret VARCHAR(190),
    old_secret_until_ms BIGINT,
    events VARCHAR(190) NOT NULL,
    created_ms BIGINT NOT NULL,
    disabled_ms BIGINT
) {TABLE};
CREATE INDEX webhooks_by_user ON webhooks (user_id, id);

-- Notifications that are owed: written with the change that they report.
CREATE TABLE deliveries (
    id VARCHAR(36) NOT NULL PRIMARY KEY,
    user_id VARCHAR(36) NOT NULL,
    job_id VARCHAR(36) NOT NULL,
    webhook_id VARCHAR(36),
    event VARCHAR(32) NOT NULL,
    event_id VARCHAR(36) NOT NULL,
    payload {LONG_TEXT} NOT NULL,
    state VARCHAR(16) NOT NULL,
    attempts BIGINT NOT NULL,
    next_ms BIGINT NOT NULL,
    answer VARCHAR(255),
    created_ms BIGINT NOT NULL
) {TABLE};
CREATE INDEX deliveries_by_time ON deliveries (state, next_ms);
CREATE INDEX deliveries_by_job ON deliveries (job_id);
CREATE INDEX deliveries_by_age ON deliveries (created_ms);

CREATE TABLE leaders (
    name VARCHAR(32) NOT NULL PRIMARY KEY,
    holder VARCHAR(64) NOT NULL,
    until_ms BIGINT NOT NULL
) {TABLE};
