INSERT INTO patients (practice_id, id, file_number, family_name, given_name, birth_date, sex, identity_kind, search_text, created_at, created_by, updated_at)
VALUES ('00000000-0000-7000-8000-000000000001', '00000000-0000-7000-8000-000000000006', 'H-00001', 'C', 'D', '1990-01-01', 'female', 'none', 'c d', now(),
        '00000000-0000-7000-8000-000000000004', now());
INSERT INTO patient_counters VALUES ('00000000-0000-7000-8000-000000000001', 2);
INSERT INTO allergies (practice_id, id, patient_id, substance, recorded_by, recorded_at)
VALUES ('00000000-0000-7000-8000-000000000001', gen_random_uuid(), '00000000-0000-7000-8000-000000000006', 'x', '00000000-0000-7000-8000-000000000004', now());
INSERT INTO alerts (practice_id, id, patient_id, text, recorded_by, recorded_at)
VALUES ('00000000-0000-7000-8000-000000000001', gen_random_uuid(), '00000000-0000-7000-8000-000000000006', 'x', '00000000-0000-7000-8000-000000000004', now());
