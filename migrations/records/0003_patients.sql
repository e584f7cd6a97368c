-- Patients and what every screen shows about them.
CREATE EXTENSION IF NOT EXISTS btree_gin;

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
    -- E.164, such as +27821234567.
    phone           text COLLATE "C" NOT NULL DEFAULT '',
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
    -- Letters and digits only, lower-case, accents folded: "family given preferred file phone" and "given family".
    -- The collation "C" lets one index serve prefixes, order and paging.
    search_text     text COLLATE "C" NOT NULL,
    search_given    text COLLATE "C" NOT NULL DEFAULT '',
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
CREATE INDEX patients_family ON patients (practice_id, search_text, id);
CREATE INDEX patients_given ON patients (practice_id, search_given, id);
-- Without a pending list, which every search would read through until the next vacuum.
-- The practice as text, because no other index can serve that condition: the planner knows nothing of what a comparison of
-- trigrams costs, and would else rather make it on every patient of the practice.
CREATE INDEX patients_words ON patients USING gin ((practice_id::text), search_text gin_trgm_ops) WITH (fastupdate = off);
CREATE INDEX patients_phone ON patients (practice_id, phone) WHERE phone <> '';
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

-- LIKE, % and comparisons of text are not leakproof, so under a policy Postgres would not use their indexes. These two
-- functions take the practice from the scope and filter on it first; see DESIGN, "RLS trap".

-- The patients that fit what was typed, best first. Exact numbers and dates come before beginnings of names, those before
-- words anywhere; only when nothing fits are typing errors allowed. The words hold letters and digits only.
CREATE FUNCTION search_patients(
    p_prefix text,         -- all words in the order typed
    p_words text[],        -- the same words, longest first
    p_identities bytea[],  -- blind indexes of what may be an identity number
    p_births date[],       -- birth dates typed
    p_file text,           -- what may be a file number
    p_phone text,          -- what may be the beginning of a phone number, E.164
    p_limit integer
) RETURNS TABLE (patient_id uuid)
LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 20
SET search_path = public, pg_temp SET pg_trgm.word_similarity_threshold = 0.6 SET enable_seqscan = off SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
    scope uuid := current_practice();
    hits uuid[] := '{}';
    likeness text;
    any_birth boolean := cardinality(p_births) = 0;
    past_prefix text := p_prefix || chr(1114111);
    -- A word of one or two letters has no trigram; it counts at the beginning of a word, as a filter.
    long_words text[] := ARRAY(SELECT '%' || w || '%' FROM unnest(p_words) w WHERE length(w) >= 3);
    starts text[] := ARRAY(SELECT ' ' || w FROM unnest(p_words) w WHERE length(w) < 3);
BEGIN
    IF scope IS NULL THEN RETURN; END IF;

    hits := ARRAY(
        -- Materialized, or the planner would walk through all names in their order to find these few.
        WITH born AS MATERIALIZED (
            SELECT p.search_text, p.id FROM patients p WHERE p.practice_id = scope AND p.birth_date = ANY (p_births)
        )
        SELECT m.id FROM (
            SELECT 1 AS stage, p.search_text, p.id FROM patients p
            WHERE p.practice_id = scope AND p.identity_index = ANY (p_identities)
            UNION ALL
            SELECT 2, p.search_text, p.id FROM patients p WHERE p.practice_id = scope AND p.file_number = p_file
            UNION ALL
            (SELECT 3, b.search_text, b.id FROM born b
             WHERE NOT EXISTS (SELECT FROM unnest(p_words) w WHERE position(' ' || w IN ' ' || b.search_text) = 0)
             ORDER BY b.search_text LIMIT p_limit)
            UNION ALL
            (SELECT 4, p.search_text, p.id FROM patients p
             WHERE p.practice_id = scope AND p.phone <> '' AND p.phone >= p_phone AND p.phone < p_phone || ':'
             ORDER BY p.phone LIMIT p_limit)
        ) m GROUP BY m.id ORDER BY min(m.stage), min(m.search_text), m.id LIMIT p_limit);

    IF p_prefix <> '' AND cardinality(hits) < p_limit THEN
        hits := hits || ARRAY(
            SELECT p.id FROM patients p
            WHERE p.practice_id = scope AND p.search_text >= p_prefix AND p.search_text < past_prefix
              AND (any_birth OR p.birth_date = ANY (p_births)) AND NOT p.id = ANY (hits)
            ORDER BY p.search_text, p.id LIMIT p_limit - cardinality(hits));
    END IF;
    IF p_prefix <> '' AND cardinality(hits) < p_limit THEN
        hits := hits || ARRAY(
            SELECT p.id FROM patients p
            WHERE p.practice_id = scope AND p.search_given >= p_prefix AND p.search_given < past_prefix
              AND (any_birth OR p.birth_date = ANY (p_births)) AND NOT p.id = ANY (hits)
            ORDER BY p.search_given, p.id LIMIT p_limit - cardinality(hits));
    END IF;

    IF cardinality(long_words) > 0 AND cardinality(hits) < p_limit THEN
        hits := hits || ARRAY(
            SELECT m.id FROM (
                SELECT p.search_text, p.id FROM patients p
                WHERE p.practice_id::text = scope::text
                  AND p.search_text LIKE long_words[1]
                  AND p.search_text LIKE coalesce(long_words[2], long_words[1])
                  AND p.search_text LIKE coalesce(long_words[3], long_words[1])
                  AND p.search_text LIKE ALL (long_words)
                  AND NOT EXISTS (SELECT FROM unnest(starts) w WHERE position(w IN ' ' || p.search_text) = 0)
                  AND (any_birth OR p.birth_date = ANY (p_births)) AND NOT p.id = ANY (hits)
                LIMIT 1000
            ) m ORDER BY m.search_text, m.id LIMIT p_limit - cardinality(hits));
    END IF;

    IF length(p_prefix) >= 3 AND p_prefix !~ '^[0-9 ]*$' THEN
        -- Close first, since each name looked at costs: most errors are found here. 0.4 still finds one letter wrong of five.
        FOREACH likeness IN ARRAY ARRAY['0.6', '0.4'] LOOP
            EXIT WHEN cardinality(hits) > 0;
            PERFORM set_config('pg_trgm.word_similarity_threshold', likeness, true);
            hits := ARRAY(
                SELECT p.id FROM patients p
                WHERE p.practice_id::text = scope::text AND p_prefix <% p.search_text AND (any_birth OR p.birth_date = ANY (p_births))
                ORDER BY word_similarity(p_prefix, p.search_text) DESC, p.search_text, p.id LIMIT p_limit);
        END LOOP;
    END IF;
    RETURN QUERY SELECT unnest(hits);
END
$$;
GRANT EXECUTE ON FUNCTION search_patients(text, text[], bytea[], date[], text, text, integer) TO hadada_app;

-- One page of all patients by name, after a patient.
CREATE FUNCTION list_patients(p_after uuid, p_limit integer) RETURNS TABLE (patient_id uuid)
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
        WHERE p.practice_id = scope AND (p.search_text, p.id) > (after_text, after_id)
        ORDER BY p.search_text, p.id LIMIT p_limit;
END
$$;
GRANT EXECUTE ON FUNCTION list_patients(uuid, integer) TO hadada_app;
