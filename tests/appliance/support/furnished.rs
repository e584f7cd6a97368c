//! A clinic with something in every room, for the tests that knock at all doors.

use serde_json::json;
use uuid::Uuid;

use super::{Open, key};

/// A clinic in which every kind of thing is there once.
pub struct Furnished {
    pub open: Open,
    pub allergy: Uuid,
    pub alert: Uuid,
    pub waiting: Uuid,
    pub invoice: String,
}

impl Furnished {
    pub async fn start() -> Self {
        let open = Open::start().await;
        open.save(0, json!({ "subjective": "Better." }))
            .await
            .expect(200);
        let reception = open.clinic.login("reception").await;
        let patient = open.patient;
        for (path, field) in [("allergies", "substance"), ("alerts", "alert")] {
            let fields = [(field, "Latex"), ("idempotency_key", &key())];
            reception
                .post_form(&format!("/patients/{patient}/{path}"), &fields)
                .await
                .expect(303);
        }
        let fields = [
            ("patient_id", &*patient.to_string()),
            ("duration_minutes", "45"),
        ];
        reception
            .post_form("/waiting-list", &fields)
            .await
            .expect(201);
        let mut db = open.clinic.superuser().await;
        let mut one = async |table: &str| -> Uuid {
            sqlx::query_scalar(sqlx::AssertSqlSafe(format!("SELECT id FROM {table}")))
                .fetch_one(&mut db)
                .await
                .unwrap()
        };
        let (allergy, alert, waiting) = (
            one("allergies").await,
            one("alerts").await,
            one("waiting_list").await,
        );
        let invoice = reception
            .post_form("/invoices", &[("encounter_id", &open.id)])
            .await
            .expect(303)
            .location()
            .rsplit('/')
            .next()
            .unwrap()
            .to_owned();
        Self {
            open,
            allergy,
            alert,
            waiting,
            invoice,
        }
    }

    /// The address of a route, with the ids of what is there.
    pub fn address(&self, route: &str) -> String {
        let id = match route
            .trim_start_matches("/api/v1")
            .split('/')
            .nth(1)
            .unwrap()
        {
            "patients" => self.open.patient.to_string(),
            "appointments" => self.open.booking.to_string(),
            "encounters" => self.open.id.clone(),
            "invoices" => self.invoice.clone(),
            "waiting-list" => self.waiting.to_string(),
            "settings" => {
                let practice = &self.open.clinic.practice;
                match route.split('/').nth(2) {
                    Some("rooms") => practice.room.to_string(),
                    Some("session-types") => practice.session_type.to_string(),
                    // Nobody is booked with her.
                    Some("therapists") => practice.occupational.to_string(),
                    _ => practice.admin.to_string(),
                }
            }
            // Nobody's alert.
            "admin" => Uuid::nil().to_string(),
            _ => String::new(),
        };
        route
            .replace("{id}", &id)
            .replace("{allergy}", &self.allergy.to_string())
            .replace("{alert}", &self.alert.to_string())
            .replace("{file}", "app.css")
    }
}
