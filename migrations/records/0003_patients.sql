-- Patients and what every screen shows about them.
CREATE TABLE patients (
    practice_id     uuid NOT NULL REFERENCES practices,
    id              uuid NOT NULL,
    file_number     text NOT NULL,
    title           text NOT NULL DEFAULT '',
    family_name     text NOT NULL CHECK (length(family_name) BETWEEN 1 AND 80),
    given_name      text NOT NULL CHECK (length(given_name) BETWEEN 1 AND 80),
    preferred_name  text NOT NULL DEFAULT '',
    birth_date      date NOT NULL,
    sex             text NOT NULL CHECK (sex IN ('female', 'male', 'other', 'unknown')),
    -- Identity numbers are encrypted under the patient's key; the blind index finds duplicates without opening them.
    identity_kind   text NOT NULL CHECK (identity_kind IN ('sa-id', 'passport', 'none')),
    identity        bytea,
    identity_index  bytea,
    phone           text NOT NULL DEFAULT '',
    email           text NOT NULL DEFAULT '',
    address         text NOT NULL DEFAULT '',
    scheme_name     text NOT NULL DEFAULT '',
    scheme_plan     text NOT NULL DEFAULT '',
    member_number   text NOT NULL DEFAULT '',
    dependant_code  text NOT NULL DEFAULT '',
    emergency_name  text NOT NULL DEFAULT '',
    emergency_phone text NOT NULL DEFAULT '',
    -- 'known' needs at least one row in allergies; the page shows 'unavailable' only when they can't be read.
    allergy_state   text NOT NULL DEFAULT 'not-recorded' CHECK (allergy_state IN ('known', 'none-known', 'not-recorded')),
    -- Lower-case, accents folded: "family given preferred file phone".
    search_text     text NOT NULL,
    version         integer NOT NULL DEFAULT 1,
    created_at      timestamptz NOT NULL,
    created_by      uuid NOT NULL,
    updated_at      timestamptz NOT NULL,
    PRIMARY KEY (practice_id, id),
    UNIQUE (practice_id, file_number),
    CHECK ((identity_kind = 'none') = (identity IS NULL)),
    CHECK ((identity IS NULL) = (identity_index IS NULL)),
    FOREIGN KEY (practice_id, created_by) REFERENCES users (practice_id, id)
);
CREATE UNIQUE INDEX patients_identity ON patients (practice_id, identity_index) WHERE identity_index IS NOT NULL;
CREATE INDEX patients_search ON patients USING gin (search_text gin_trgm_ops);
CREATE INDEX patients_name ON patients (practice_id, family_name, given_name, id);
CREATE INDEX patients_birth ON patients (practice_id, birth_date);
SELECT make_tenant_table('patients');
GRANT SELECT, INSERT, UPDATE ON patients TO hadada_app;

CREATE TABLE patient_counters (
    practice_id uuid PRIMARY KEY REFERENCES practices,
    next_file   integer NOT NULL DEFAULT 1
);
SELECT make_tenant_table('patient_counters');
GRANT SELECT, INSERT, UPDATE ON patient_counters TO hadada_app;

CREATE TABLE allergies (
    practice_id uuid NOT NULL,
    id          uuid NOT NULL,
    patient_id  uuid NOT NULL,
    substance   text NOT NULL CHECK (length(substance) BETWEEN 1 AND 120),
    reaction    text NOT NULL DEFAULT '',
    recorded_by uuid NOT NULL,
    recorded_at timestamptz NOT NULL,
    ended_at    timestamptz,
    PRIMARY KEY (practice_id, id),
    FOREIGN KEY (practice_id, patient_id) REFERENCES patients (practice_id, id),
    FOREIGN KEY (practice_id, recorded_by) REFERENCES users (practice_id, id)
);
CREATE INDEX allergies_patient ON allergies (practice_id, patient_id) WHERE ended_at IS NULL;
SELECT make_tenant_table('allergies');
GRANT SELECT, INSERT, UPDATE ON allergies TO hadada_app;

CREATE TABLE alerts (
    practice_id uuid NOT NULL,
    id          uuid NOT NULL,
    patient_id  uuid NOT NULL,
    text        text NOT NULL CHECK (length(text) BETWEEN 1 AND 200),
    until       date,
    recorded_by uuid NOT NULL,
    recorded_at timestamptz NOT NULL,
    ended_at    timestamptz,
    PRIMARY KEY (practice_id, id),
    FOREIGN KEY (practice_id, patient_id) REFERENCES patients (practice_id, id),
    FOREIGN KEY (practice_id, recorded_by) REFERENCES users (practice_id, id)
);
CREATE INDEX alerts_patient ON alerts (practice_id, patient_id) WHERE ended_at IS NULL;
SELECT make_tenant_table('alerts');
GRANT SELECT, INSERT, UPDATE ON alerts TO hadada_app;

-- LIKE and % are not leakproof, so under a policy Postgres would not use the trigram index. This function takes the
-- practice from the scope and filters on it first; see DESIGN, "RLS trap". The words are already normalised.
CREATE FUNCTION search_patients(p_words text[], p_identity bytea, p_birth date, p_limit integer)
RETURNS TABLE (patient_id uuid, rank real)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp SET pg_trgm.word_similarity_threshold = 0.4 AS $$
DECLARE
    scope uuid := current_practice();
    found integer := 0;
    pattern text[] := ARRAY(SELECT '%' || replace(replace(replace(w, '\', '\\'), '%', '\%'), '_', '\_') || '%' FROM unnest(p_words) w);
BEGIN
    IF scope IS NULL THEN RETURN; END IF;
    RETURN QUERY
        SELECT p.id,
               (CASE WHEN p.identity_index = p_identity THEN 3.0
                     WHEN lower(p.file_number) = p_words[1] THEN 2.5
                     WHEN p.birth_date = p_birth THEN 2.0
                     WHEN p.search_text LIKE replace(replace(p_words[1], '%', ''), '_', '') || '%' THEN 1.5
                     ELSE 1.0 END)::real AS r
        FROM patients p
        WHERE p.practice_id = scope
          AND (p.identity_index = p_identity OR p.birth_date = p_birth
               OR (cardinality(pattern) > 0 AND p.search_text LIKE ALL (pattern)))
        ORDER BY r DESC, p.family_name, p.given_name, p.id
        LIMIT p_limit;
    GET DIAGNOSTICS found = ROW_COUNT;
    IF found = 0 AND cardinality(p_words) > 0 THEN
        -- Nothing fits as typed: allow typing errors.
        RETURN QUERY
            SELECT p.id, word_similarity(array_to_string(p_words, ' '), p.search_text) AS r
            FROM patients p
            WHERE p.practice_id = scope AND array_to_string(p_words, ' ') <% p.search_text
            ORDER BY r DESC, p.family_name, p.given_name, p.id
            LIMIT p_limit;
    END IF;
END
$$;
GRANT EXECUTE ON FUNCTION search_patients(text[], bytea, date, integer) TO hadada_app;
