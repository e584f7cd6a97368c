-- What the box keeps about itself. None of these tables belongs to a practice or holds anything about a patient.

-- How far the first-run wizard has come. One row; emptied of everything but its end when the practice exists.
CREATE TABLE setup_progress (
    only_row     boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    -- Hex SHA-256 of the one-time code the counts below belong to: a new code begins anew.
    code_sha256  text NOT NULL DEFAULT '',
    failures     integer NOT NULL DEFAULT 0,
    locked_until timestamptz,
    session_hash bytea CHECK (length(session_hash) = 32),
    progress     jsonb NOT NULL DEFAULT '{}',
    updated_at   timestamptz NOT NULL,
    finished_at  timestamptz
);
GRANT SELECT, INSERT, UPDATE ON setup_progress TO hadada_app;

-- Times during which IT or a vendor may reach the box with a client certificate. Never more than eight hours.
CREATE TABLE remote_access (
    id         uuid PRIMARY KEY,
    opened_at  timestamptz NOT NULL,
    until      timestamptz NOT NULL,
    reason     text NOT NULL CHECK (length(reason) BETWEEN 1 AND 200),
    closed_at  timestamptz,
    CHECK (until > opened_at AND until <= opened_at + interval '8 hours')
);
CREATE UNIQUE INDEX remote_access_one_open ON remote_access ((closed_at IS NULL)) WHERE closed_at IS NULL;
GRANT SELECT, INSERT, UPDATE ON remote_access TO hadada_app;

-- What is or was wrong with the box. One open row a kind.
CREATE TABLE box_alerts (
    id              uuid PRIMARY KEY,
    kind            text NOT NULL CHECK (length(kind) BETWEEN 1 AND 80),
    state           text NOT NULL CHECK (state IN ('warning', 'bad')),
    said            text NOT NULL,
    what_to_do      text NOT NULL DEFAULT '',
    began_at        timestamptz NOT NULL,
    changed_at      timestamptz NOT NULL,
    acknowledged_at timestamptz,
    acknowledged_by uuid,
    ended_at        timestamptz
);
CREATE UNIQUE INDEX box_alerts_open ON box_alerts (kind) WHERE ended_at IS NULL;
CREATE INDEX box_alerts_ended ON box_alerts (ended_at DESC) WHERE ended_at IS NOT NULL;
GRANT SELECT, INSERT, UPDATE, DELETE ON box_alerts TO hadada_app;

-- One measurement a day and thing, for forecasts: `disk-free` in bytes by mount point.
CREATE TABLE box_samples (
    day   date NOT NULL,
    kind  text NOT NULL,
    name  text NOT NULL,
    value bigint NOT NULL,
    PRIMARY KEY (kind, name, day)
);
GRANT SELECT, INSERT, UPDATE, DELETE ON box_samples TO hadada_app;

-- What is to leave the building. Each row says which standing rule or person approved it; the sender, a unit of its own
-- with a role of its own, sends what is here and nothing else.
CREATE TABLE outbox (
    id          uuid PRIMARY KEY,
    kind        text NOT NULL CHECK (kind IN ('alert-mail')),
    approved_by text NOT NULL,
    recipient   text NOT NULL CHECK (length(recipient) BETWEEN 3 AND 254),
    subject     text NOT NULL CHECK (length(subject) BETWEEN 1 AND 200),
    body        text NOT NULL CHECK (length(body) <= 4000),
    queued_at   timestamptz NOT NULL,
    state       text NOT NULL DEFAULT 'queued' CHECK (state IN ('queued', 'sent', 'failed')),
    attempts    integer NOT NULL DEFAULT 0,
    next_at     timestamptz NOT NULL,
    last_error  text NOT NULL DEFAULT '',
    sent_at     timestamptz
);
CREATE INDEX outbox_queued ON outbox (next_at) WHERE state = 'queued';
GRANT SELECT, INSERT ON outbox TO hadada_app;
GRANT SELECT, UPDATE ON outbox TO hadada_sender;

-- Every attempt to send something out of the building.
CREATE TABLE egress_ledger (
    id          uuid PRIMARY KEY,
    at          timestamptz NOT NULL,
    unit        text NOT NULL,
    destination text NOT NULL,
    port        integer NOT NULL CHECK (port BETWEEN 1 AND 65535),
    purpose     text NOT NULL,
    bytes       bigint NOT NULL,
    outcome     text NOT NULL,
    outbox_id   uuid REFERENCES outbox
);
CREATE INDEX egress_ledger_at ON egress_ledger (at DESC);
GRANT SELECT ON egress_ledger TO hadada_app;
GRANT SELECT, INSERT ON egress_ledger TO hadada_sender;
GRANT USAGE ON SCHEMA public TO hadada_sender;
