//! Invoicing a visit, numbers without gaps, payments, the PDF, and who may see any of it.

mod api;
mod invoices;
mod lists;
mod payments;
mod pdf;

use hadada::ids::{AppointmentId, EncounterId, PatientId};
use time::Duration;

use crate::support::{Client, Clinic, Practice, Reply};

/// A visit that is over, put in by SQL: the diary and the notes have tests of their own.
async fn visit_in(
    clinic: &Clinic,
    practice: &Practice,
    patient: PatientId,
) -> (EncounterId, AppointmentId) {
    let (encounter, booking) = (EncounterId::random(), AppointmentId::random());
    let mut tx = clinic.tx_in(practice).await;
    let start = clinic.app.clock.now() - Duration::hours(2);
    sqlx::query(
        "INSERT INTO appointments (practice_id, id, kind, session_type_id, starts_at, ends_at, status, created_by, created_at, updated_by, updated_at)
         VALUES ($1, $2, 'visit', $3, $4, $5, 'completed', $6, $4, $6, $4)",
    )
    .bind(practice.id)
    .bind(booking)
    .bind(practice.session_type)
    .bind(start)
    .bind(start + Duration::minutes(45))
    .bind(practice.admin)
    .execute(tx.conn())
    .await
    .unwrap();
    sqlx::query(
        "INSERT INTO encounters (practice_id, id, appointment_id, patient_id, practitioner_id, status, started_at, finished_at)
         VALUES ($1, $2, $3, $4, $5, 'finished', $6, $7)",
    )
    .bind(practice.id)
    .bind(encounter)
    .bind(booking)
    .bind(patient)
    .bind(practice.physio)
    .bind(start)
    .bind(start + Duration::minutes(45))
    .execute(tx.conn())
    .await
    .unwrap();
    tx.commit().await.unwrap();
    (encounter, booking)
}

async fn visit(clinic: &Clinic, patient: PatientId) -> EncounterId {
    visit_in(clinic, &clinic.practice, patient).await.0
}

async fn invoice(client: &Client, encounter: EncounterId) -> String {
    let reply = client
        .post_form("/invoices", &[("encounter_id", &encounter.to_string())])
        .await
        .expect(303);
    reply.location().to_owned()
}

/// An invoice for a visit of somebody new.
pub async fn any_invoice(clinic: &Clinic, client: &Client) -> String {
    let patient = clinic.patient("Khumalo", "Thandiwe").await;
    invoice(client, visit(clinic, patient).await).await
}

async fn pay(client: &Client, invoice: &str, key: uuid::Uuid, amount: &str) -> Reply {
    let key = key.to_string();
    let fields = [
        ("idempotency_key", key.as_str()),
        ("amount", amount),
        ("method", "card"),
        ("reference", "slip 4411"),
    ];
    client
        .post_form(&format!("{invoice}/payments"), &fields)
        .await
}

async fn numbers(clinic: &Clinic) -> Vec<i32> {
    let mut db = clinic.superuser().await;
    sqlx::query_scalar("SELECT number FROM invoices WHERE practice_id = $1 ORDER BY number")
        .bind(clinic.practice.id)
        .fetch_all(&mut db)
        .await
        .unwrap()
}

/// The page's words without its marks, no-break spaces as spaces.
fn words(html: &str) -> String {
    let mut text = String::new();
    let mut inside = false;
    for c in html.chars() {
        match c {
            '<' => inside = true,
            '>' => inside = false,
            '\u{a0}' => text.push(' '),
            c if !inside => text.push(c),
            _ => {}
        }
    }
    text
}
