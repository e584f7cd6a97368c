-- Invoices and payments. Nothing here is ever updated: what is wrong is put right by a credit note.
-- VAT rates by date (Value-Added Tax Act 89 of 1991, section 7(1)): a reference table, the same for every practice.
CREATE TABLE vat_rates (
    valid_from date PRIMARY KEY,
    rate       numeric(5, 4) NOT NULL CHECK (rate BETWEEN 0 AND 1)
);
INSERT INTO vat_rates (valid_from, rate) VALUES ('1993-04-07', 0.14), ('2018-04-01', 0.15);
GRANT SELECT ON vat_rates TO hadada_app;

CREATE TABLE invoice_counters (
    practice_id  uuid PRIMARY KEY REFERENCES practices,
    next_invoice integer NOT NULL DEFAULT 1,
    next_receipt integer NOT NULL DEFAULT 1
);
SELECT make_tenant_table('invoice_counters');
GRANT SELECT, INSERT, UPDATE ON invoice_counters TO hadada_app;

CREATE TABLE invoices (
    practice_id     uuid NOT NULL REFERENCES practices,
    id              uuid NOT NULL,
    number          integer NOT NULL CHECK (number > 0),
    patient_id      uuid NOT NULL,
    practitioner_id uuid NOT NULL,
    encounter_id    uuid,
    issued_on       date NOT NULL,
    issued_by       uuid NOT NULL,
    issued_at       timestamptz NOT NULL,
    net             numeric(12, 2) NOT NULL CHECK (net >= 0),
    vat             numeric(12, 2) NOT NULL CHECK (vat >= 0),
    total           numeric(12, 2) NOT NULL CHECK (total = net + vat),
    PRIMARY KEY (practice_id, id),
    UNIQUE (practice_id, number),
    UNIQUE (practice_id, encounter_id),
    FOREIGN KEY (practice_id, patient_id) REFERENCES patients (practice_id, id),
    FOREIGN KEY (practice_id, practitioner_id) REFERENCES practitioners (practice_id, id),
    FOREIGN KEY (practice_id, encounter_id) REFERENCES encounters (practice_id, id),
    FOREIGN KEY (practice_id, issued_by) REFERENCES users (practice_id, id)
);
CREATE INDEX invoices_patient ON invoices (practice_id, patient_id, number DESC);
SELECT make_tenant_table('invoices');
GRANT SELECT, INSERT ON invoices TO hadada_app;

CREATE TABLE invoice_lines (
    practice_id     uuid NOT NULL,
    invoice_id      uuid NOT NULL,
    position        integer NOT NULL CHECK (position > 0),
    service_date    date NOT NULL,
    session_type_id uuid,
    tariff_code     text NOT NULL DEFAULT '',
    icd10           text NOT NULL DEFAULT '',
    description     text NOT NULL CHECK (length(description) BETWEEN 1 AND 200),
    quantity        numeric(8, 2) NOT NULL CHECK (quantity > 0),
    unit_price      numeric(12, 2) NOT NULL CHECK (unit_price >= 0),
    vat_rate        numeric(5, 4) NOT NULL CHECK (vat_rate BETWEEN 0 AND 1),
    net             numeric(12, 2) NOT NULL CHECK (net >= 0),
    vat             numeric(12, 2) NOT NULL CHECK (vat >= 0),
    PRIMARY KEY (practice_id, invoice_id, position),
    FOREIGN KEY (practice_id, invoice_id) REFERENCES invoices (practice_id, id),
    FOREIGN KEY (practice_id, session_type_id) REFERENCES session_types (practice_id, id)
);
SELECT make_tenant_table('invoice_lines');
GRANT SELECT, INSERT ON invoice_lines TO hadada_app;

CREATE TABLE payments (
    practice_id uuid NOT NULL,
    id          uuid NOT NULL,
    invoice_id  uuid NOT NULL,
    receipt     integer NOT NULL CHECK (receipt > 0),
    amount      numeric(12, 2) NOT NULL CHECK (amount > 0),
    method      text NOT NULL CHECK (method IN ('cash', 'card', 'eft')),
    reference   text NOT NULL DEFAULT '' CHECK (length(reference) <= 80),
    received_at timestamptz NOT NULL,
    received_by uuid NOT NULL,
    PRIMARY KEY (practice_id, id),
    UNIQUE (practice_id, receipt),
    FOREIGN KEY (practice_id, invoice_id) REFERENCES invoices (practice_id, id),
    FOREIGN KEY (practice_id, received_by) REFERENCES users (practice_id, id)
);
CREATE INDEX payments_invoice ON payments (practice_id, invoice_id);
SELECT make_tenant_table('payments');
GRANT SELECT, INSERT ON payments TO hadada_app;
