//! Whose diary it is, and the log of who looked at it.

use serde_json::json;

use super::{DAY, book, booking, count, desk, text};
use crate::support::Clinic;

#[tokio::test]
async fn other_practices_do_not_exist() {
    let clinic = Clinic::start().await;
    let (program, reception) = desk(&clinic).await;
    let (other, other_program) = (clinic.login("other").await, clinic.program("other").await);
    let patient = clinic.patient("Khumalo", "Thandiwe").await;
    let id = text(&book(&clinic, &program, patient, "10:00").await["id"]).to_owned();
    for path in [
        format!("/appointments/{id}/card?date={DAY}"),
        format!("/appointments/{id}/cancel"),
        format!("/appointments/{id}/participants"),
        format!("/api/v1/appointments/{id}"),
    ] {
        reception.get(&path).await.expect(200);
        other.get(&path).await.expect(404);
    }
    for (path, fields) in [
        (
            "move",
            vec![("date", DAY), ("start", "11:00"), ("version", "1")],
        ),
        ("status", vec![("to", "confirmed"), ("version", "1")]),
        (
            "participants",
            vec![
                ("action", "remove"),
                ("patient_id", "01890000-0000-7000-8000-000000000000"),
            ],
        ),
    ] {
        other
            .post_form(&format!("/appointments/{id}/{path}"), &fields)
            .await
            .expect(404);
    }
    assert_eq!(
        other_program
            .read(&format!("/api/v1/appointments?date={DAY}"))
            .await["items"],
        json!([])
    );
    let seen = other.page(&format!("/day?date={DAY}")).await;
    assert!(!seen.contains("Khumalo"));
    assert!(
        reception
            .page(&format!("/day?date={DAY}"))
            .await
            .contains("<b>Khumalo</b>, Thandiwe")
    );

    // Its patients and practitioners can't be named either, in any mixture.
    let theirs = clinic.patient_in(&clinic.elsewhere, "Smith", "Anne").await;
    let reply = program
        .post_json("/api/v1/appointments", &booking(&clinic, theirs, "11:00"))
        .await
        .expect(422);
    assert!(reply.field_error("patient_id").contains("no such patient"));
    let mut body = booking(&clinic, patient, "11:00");
    body["practitioner_id"] = json!(clinic.elsewhere.physio);
    assert!(
        program
            .post_json("/api/v1/appointments", &body)
            .await
            .expect(422)
            .field_error("practitioner_id")
            .contains("no such practitioner")
    );
    assert_eq!(count(&clinic).await, 1);
    assert!(
        clinic
            .audited(theirs)
            .await
            .iter()
            .all(|e| e == "execute Test" || e.starts_with("create")),
        "nothing was read of theirs"
    );
}

#[tokio::test]
async fn looking_at_the_diary_is_in_the_audit_log() {
    let clinic = Clinic::start().await;
    let (program, billing) = (
        clinic.program("reception").await,
        clinic.login("billing").await,
    );
    let patient = clinic.patient("Khumalo", "Thandiwe").await;
    book(&clinic, &program, patient, "10:00").await;
    let before = clinic.audited(patient).await.len();
    let page = billing.page(&format!("/day?date={DAY}")).await;
    assert!(
        page.contains("<b>Khumalo</b>, Thandiwe")
            && !page.contains("New appointment</span></button>")
    );
    billing
        .get(&format!("/day?date={DAY}&view=list"))
        .await
        .expect(200);
    program
        .get(&format!(
            "/api/v1/appointments?date={DAY}&practitioner_id={}",
            clinic.practice.physio
        ))
        .await
        .expect(200);
    let after = clinic.audited(patient).await;
    assert_eq!(
        after[before..],
        ["read Appointment", "read Appointment", "read Appointment"]
    );

    // What was booked is in the log too, and opens with the patient's key only.
    let mut db = clinic.superuser().await;
    let (id, change): (uuid::Uuid, Vec<u8>) =
        sqlx::query_as("SELECT entity_id, change FROM audit_events WHERE patient_id = $1 AND action = 'create' AND change IS NOT NULL").bind(patient).fetch_one(&mut db).await.unwrap();
    let change = clinic.open_change(patient, id, &change).await;
    assert_eq!(change["new"]["start"], "2026-11-24T10:00:00+02:00");
}
