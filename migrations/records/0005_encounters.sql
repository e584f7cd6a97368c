-- Visits and their notes. Every bytea named body is AES-256-GCM under the patient's key.
CREATE TABLE encounters (
    practice_id     uuid NOT NULL REFERENCES practices,
    id              uuid NOT NULL,
    appointment_id  uuid NOT NULL,
    patient_id      uuid NOT NULL,
    practitioner_id uuid NOT NULL,
    status          text NOT NULL CHECK (status IN ('in-progress', 'finished')),
    reason          text NOT NULL DEFAULT '',
    started_at      timestamptz NOT NULL,
    finished_at     timestamptz,
    PRIMARY KEY (practice_id, id),
    UNIQUE (practice_id, appointment_id, patient_id),
    CHECK ((status = 'finished') = (finished_at IS NOT NULL)),
    FOREIGN KEY (practice_id, appointment_id) REFERENCES appointments (practice_id, id),
    FOREIGN KEY (practice_id, patient_id) REFERENCES patients (practice_id, id),
    FOREIGN KEY (practice_id, practitioner_id) REFERENCES practitioners (practice_id, id)
);
CREATE INDEX encounters_patient ON encounters (practice_id, patient_id, started_at DESC);
CREATE INDEX encounters_open ON encounters (practice_id, practitioner_id, started_at) WHERE status = 'in-progress';
SELECT make_tenant_table('encounters');
GRANT SELECT, INSERT, UPDATE ON encounters TO hadada_app;

-- A visit only ends: whose it is never changes, and what is finished stays so.
CREATE FUNCTION visit_only_ends() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.status = 'finished'
       OR (NEW.id, NEW.appointment_id, NEW.patient_id, NEW.practitioner_id, NEW.started_at)
          IS DISTINCT FROM (OLD.id, OLD.appointment_id, OLD.patient_id, OLD.practitioner_id, OLD.started_at) THEN
        RAISE EXCEPTION 'a visit only ends' USING ERRCODE = 'check_violation', CONSTRAINT = 'visit_only_ends';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER encounters_only_end BEFORE UPDATE ON encounters FOR EACH ROW EXECUTE FUNCTION visit_only_ends();

-- Append-only: an autosave is a new version, and the primary key refuses a second writer of the same version.
CREATE TABLE note_versions (
    practice_id  uuid NOT NULL,
    encounter_id uuid NOT NULL,
    version      integer NOT NULL CHECK (version > 0),
    author_id    uuid NOT NULL,
    saved_at     timestamptz NOT NULL,
    body         bytea NOT NULL,
    PRIMARY KEY (practice_id, encounter_id, version),
    FOREIGN KEY (practice_id, encounter_id) REFERENCES encounters (practice_id, id),
    FOREIGN KEY (practice_id, author_id) REFERENCES users (practice_id, id)
);
SELECT make_tenant_table('note_versions');
GRANT SELECT, INSERT ON note_versions TO hadada_app;

CREATE TABLE note_signatures (
    practice_id  uuid NOT NULL,
    encounter_id uuid NOT NULL,
    version      integer NOT NULL,
    signed_by    uuid NOT NULL,
    signed_at    timestamptz NOT NULL,
    body_sha256  bytea NOT NULL CHECK (length(body_sha256) = 32),
    PRIMARY KEY (practice_id, encounter_id),
    FOREIGN KEY (practice_id, encounter_id, version) REFERENCES note_versions (practice_id, encounter_id, version),
    FOREIGN KEY (practice_id, signed_by) REFERENCES users (practice_id, id)
);
SELECT make_tenant_table('note_signatures');
GRANT SELECT, INSERT ON note_signatures TO hadada_app;

CREATE TABLE note_addenda (
    practice_id  uuid NOT NULL,
    id           uuid NOT NULL,
    encounter_id uuid NOT NULL,
    author_id    uuid NOT NULL,
    added_at     timestamptz NOT NULL,
    body         bytea NOT NULL,
    PRIMARY KEY (practice_id, id),
    FOREIGN KEY (practice_id, encounter_id) REFERENCES note_signatures (practice_id, encounter_id),
    FOREIGN KEY (practice_id, author_id) REFERENCES users (practice_id, id)
);
CREATE INDEX note_addenda_encounter ON note_addenda (practice_id, encounter_id, added_at);
SELECT make_tenant_table('note_addenda');
GRANT SELECT, INSERT ON note_addenda TO hadada_app;

-- Both sides lock the visit's row, so that a version and a signature can't cross.
CREATE FUNCTION signed_note_is_closed() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM encounters e WHERE e.practice_id = NEW.practice_id AND e.id = NEW.encounter_id FOR UPDATE;
    IF TG_TABLE_NAME = 'note_versions' THEN
        IF EXISTS (SELECT FROM note_signatures s WHERE s.practice_id = NEW.practice_id AND s.encounter_id = NEW.encounter_id) THEN
            RAISE EXCEPTION 'the note is signed' USING ERRCODE = 'check_violation', CONSTRAINT = 'note_signed';
        END IF;
    ELSIF NEW.version <> (SELECT max(v.version) FROM note_versions v WHERE v.practice_id = NEW.practice_id AND v.encounter_id = NEW.encounter_id) THEN
        RAISE EXCEPTION 'only the newest version can be signed' USING ERRCODE = 'check_violation', CONSTRAINT = 'note_version_stale';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER note_versions_open BEFORE INSERT ON note_versions FOR EACH ROW EXECUTE FUNCTION signed_note_is_closed();
CREATE TRIGGER note_signatures_newest BEFORE INSERT ON note_signatures FOR EACH ROW EXECUTE FUNCTION signed_note_is_closed();

-- What the model wrote, and with what. Kept apart from the note: a draft is never the record.
CREATE TABLE drafts (
    practice_id    uuid NOT NULL,
    id             uuid NOT NULL,
    encounter_id   uuid NOT NULL,
    requested_by   uuid NOT NULL,
    requested_at   timestamptz NOT NULL,
    finished_at    timestamptz,
    status         text NOT NULL CHECK (status IN ('running', 'done', 'stopped', 'failed', 'refused')),
    model          text NOT NULL DEFAULT '',
    model_sha256   text NOT NULL DEFAULT '',
    prompt_version text NOT NULL DEFAULT '',
    parameters     jsonb NOT NULL DEFAULT '{}',
    timings        jsonb NOT NULL DEFAULT '{}',
    body           bytea,
    PRIMARY KEY (practice_id, id),
    FOREIGN KEY (practice_id, encounter_id) REFERENCES encounters (practice_id, id),
    FOREIGN KEY (practice_id, requested_by) REFERENCES users (practice_id, id)
);
CREATE INDEX drafts_encounter ON drafts (practice_id, encounter_id, requested_at DESC);
CREATE UNIQUE INDEX drafts_one_running ON drafts (practice_id, encounter_id) WHERE status = 'running';
SELECT make_tenant_table('drafts');
GRANT SELECT, INSERT, UPDATE ON drafts TO hadada_app;

CREATE TABLE outcome_scores (
    practice_id  uuid NOT NULL,
    id           uuid NOT NULL,
    patient_id   uuid NOT NULL,
    encounter_id uuid,
    measure      text NOT NULL,
    score        numeric(8, 2) NOT NULL,
    taken_on     date NOT NULL,
    recorded_by  uuid NOT NULL,
    recorded_at  timestamptz NOT NULL,
    PRIMARY KEY (practice_id, id),
    FOREIGN KEY (practice_id, patient_id) REFERENCES patients (practice_id, id),
    FOREIGN KEY (practice_id, encounter_id) REFERENCES encounters (practice_id, id),
    FOREIGN KEY (practice_id, recorded_by) REFERENCES users (practice_id, id)
);
CREATE INDEX outcome_scores_patient ON outcome_scores (practice_id, patient_id, measure, taken_on);
SELECT make_tenant_table('outcome_scores');
GRANT SELECT, INSERT ON outcome_scores TO hadada_app;
