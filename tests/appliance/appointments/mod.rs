//! The diary: nobody is booked twice, changes meet each other, and everyone sees them.

mod access;
mod booking;
mod changes;
mod classes;
mod lists;
mod live;
mod waiting_list;

use hadada::ids::PatientId;
use serde_json::{Value, json};

use crate::support::{Client, Clinic};

const DAY: &str = "2026-11-24";

fn booking(clinic: &Clinic, patient: PatientId, start: &str) -> Value {
    json!({
        "patient_id": patient,
        "practitioner_id": clinic.practice.physio,
        "start": format!("{DAY}T{start}:00+02:00"),
        "duration_minutes": 45,
        "session_type": "physio-45",
    })
}

async fn book(clinic: &Clinic, client: &Client, patient: PatientId, start: &str) -> Value {
    client
        .post_json("/api/v1/appointments", &booking(clinic, patient, start))
        .await
        .expect(201)
        .json()
}

/// Why a booking clashes with another.
async fn clash(client: &Client, body: &Value) -> String {
    let reply = client.post_json("/api/v1/appointments", body).await;
    text(&reply.expect(409).json()["detail"]).to_owned()
}

/// Reception over the API, and in a browser.
async fn desk(clinic: &Clinic) -> (Client, Client) {
    (
        clinic.program("reception").await,
        clinic.login("reception").await,
    )
}

async fn two_patients(clinic: &Clinic) -> (PatientId, PatientId) {
    (
        clinic.patient("Khumalo", "Thandiwe").await,
        clinic.patient("Pretorius", "Gert").await,
    )
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}

/// How many bookings that take time the first practice has.
async fn count(clinic: &Clinic) -> i64 {
    let mut db = clinic.superuser().await;
    sqlx::query_scalar("SELECT count(*) FROM appointments WHERE practice_id = $1 AND status NOT IN ('cancelled', 'no-show')")
        .bind(clinic.practice.id)
        .fetch_one(&mut db)
        .await
        .unwrap()
}
