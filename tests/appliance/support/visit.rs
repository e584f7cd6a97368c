//! A visit that is open, for the rooms that start from one.

use hadada::ids::{AppointmentId, PatientId, PractitionerId};
use serde_json::{Value, json};
use time::Duration;
use uuid::Uuid;

use super::{Client, Clinic, NOW, Practice, Reply};

/// A clinic with one visit open: Naledi's, of Thandiwe Khumalo.
pub struct Open {
    pub clinic: Clinic,
    pub naledi: Client,
    pub patient: PatientId,
    pub booking: AppointmentId,
    pub id: String,
}

impl Open {
    pub async fn start() -> Self {
        let clinic = Clinic::start().await;
        let patient = clinic.patient("Khumalo", "Thandiwe").await;
        let booking = booking_in(
            &clinic,
            &clinic.practice,
            clinic.practice.physio,
            &[patient],
        )
        .await;
        let naledi = clinic.login("naledi").await;
        let opened = naledi
            .post_form("/encounters", &[("appointment_id", &booking.to_string())])
            .await
            .expect(303);
        let id = opened.location().rsplit('/').next().unwrap().to_owned();
        Self {
            clinic,
            naledi,
            patient,
            booking,
            id,
        }
    }

    pub fn path(&self, rest: &str) -> String {
        format!("/encounters/{}{rest}", self.id)
    }

    pub async fn save(&self, version: i64, fields: Value) -> Reply {
        let mut body = json!({ "version": version });
        body.as_object_mut()
            .unwrap()
            .extend(fields.as_object().unwrap().clone());
        self.naledi.put_json(&self.path("/note"), &body).await
    }

    pub async fn sign(&self, version: &str) -> Reply {
        let fields = [("version", version)];
        self.naledi.post_form(&self.path("/sign"), &fields).await
    }

    pub async fn versions(&self) -> i64 {
        let mut db = self.clinic.superuser().await;
        sqlx::query_scalar("SELECT count(*) FROM note_versions")
            .fetch_one(&mut db)
            .await
            .unwrap()
    }

    pub async fn status(&self) -> String {
        let mut db = self.clinic.superuser().await;
        sqlx::query_scalar("SELECT status FROM appointments WHERE id = $1")
            .bind(self.booking)
            .fetch_one(&mut db)
            .await
            .unwrap()
    }
}

/// A booking for today, put in by SQL.
pub async fn booking_in(
    clinic: &Clinic,
    practice: &Practice,
    practitioner: PractitionerId,
    patients: &[PatientId],
) -> AppointmentId {
    let id = AppointmentId::random();
    let class = patients.len() > 1;
    let mut tx = clinic.tx_in(practice).await;
    let (kind, session_type) = if class {
        ("class", practice.class_type)
    } else {
        ("visit", practice.session_type)
    };
    let minutes: i64 = sqlx::query_scalar("SELECT 60 * count(*) FROM appointments")
        .fetch_one(tx.conn())
        .await
        .unwrap();
    let starts = NOW + Duration::minutes(minutes);
    sqlx::query(
        "INSERT INTO appointments (practice_id, id, kind, session_type_id, starts_at, ends_at, status, reason, created_by, created_at, updated_by, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, 'arrived', 'Left knee, week 6', $7, $8, $7, $8)",
    )
    .bind(practice.id)
    .bind(id)
    .bind(kind)
    .bind(session_type)
    .bind(starts)
    .bind(starts + Duration::minutes(45))
    .bind(practice.admin)
    .bind(NOW)
    .execute(tx.conn())
    .await
    .unwrap();
    sqlx::query("INSERT INTO appointment_participants (practice_id, id, appointment_id, practitioner_id) VALUES ($1, $2, $3, $4)")
        .bind(practice.id)
        .bind(Uuid::now_v7())
        .bind(id)
        .bind(practitioner)
        .execute(tx.conn())
        .await
        .unwrap();
    for patient in patients {
        sqlx::query("INSERT INTO appointment_participants (practice_id, id, appointment_id, patient_id) VALUES ($1, $2, $3, $4)")
            .bind(practice.id)
            .bind(Uuid::now_v7())
            .bind(id)
            .bind(patient)
            .execute(tx.conn())
            .await
            .unwrap();
    }
    tx.commit().await.unwrap();
    id
}
