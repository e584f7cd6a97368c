INSERT INTO session_types (practice_id, id, code, name, duration_minutes, price)
VALUES ('00000000-0000-7000-8000-000000000001', '00000000-0000-7000-8000-000000000007', 'x', 'X', 45, 650);
INSERT INTO appointments (practice_id, id, kind, session_type_id, starts_at, ends_at, status, created_by, created_at, updated_by, updated_at)
VALUES ('00000000-0000-7000-8000-000000000001', '00000000-0000-7000-8000-000000000008', 'visit', '00000000-0000-7000-8000-000000000007', now(), now() + interval '45 min',
        'booked', '00000000-0000-7000-8000-000000000004', now(), '00000000-0000-7000-8000-000000000004', now());
INSERT INTO appointment_participants (practice_id, id, appointment_id, patient_id, during)
VALUES ('00000000-0000-7000-8000-000000000001', gen_random_uuid(), '00000000-0000-7000-8000-000000000008', '00000000-0000-7000-8000-000000000006', 'empty');
INSERT INTO waiting_list (practice_id, id, patient_id, duration_minutes, created_by, created_at)
VALUES ('00000000-0000-7000-8000-000000000001', gen_random_uuid(), '00000000-0000-7000-8000-000000000006', 30, '00000000-0000-7000-8000-000000000004', now());
