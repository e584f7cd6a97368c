-- Wrapped keys live in a database of their own, left out of record backups: destroying a key here is an erasure.
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO hadada_app, hadada_backup;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO hadada_backup;

-- A practice key wraps its patients' keys. It is wrapped twice: by the box's master key and to the printed recovery key.
CREATE TABLE practice_keys (
    practice_id      uuid PRIMARY KEY,
    wrapped          bytea NOT NULL,
    recovery_wrapped bytea NOT NULL,
    created_at       timestamptz NOT NULL DEFAULT now()
);
ALTER TABLE practice_keys ENABLE ROW LEVEL SECURITY;
ALTER TABLE practice_keys FORCE ROW LEVEL SECURITY;
CREATE POLICY own_practice ON practice_keys
    USING (practice_id = nullif(current_setting('hadada.practice_id', true), '')::uuid)
    WITH CHECK (practice_id = nullif(current_setting('hadada.practice_id', true), '')::uuid);
GRANT SELECT, INSERT ON practice_keys TO hadada_app;

CREATE TABLE patient_keys (
    practice_id uuid NOT NULL,
    patient_id  uuid NOT NULL,
    wrapped     bytea NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (practice_id, patient_id)
);
ALTER TABLE patient_keys ENABLE ROW LEVEL SECURITY;
ALTER TABLE patient_keys FORCE ROW LEVEL SECURITY;
CREATE POLICY own_practice ON patient_keys
    USING (practice_id = nullif(current_setting('hadada.practice_id', true), '')::uuid)
    WITH CHECK (practice_id = nullif(current_setting('hadada.practice_id', true), '')::uuid);
GRANT SELECT, INSERT, DELETE ON patient_keys TO hadada_app;
