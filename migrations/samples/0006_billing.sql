INSERT INTO invoice_counters (practice_id) VALUES ('00000000-0000-7000-8000-000000000001');
INSERT INTO invoices (practice_id, id, number, patient_id, practitioner_id, issued_on, issued_by, issued_at, net, vat, total)
VALUES ('00000000-0000-7000-8000-000000000001', '00000000-0000-7000-8000-00000000000a', 1, '00000000-0000-7000-8000-000000000006',
        '00000000-0000-7000-8000-000000000003', '2026-01-01', '00000000-0000-7000-8000-000000000004', now(), 100, 15, 115);
INSERT INTO invoice_lines (practice_id, invoice_id, position, service_date, description, quantity, unit_price, vat_rate, net, vat)
VALUES ('00000000-0000-7000-8000-000000000001', '00000000-0000-7000-8000-00000000000a', 1, '2026-01-01', 'x', 1, 100, 0.15, 100, 15);
INSERT INTO payments (practice_id, id, invoice_id, receipt, amount, method, received_at, received_by)
VALUES ('00000000-0000-7000-8000-000000000001', gen_random_uuid(), '00000000-0000-7000-8000-00000000000a', 1, 115, 'card', now(), '00000000-0000-7000-8000-000000000004');
