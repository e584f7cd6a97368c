-- Erasure of a patient: the key is destroyed in the database of keys, and what can be read here goes.
ALTER TABLE patients ADD COLUMN erased_at timestamptz;

CREATE TABLE erasures (
    practice_id   uuid NOT NULL REFERENCES practices,
    patient_id    uuid NOT NULL,
    registered_at timestamptz NOT NULL,
    registered_by text NOT NULL,
    reason        text NOT NULL CHECK (reason IN ('retention-ended', 'patient-asked', 'registered-by-mistake', 'court-order')),
    -- SHA-256 of the reason's words; the words themselves are in nobody's way once the register is copied off the box.
    reason_hash   bytea NOT NULL CHECK (length(reason_hash) = 32),
    completed_at  timestamptz NOT NULL,
    PRIMARY KEY (practice_id, patient_id),
    FOREIGN KEY (practice_id, patient_id) REFERENCES patients (practice_id, id)
);
SELECT make_tenant_table('erasures');
GRANT SELECT, INSERT ON erasures TO hadada_app;

-- A visit only ends: whose it is never changes, and what is finished stays so; only the owner, for an erasure, takes away
-- the words of its reason.
CREATE OR REPLACE FUNCTION visit_only_ends() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.reason = '' AND current_user = (SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = TG_RELID)
       AND (NEW.id, NEW.appointment_id, NEW.patient_id, NEW.practitioner_id, NEW.status, NEW.started_at, NEW.finished_at)
           IS NOT DISTINCT FROM
           (OLD.id, OLD.appointment_id, OLD.patient_id, OLD.practitioner_id, OLD.status, OLD.started_at, OLD.finished_at) THEN
        RETURN NEW;
    END IF;
    IF OLD.status = 'finished'
       OR (NEW.id, NEW.appointment_id, NEW.patient_id, NEW.practitioner_id, NEW.started_at)
          IS DISTINCT FROM (OLD.id, OLD.appointment_id, OLD.patient_id, OLD.practitioner_id, OLD.started_at) THEN
        RAISE EXCEPTION 'a visit only ends' USING ERRCODE = 'check_violation', CONSTRAINT = 'visit_only_ends';
    END IF;
    RETURN NEW;
END
$$;

-- Takes away what can be read of a patient of this practice. Sealed text stays where it is: nobody can open it any more, and
-- the audit log's hashes stay whole. Amounts and dates of invoices stay as well, without a name. False where there is no such
-- patient.
CREATE FUNCTION erase_patient(p_patient uuid, p_at timestamptz) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE scope uuid := current_practice();
BEGIN
    UPDATE patients SET
        file_number = 'erased-' || id, title = '', family_name = 'Erased', given_name = 'Patient', preferred_name = '',
        birth_date = '1900-01-01', sex = 'unknown', identity_kind = 'none', identity = NULL, identity_index = NULL,
        phone = '', email = '', address = '', scheme_name = '', scheme_plan = '', member_number = '', dependant_code = '',
        emergency_name = '', emergency_phone = '', allergy_state = 'not-recorded', search_text = '', search_given = '',
        version = version + 1, updated_at = p_at, erased_at = p_at
    WHERE practice_id = scope AND id = p_patient AND erased_at IS NULL;
    IF NOT FOUND AND NOT EXISTS (SELECT FROM patients WHERE practice_id = scope AND id = p_patient) THEN
        RETURN false;
    END IF;
    DELETE FROM allergies WHERE practice_id = scope AND patient_id = p_patient;
    DELETE FROM alerts WHERE practice_id = scope AND patient_id = p_patient;
    DELETE FROM outcome_scores WHERE practice_id = scope AND patient_id = p_patient;
    UPDATE waiting_list SET reason = '', status = CASE status WHEN 'waiting' THEN 'removed' ELSE status END, version = version + 1
    WHERE practice_id = scope AND patient_id = p_patient;
    UPDATE encounters SET reason = '' WHERE practice_id = scope AND patient_id = p_patient AND reason <> '';
    UPDATE appointments a SET reason = '', cancel_reason = ''
    WHERE a.practice_id = scope AND a.kind = 'visit' AND EXISTS (
        SELECT FROM appointment_participants p
        WHERE p.practice_id = scope AND p.appointment_id = a.id AND p.patient_id = p_patient);
    UPDATE payments SET reference = ''
    WHERE practice_id = scope AND reference <> '' AND invoice_id IN (
        SELECT i.id FROM invoices i WHERE i.practice_id = scope AND i.patient_id = p_patient);
    RETURN true;
END
$$;
GRANT EXECUTE ON FUNCTION erase_patient(uuid, timestamptz) TO hadada_app;

-- As before, without those who were erased.
CREATE OR REPLACE FUNCTION list_patients(p_after uuid, p_limit integer) RETURNS TABLE (patient_id uuid)
LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 20 SET search_path = public, pg_temp AS $$
DECLARE
    scope uuid := current_practice();
    after_text text := '';
    after_id uuid := '00000000-0000-0000-0000-000000000000';
BEGIN
    IF p_after IS NOT NULL THEN
        SELECT p.search_text, p.id INTO after_text, after_id FROM patients p WHERE p.practice_id = scope AND p.id = p_after;
        IF NOT FOUND THEN RETURN; END IF;
    END IF;
    RETURN QUERY
        SELECT p.id FROM patients p
        WHERE p.practice_id = scope AND (p.search_text, p.id) > (after_text, after_id) AND p.erased_at IS NULL
        ORDER BY p.search_text, p.id LIMIT p_limit;
END
$$;
