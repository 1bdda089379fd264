-- What a user is written to about by mail, separated by spaces; NULL is as for everybody.
ALTER TABLE users ADD COLUMN mail_events VARCHAR(190);

-- The job that a webhook is for; NULL: all of its user's.
ALTER TABLE webhooks ADD COLUMN job_id VARCHAR(36);
-- Why it is told nothing, if it is not.
ALTER TABLE webhooks ADD COLUMN disabled_why VARCHAR(255);
CREATE INDEX webhooks_by_job ON webhooks (job_id);

-- Deliveries are about jobs or about nothing in particular. Nothing was ever sent of the
-- old ones: no program read them. An older program still adds to them.
DROP TABLE deliveries;
CREATE TABLE deliveries (
    id VARCHAR(36) NOT NULL PRIMARY KEY,
    user_id VARCHAR(36) NOT NULL,
    job_id VARCHAR(36),
    -- NULL: by mail.
    webhook_id VARCHAR(36),
    event VARCHAR(32) NOT NULL,
    event_id VARCHAR(36) NOT NULL,
    payload {LONG_TEXT} NOT NULL,
    traceparent VARCHAR(64),
    state VARCHAR(16) NOT NULL,
    attempts BIGINT NOT NULL,
    -- When it is tried next; of one that is being tried, when it is given up on whoever does.
    next_ms BIGINT NOT NULL,
    -- Names the attempt that is under way.
    claim VARCHAR(36),
    answer VARCHAR(255),
    created_ms BIGINT NOT NULL,
    -- From when its age counts; NULL: from its creation.
    replayed_ms BIGINT,
    ended_ms BIGINT
) {TABLE};
CREATE INDEX deliveries_by_time ON deliveries (state, next_ms);
CREATE INDEX deliveries_by_job ON deliveries (job_id);
CREATE INDEX deliveries_by_user ON deliveries (user_id, id);
CREATE INDEX deliveries_by_webhook ON deliveries (webhook_id, state);
CREATE INDEX deliveries_by_age ON deliveries (created_ms);

CREATE TABLE delivery_attempts (
    delivery_id VARCHAR(36) NOT NULL,
    attempt BIGINT NOT NULL,
    started_ms BIGINT NOT NULL,
    -- NULL: it is under way, or nobody lived to tell.
    ended_ms BIGINT,
    answer VARCHAR(255),
    PRIMARY KEY (delivery_id, attempt)
) {TABLE};
CREATE INDEX delivery_attempts_by_age ON delivery_attempts (started_ms);

-- What administrators have been told is wrong, until it is right again.
CREATE TABLE alerts (
    kind VARCHAR(32) NOT NULL PRIMARY KEY,
    since_ms BIGINT NOT NULL
) {TABLE};

-- What this service knows and nobody else, in hexadecimal.
CREATE TABLE secrets (
    name VARCHAR(32) NOT NULL PRIMARY KEY,
    secret_hex VARCHAR(190) NOT NULL
) {TABLE};
