-- A row in every table that 0001 made; later samples build on these ids.
INSERT INTO practices (practice_id, name) VALUES ('00000000-0000-7000-8000-000000000001', 'Sample');
INSERT INTO rooms VALUES ('00000000-0000-7000-8000-000000000001', '00000000-0000-7000-8000-000000000002', 'Room 1');
INSERT INTO practitioners (practice_id, id, given_name, family_name, discipline, room_id)
VALUES ('00000000-0000-7000-8000-000000000001', '00000000-0000-7000-8000-000000000003', 'A', 'B', 'physiotherapy', '00000000-0000-7000-8000-000000000002');
INSERT INTO working_hours VALUES ('00000000-0000-7000-8000-000000000001', '00000000-0000-7000-8000-000000000003', 1, '08:00', '16:00');
INSERT INTO users (practice_id, id, username, display_name, role, practitioner_id)
VALUES ('00000000-0000-7000-8000-000000000001', '00000000-0000-7000-8000-000000000004', 'a', 'A B', 'practitioner', '00000000-0000-7000-8000-000000000003');
INSERT INTO logins (username, practice_id, user_id, password_hash)
VALUES ('a', '00000000-0000-7000-8000-000000000001', '00000000-0000-7000-8000-000000000004', 'x');
INSERT INTO sessions VALUES (sha256('s'), '00000000-0000-7000-8000-000000000001', '00000000-0000-7000-8000-000000000004', now(), now(), now());
INSERT INTO api_tokens VALUES (sha256('t'), '00000000-0000-7000-8000-000000000001', '00000000-0000-7000-8000-000000000004', 'all', now(), now());
INSERT INTO idempotency_keys (practice_id, user_id, key, action, entity_id)
VALUES ('00000000-0000-7000-8000-000000000001', '00000000-0000-7000-8000-000000000004', gen_random_uuid(), 'x', gen_random_uuid());
