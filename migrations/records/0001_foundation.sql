-- Scope, practices and people.
CREATE EXTENSION IF NOT EXISTS pg_trgm;
CREATE EXTENSION IF NOT EXISTS btree_gist;

REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO hadada_app, hadada_backup;
ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO hadada_backup;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON SEQUENCES TO hadada_backup;

-- The practice this transaction works for; null outside a scope, so that every policy is then false.
CREATE FUNCTION current_practice() RETURNS uuid
LANGUAGE sql STABLE PARALLEL SAFE
RETURN nullif(current_setting('hadada.practice_id', true), '')::uuid;
GRANT EXECUTE ON FUNCTION current_practice() TO hadada_app, hadada_backup;

-- Turns a table into a tenant table: row-level security, forced on the owner too, one policy.
CREATE FUNCTION make_tenant_table(tab regclass) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', tab);
    EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', tab);
    EXECUTE format('CREATE POLICY own_practice ON %s USING (practice_id = current_practice()) '
                   'WITH CHECK (practice_id = current_practice())', tab);
END
$$;

CREATE TABLE practices (
    practice_id  uuid PRIMARY KEY,
    name         text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    bhf_number   text NOT NULL DEFAULT '',
    vat_number   text NOT NULL DEFAULT '',
    address      text NOT NULL DEFAULT '',
    phone        text NOT NULL DEFAULT '',
    email        text NOT NULL DEFAULT '',
    bank_details text NOT NULL DEFAULT '',
    version      integer NOT NULL DEFAULT 1,
    created_at   timestamptz NOT NULL DEFAULT now()
);
SELECT make_tenant_table('practices');
GRANT SELECT, INSERT, UPDATE ON practices TO hadada_app;

CREATE TABLE rooms (
    practice_id uuid NOT NULL REFERENCES practices,
    id          uuid NOT NULL,
    name        text NOT NULL CHECK (length(name) BETWEEN 1 AND 80),
    PRIMARY KEY (practice_id, id)
);
SELECT make_tenant_table('rooms');
GRANT SELECT, INSERT, UPDATE ON rooms TO hadada_app;

CREATE TABLE practitioners (
    practice_id   uuid NOT NULL REFERENCES practices,
    id            uuid NOT NULL,
    title         text NOT NULL DEFAULT '',
    given_name    text NOT NULL CHECK (length(given_name) BETWEEN 1 AND 80),
    family_name   text NOT NULL CHECK (length(family_name) BETWEEN 1 AND 80),
    discipline    text NOT NULL CHECK (discipline IN ('physiotherapy', 'occupational-therapy', 'biokinetics', 'speech-therapy', 'general-practice')),
    hpcsa_number  text NOT NULL DEFAULT '',
    bhf_number    text NOT NULL DEFAULT '',
    room_id       uuid,
    position      integer NOT NULL DEFAULT 0,
    active        boolean NOT NULL DEFAULT true,
    version       integer NOT NULL DEFAULT 1,
    PRIMARY KEY (practice_id, id),
    FOREIGN KEY (practice_id, room_id) REFERENCES rooms (practice_id, id)
);
SELECT make_tenant_table('practitioners');
GRANT SELECT, INSERT, UPDATE ON practitioners TO hadada_app;

-- Weekday 1 is Monday (ISO 8601). Times are the practice's wall clock.
CREATE TABLE working_hours (
    practice_id     uuid NOT NULL,
    practitioner_id uuid NOT NULL,
    weekday         smallint NOT NULL CHECK (weekday BETWEEN 1 AND 7),
    starts          time NOT NULL,
    ends            time NOT NULL,
    CHECK (starts < ends),
    PRIMARY KEY (practice_id, practitioner_id, weekday, starts),
    FOREIGN KEY (practice_id, practitioner_id) REFERENCES practitioners (practice_id, id)
);
SELECT make_tenant_table('working_hours');
GRANT SELECT, INSERT, UPDATE, DELETE ON working_hours TO hadada_app;

CREATE TABLE users (
    practice_id     uuid NOT NULL REFERENCES practices,
    id              uuid NOT NULL,
    username        text NOT NULL,
    display_name    text NOT NULL CHECK (length(display_name) BETWEEN 1 AND 120),
    role            text NOT NULL CHECK (role IN ('admin', 'practitioner', 'receptionist', 'billing')),
    practitioner_id uuid,
    active          boolean NOT NULL DEFAULT true,
    version         integer NOT NULL DEFAULT 1,
    created_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (practice_id, id),
    FOREIGN KEY (practice_id, practitioner_id) REFERENCES practitioners (practice_id, id)
);
SELECT make_tenant_table('users');
GRANT SELECT, INSERT, UPDATE ON users TO hadada_app;

-- The three tables below precede a practice: nobody has one until they have logged in. They hold ids and hashes only.
CREATE TABLE logins (
    username      text PRIMARY KEY CHECK (username = lower(username) AND length(username) BETWEEN 1 AND 80),
    practice_id   uuid NOT NULL,
    user_id       uuid NOT NULL,
    password_hash text NOT NULL,
    failures      integer NOT NULL DEFAULT 0,
    locked_until  timestamptz,
    active        boolean NOT NULL DEFAULT true,
    FOREIGN KEY (practice_id, user_id) REFERENCES users (practice_id, id)
);
GRANT SELECT, INSERT, UPDATE ON logins TO hadada_app;

CREATE TABLE sessions (
    token_hash  bytea PRIMARY KEY CHECK (length(token_hash) = 32),
    practice_id uuid NOT NULL,
    user_id     uuid NOT NULL,
    created_at  timestamptz NOT NULL,
    seen_at     timestamptz NOT NULL,
    expires_at  timestamptz NOT NULL,
    FOREIGN KEY (practice_id, user_id) REFERENCES users (practice_id, id)
);
CREATE INDEX sessions_user ON sessions (practice_id, user_id);
GRANT SELECT, INSERT, UPDATE, DELETE ON sessions TO hadada_app;

CREATE TABLE api_tokens (
    token_hash  bytea PRIMARY KEY CHECK (length(token_hash) = 32),
    practice_id uuid NOT NULL,
    user_id     uuid NOT NULL,
    scope       text NOT NULL,
    created_at  timestamptz NOT NULL,
    expires_at  timestamptz NOT NULL,
    revoked_at  timestamptz,
    FOREIGN KEY (practice_id, user_id) REFERENCES users (practice_id, id)
);
GRANT SELECT, INSERT, UPDATE ON api_tokens TO hadada_app;

-- One row a form sent: a second sending of the same form finds what the first one made.
CREATE TABLE idempotency_keys (
    practice_id uuid NOT NULL REFERENCES practices,
    user_id     uuid NOT NULL,
    key         uuid NOT NULL,
    action      text NOT NULL,
    entity_id   uuid NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (practice_id, user_id, key),
    FOREIGN KEY (practice_id, user_id) REFERENCES users (practice_id, id)
);
SELECT make_tenant_table('idempotency_keys');
GRANT SELECT, INSERT ON idempotency_keys TO hadada_app;

-- Who a cookie or an API token speaks for. Log-ins precede a scope, so these read across practices, by hash only.
-- PL/pgSQL, because it keeps its plans: every request asks one of these first.
CREATE FUNCTION session_user_by_token(p_hash bytea, p_now timestamptz, p_idle interval)
RETURNS TABLE (practice_id uuid, user_id uuid, username text, display_name text, role text, practitioner_id uuid, seen_at timestamptz)
LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 1 SET search_path = public, pg_temp AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT u.practice_id, u.id, u.username, u.display_name, u.role, u.practitioner_id, s.seen_at
    FROM sessions s JOIN users u ON u.practice_id = s.practice_id AND u.id = s.user_id
    WHERE s.token_hash = p_hash AND s.expires_at > p_now AND s.seen_at > p_now - p_idle AND u.active;
END
$$;
GRANT EXECUTE ON FUNCTION session_user_by_token(bytea, timestamptz, interval) TO hadada_app;

CREATE FUNCTION api_user_by_token(p_hash bytea, p_now timestamptz)
RETURNS TABLE (practice_id uuid, user_id uuid, username text, display_name text, role text, practitioner_id uuid, scope text)
LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 1 SET search_path = public, pg_temp AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT u.practice_id, u.id, u.username, u.display_name, u.role, u.practitioner_id, t.scope
    FROM api_tokens t JOIN users u ON u.practice_id = t.practice_id AND u.id = t.user_id
    WHERE t.token_hash = p_hash AND t.expires_at > p_now AND t.revoked_at IS NULL AND u.active;
END
$$;
GRANT EXECUTE ON FUNCTION api_user_by_token(bytea, timestamptz) TO hadada_app;
