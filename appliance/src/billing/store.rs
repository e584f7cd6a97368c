//! SQL of invoices and payments.

use rust_decimal::Decimal;
use sqlx::PgConnection;
use time::{Date, OffsetDateTime};
use uuid::Uuid;

use super::invoice::{
    Invoice, InvoiceNumber, Line, Method, Payment, ReceiptNumber, Settlement, Supplier, Treated,
    Treating,
};
use super::rules::Totals;
use crate::error::{Error, Result};
use crate::ids::{
    AppointmentId, EncounterId, InvoiceId, PatientId, PaymentId, PracticeId, PractitionerId,
    SessionTypeId, UserId,
};
use crate::money::Rand;

/// What an invoice needs to know of a visit.
pub(super) struct VisitFacts {
    pub patient: PatientId,
    pub practitioner: PractitionerId,
    pub started_at: OffsetDateTime,
    pub session_type: SessionTypeId,
    pub session_name: String,
    pub tariff_code: String,
    pub price: Rand,
    /// Whether the practice is registered for VAT.
    pub vendor: bool,
}

pub(super) async fn visit(conn: &mut PgConnection, id: EncounterId) -> Result<VisitFacts> {
    sqlx::query_as!(
        VisitFacts,
        r#"SELECT e.patient_id AS "patient: PatientId", e.practitioner_id AS "practitioner: PractitionerId", e.started_at,
                  s.id AS "session_type: SessionTypeId", s.name AS session_name, s.tariff_code, s.price AS "price: Rand",
                  p.vat_number <> '' AS "vendor!"
           FROM encounters e
           JOIN appointments a ON a.practice_id = e.practice_id AND a.id = e.appointment_id
           JOIN session_types s ON s.practice_id = a.practice_id AND s.id = a.session_type_id
           JOIN practices p ON p.practice_id = e.practice_id
           WHERE e.id = $1"#,
        id.0
    )
    .fetch_optional(conn)
    .await?
    .ok_or(Error::NotFound)
}

/// The visits of a booking: none before it began, several of a class. None at all when there is no such booking.
pub(super) async fn visits_of(
    conn: &mut PgConnection,
    booking: AppointmentId,
) -> Result<Option<Vec<EncounterId>>> {
    let rows = sqlx::query_scalar!(
        r#"SELECT e.id AS "id?: EncounterId" FROM appointments a
           LEFT JOIN encounters e ON e.practice_id = a.practice_id AND e.appointment_id = a.id
           WHERE a.id = $1 LIMIT 2"#,
        booking.0
    )
    .fetch_all(conn)
    .await?;
    Ok((!rows.is_empty()).then(|| rows.into_iter().flatten().collect()))
}

/// VAT rates with the day each began.
pub(super) async fn vat_rates(conn: &mut PgConnection) -> Result<Vec<(Date, Decimal)>> {
    let rows = sqlx::query!("SELECT valid_from, rate FROM vat_rates")
        .fetch_all(conn)
        .await?;
    Ok(rows.into_iter().map(|r| (r.valid_from, r.rate)).collect())
}

/// The next invoice number. Locks the practice's counter until the transaction ends: an invoice that is not written gives
/// its number back, and whoever asks next waits for that.
pub(super) async fn take_invoice_number(
    conn: &mut PgConnection,
    practice: PracticeId,
) -> Result<InvoiceNumber> {
    let number = sqlx::query_scalar!(
        r#"INSERT INTO invoice_counters (practice_id, next_invoice) VALUES ($1, 2)
           ON CONFLICT (practice_id) DO UPDATE SET next_invoice = invoice_counters.next_invoice + 1
           RETURNING next_invoice - 1 AS "number!""#,
        practice.0
    )
    .fetch_one(conn)
    .await?;
    Ok(InvoiceNumber(number))
}

/// The next receipt number, under the same lock.
pub(super) async fn take_receipt_number(
    conn: &mut PgConnection,
    practice: PracticeId,
) -> Result<ReceiptNumber> {
    let number = sqlx::query_scalar!(
        r#"INSERT INTO invoice_counters (practice_id, next_receipt) VALUES ($1, 2)
           ON CONFLICT (practice_id) DO UPDATE SET next_receipt = invoice_counters.next_receipt + 1
           RETURNING next_receipt - 1 AS "number!""#,
        practice.0
    )
    .fetch_one(conn)
    .await?;
    Ok(ReceiptNumber(number))
}

pub(super) async fn invoice_of(
    conn: &mut PgConnection,
    visit: EncounterId,
) -> Result<Option<InvoiceId>> {
    let id = sqlx::query_scalar!(
        r#"SELECT id AS "id: InvoiceId" FROM invoices WHERE encounter_id = $1"#,
        visit.0
    );
    Ok(id.fetch_optional(conn).await?)
}

/// The head of a new invoice.
pub(super) struct NewInvoice {
    pub id: InvoiceId,
    pub number: InvoiceNumber,
    pub patient: PatientId,
    pub practitioner: PractitionerId,
    pub encounter: EncounterId,
    pub issued_on: Date,
    pub issued_by: UserId,
    pub issued_at: OffsetDateTime,
    pub sums: Totals,
}

pub(super) async fn insert_invoice(
    conn: &mut PgConnection,
    practice: PracticeId,
    new: &NewInvoice,
    lines: &[Line],
) -> Result<()> {
    sqlx::query!(
        "INSERT INTO invoices (practice_id, id, number, patient_id, practitioner_id, encounter_id, issued_on, issued_by, issued_at, net, vat, total)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
        practice.0,
        new.id.0,
        new.number.0,
        new.patient.0,
        new.practitioner.0,
        new.encounter.0,
        new.issued_on,
        new.issued_by.0,
        new.issued_at,
        new.sums.net.amount(),
        new.sums.vat.amount(),
        new.sums.total.amount(),
    )
    .execute(&mut *conn)
    .await?;
    for (position, line) in (1_i32..).zip(lines) {
        sqlx::query!(
            "INSERT INTO invoice_lines (practice_id, invoice_id, position, service_date, session_type_id, tariff_code, icd10,
                                        description, quantity, unit_price, vat_rate, net, vat)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
            practice.0,
            new.id.0,
            position,
            line.service_date,
            line.session_type_id.map(|s| s.0),
            line.tariff_code,
            line.icd10,
            line.description,
            line.quantity,
            line.unit_price.amount(),
            line.vat_rate,
            line.net.amount(),
            line.vat.amount(),
        )
        .execute(&mut *conn)
        .await?;
    }
    Ok(())
}

/// A payment to be written.
pub(super) struct NewPayment<'a> {
    pub id: PaymentId,
    pub invoice: InvoiceId,
    pub receipt: ReceiptNumber,
    pub amount: Rand,
    pub method: Method,
    pub reference: &'a str,
    pub at: OffsetDateTime,
    pub by: UserId,
}

pub(super) async fn insert_payment(
    conn: &mut PgConnection,
    practice: PracticeId,
    new: &NewPayment<'_>,
) -> Result<()> {
    sqlx::query!(
        "INSERT INTO payments (practice_id, id, invoice_id, receipt, amount, method, reference, received_at, received_by)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        practice.0,
        new.id.0,
        new.invoice.0,
        new.receipt.0,
        new.amount.amount(),
        new.method.text(),
        new.reference,
        new.at,
        new.by.0,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// An invoice with its lines and payments.
pub(super) async fn invoice(conn: &mut PgConnection, id: InvoiceId) -> Result<Invoice> {
    let head = sqlx::query!(
        r#"SELECT i.number, i.encounter_id AS "encounter_id: EncounterId", i.issued_on,
                  i.net AS "net: Rand", i.vat AS "vat: Rand", i.total AS "total: Rand",
                  t.id AS "patient_id: PatientId", t.title, t.family_name, t.given_name, t.birth_date, t.file_number, t.address,
                  t.scheme_name, t.scheme_plan, t.member_number, t.dependant_code,
                  r.id AS "practitioner_id: PractitionerId", concat_ws(' ', nullif(r.title, ''), r.given_name, r.family_name) AS "treating!",
                  r.discipline, r.hpcsa_number, r.bhf_number AS treating_bhf,
                  p.name AS practice, p.address AS practice_address, p.phone, p.email, p.bhf_number, p.vat_number, p.bank_details
           FROM invoices i
           JOIN patients t ON t.practice_id = i.practice_id AND t.id = i.patient_id
           JOIN practitioners r ON r.practice_id = i.practice_id AND r.id = i.practitioner_id
           JOIN practices p ON p.practice_id = i.practice_id
           WHERE i.id = $1"#,
        id.0
    )
    .fetch_optional(&mut *conn)
    .await?
    .ok_or(Error::NotFound)?;
    let lines = sqlx::query_as!(
        Line,
        r#"SELECT service_date, session_type_id AS "session_type_id: SessionTypeId", tariff_code, icd10, description, quantity,
                  unit_price AS "unit_price: Rand", vat_rate, net AS "net: Rand", vat AS "vat: Rand"
           FROM invoice_lines WHERE invoice_id = $1 ORDER BY position"#,
        id.0
    )
    .fetch_all(&mut *conn)
    .await?;
    let payments = payments(conn, id).await?;
    Ok(Invoice {
        id,
        number: InvoiceNumber(head.number),
        patient: Treated {
            id: head.patient_id,
            title: head.title,
            family_name: head.family_name,
            given_name: head.given_name,
            birth_date: head.birth_date,
            file_number: head.file_number,
            address: head.address,
            scheme_name: head.scheme_name,
            scheme_plan: head.scheme_plan,
            member_number: head.member_number,
            dependant_code: head.dependant_code,
        },
        practitioner: Treating {
            id: head.practitioner_id,
            name: head.treating,
            discipline: head.discipline,
            hpcsa_number: head.hpcsa_number,
            bhf_number: head.treating_bhf,
        },
        supplier: Supplier {
            name: head.practice,
            address: head.practice_address,
            phone: head.phone,
            email: head.email,
            bhf_number: head.bhf_number,
            vat_number: head.vat_number,
            bank_details: head.bank_details,
        },
        encounter_id: head.encounter_id,
        issued_on: head.issued_on,
        lines,
        net: head.net,
        vat: head.vat,
        total: head.total,
        payments,
    })
}

async fn payments(conn: &mut PgConnection, invoice: InvoiceId) -> Result<Vec<Payment>> {
    let rows = sqlx::query!(
        r#"SELECT y.id AS "id: PaymentId", y.receipt, y.amount AS "amount: Rand", y.method, y.reference, y.received_at,
                  u.display_name AS received_by
           FROM payments y JOIN users u ON u.practice_id = y.practice_id AND u.id = y.received_by
           WHERE y.invoice_id = $1 ORDER BY y.receipt"#,
        invoice.0
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|r| {
            Ok(Payment {
                id: r.id,
                receipt: ReceiptNumber(r.receipt),
                amount: r.amount,
                method: Method::from_text(&r.method)
                    .ok_or_else(|| Error::internal("a payment of an unknown kind"))?,
                reference: r.reference,
                received_at: r.received_at,
                received_by: r.received_by,
            })
        })
        .collect()
}

/// What a list of invoices is to hold.
#[derive(Clone, Debug, Default)]
pub(super) struct Wanted {
    /// Only these, when something was searched for: the invoice of this number, and those of these patients.
    pub search: Option<(Option<InvoiceNumber>, Vec<Uuid>)>,
    pub settlement: Option<Settlement>,
    pub patient: Option<PatientId>,
}

/// One line of the list.
pub(super) struct Listed {
    pub id: InvoiceId,
    pub number: i32,
    pub issued_on: Date,
    pub patient: PatientId,
    pub family_name: String,
    pub given_name: String,
    pub file_number: String,
    pub practitioner: PractitionerId,
    pub practitioner_name: String,
    pub encounter: Option<EncounterId>,
    pub total: Rand,
    pub paid: Rand,
}

/// Invoices with a number below `before`, newest first.
pub(super) async fn list(
    conn: &mut PgConnection,
    wanted: &Wanted,
    before: Option<i32>,
    limit: i64,
) -> Result<Vec<Listed>> {
    let (number, patients) = wanted.search.clone().unzip();
    let rows = sqlx::query_as!(
        Listed,
        r#"SELECT i.id AS "id: InvoiceId", i.number, i.issued_on, t.id AS "patient: PatientId", t.family_name, t.given_name, t.file_number,
                  r.id AS "practitioner: PractitionerId", concat_ws(' ', r.given_name, r.family_name) AS "practitioner_name!",
                  i.encounter_id AS "encounter: EncounterId", i.total AS "total: Rand", y.paid AS "paid!: Rand"
           FROM invoices i
           JOIN patients t ON t.practice_id = i.practice_id AND t.id = i.patient_id
           JOIN practitioners r ON r.practice_id = i.practice_id AND r.id = i.practitioner_id
           CROSS JOIN LATERAL (SELECT coalesce(sum(amount), 0) AS paid FROM payments WHERE practice_id = i.practice_id AND invoice_id = i.id) y
           WHERE ($1::integer IS NULL OR i.number < $1)
             AND ($2::uuid[] IS NULL OR i.patient_id = ANY ($2) OR i.number = $3)
             AND ($4::text IS NULL OR $4 = CASE WHEN y.paid >= i.total THEN 'paid' WHEN y.paid > 0 THEN 'part' ELSE 'unpaid' END)
             AND ($5::uuid IS NULL OR i.patient_id = $5)
           ORDER BY i.number DESC LIMIT $6"#,
        before,
        patients.as_deref(),
        number.flatten().map(|n| n.0),
        wanted.settlement.map(Settlement::text),
        wanted.patient.map(|p| p.0),
        limit
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}

/// How many invoices the whole list holds, what they ask for, and what of it is due.
pub(super) async fn sums(conn: &mut PgConnection, wanted: &Wanted) -> Result<(i64, Rand, Rand)> {
    let (number, patients) = wanted.search.clone().unzip();
    let row = sqlx::query!(
        r#"SELECT count(*) AS "count!", coalesce(sum(i.total), 0) AS "total!: Rand", coalesce(sum(i.total - y.paid), 0) AS "due!: Rand"
           FROM invoices i
           CROSS JOIN LATERAL (SELECT coalesce(sum(amount), 0) AS paid FROM payments WHERE practice_id = i.practice_id AND invoice_id = i.id) y
           WHERE ($1::uuid[] IS NULL OR i.patient_id = ANY ($1) OR i.number = $2)
             AND ($3::text IS NULL OR $3 = CASE WHEN y.paid >= i.total THEN 'paid' WHEN y.paid > 0 THEN 'part' ELSE 'unpaid' END)
             AND ($4::uuid IS NULL OR i.patient_id = $4)"#,
        patients.as_deref(),
        number.flatten().map(|n| n.0),
        wanted.settlement.map(Settlement::text),
        wanted.patient.map(|p| p.0),
    )
    .fetch_one(conn)
    .await?;
    Ok((row.count, row.total, row.due))
}

/// A visit that waits for its invoice.
pub(super) struct Unbilled {
    pub encounter: EncounterId,
    pub started_at: OffsetDateTime,
    pub patient: PatientId,
    pub family_name: String,
    pub given_name: String,
    pub file_number: String,
    pub practitioner_name: String,
    pub session_name: String,
    pub price: Rand,
    pub vendor: bool,
}

/// Visits that are over and not yet invoiced, newest first, and how many there are in all. A visit is over when its note is
/// signed or reception has ended it.
pub(super) async fn unbilled(conn: &mut PgConnection, limit: i64) -> Result<(Vec<Unbilled>, i64)> {
    let rows = sqlx::query!(
        r#"SELECT e.id AS "encounter: EncounterId", e.started_at, t.id AS "patient: PatientId", t.family_name, t.given_name, t.file_number,
                  concat_ws(' ', r.given_name, r.family_name) AS "practitioner_name!", s.name AS session_name, s.price AS "price: Rand",
                  p.vat_number <> '' AS "vendor!", count(*) OVER () AS "all!"
           FROM encounters e
           JOIN appointments a ON a.practice_id = e.practice_id AND a.id = e.appointment_id
           JOIN session_types s ON s.practice_id = a.practice_id AND s.id = a.session_type_id
           JOIN patients t ON t.practice_id = e.practice_id AND t.id = e.patient_id
           JOIN practitioners r ON r.practice_id = e.practice_id AND r.id = e.practitioner_id
           JOIN practices p ON p.practice_id = e.practice_id
           WHERE (e.status = 'finished' OR a.status = 'completed')
             AND NOT EXISTS (SELECT FROM invoices i WHERE i.practice_id = e.practice_id AND i.encounter_id = e.id)
           ORDER BY e.started_at DESC, e.id DESC LIMIT $1"#,
        limit
    )
    .fetch_all(conn)
    .await?;
    let all = rows.first().map_or(0, |r| r.all);
    let visits = rows
        .into_iter()
        .map(|r| Unbilled {
            encounter: r.encounter,
            started_at: r.started_at,
            patient: r.patient,
            family_name: r.family_name,
            given_name: r.given_name,
            file_number: r.file_number,
            practitioner_name: r.practitioner_name,
            session_name: r.session_name,
            price: r.price,
            vendor: r.vendor,
        })
        .collect();
    Ok((visits, all))
}
