INSERT INTO setup_progress (updated_at) VALUES (now());
INSERT INTO remote_access VALUES ('00000000-0000-7000-8000-000000000071', now(), now() + interval '1 hour', 'update', now());
INSERT INTO box_alerts (id, kind, state, said, began_at, changed_at) VALUES ('00000000-0000-7000-8000-000000000072', 'backup', 'bad', 'No backup.', now(), now());
INSERT INTO box_samples VALUES ('2026-11-24', 'disk-free', '/', 1);
INSERT INTO outbox (id, kind, approved_by, recipient, subject, body, queued_at, next_at)
VALUES ('00000000-0000-7000-8000-000000000073', 'alert-mail', 'standing rule: alerts', 'it@example.org', 's', 'b', now(), now());
INSERT INTO egress_ledger VALUES ('00000000-0000-7000-8000-000000000074', now(), 'hadada-sender', 'mail.example.org', 587, 'alert-mail', 1, 'sent', '00000000-0000-7000-8000-000000000073');
