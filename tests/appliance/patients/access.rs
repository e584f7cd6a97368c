//! Who may see and change a patient, and who may see the identity number.

use serde_json::json;
use uuid::Uuid;

use super::{HIM, HIS_ID, form, found, register};
use crate::support::{Clinic, key};

#[tokio::test]
async fn another_practice_finds_nothing_by_id() {
    let clinic = Clinic::start().await;
    let reception = clinic.login("reception").await;
    let patient = register(&reception, &HIM).await;
    let allergies = format!("/patients/{patient}/allergies");
    reception
        .post_form(
            &allergies,
            &[("idempotency_key", &key()), ("substance", "Latex")],
        )
        .await
        .expect(303);
    reception
        .post_form(
            &format!("/patients/{patient}/alerts"),
            &[("idempotency_key", &key()), ("alert", "Falls risk")],
        )
        .await
        .expect(303);
    let mut db = clinic.superuser().await;
    let allergy: Uuid = sqlx::query_scalar("SELECT id FROM allergies")
        .fetch_one(&mut db)
        .await
        .unwrap();
    let alert: Uuid = sqlx::query_scalar("SELECT id FROM alerts")
        .fetch_one(&mut db)
        .await
        .unwrap();
    let admin = clinic.login("admin").await;
    let (other, program) = (clinic.login("other").await, clinic.program("other").await);
    for path in ["", "/edit", "/identity", "/audit"] {
        let path = format!("/patients/{patient}{path}");
        admin.get(&path).await.expect(200);
        other.get(&path).await.expect(404);
    }
    program
        .get(&format!("/api/v1/patients/{patient}"))
        .await
        .expect(404);
    let before = clinic.audited(patient).await;
    for (path, fields) in [
        ("/edit".to_owned(), form("", &[("version", "1")])),
        (
            "/allergies".to_owned(),
            vec![
                ("idempotency_key", "0193e4b0-0000-7000-8000-000000000001"),
                ("substance", "x"),
            ],
        ),
        (
            "/allergies".to_owned(),
            vec![
                ("idempotency_key", "0193e4b0-0000-7000-8000-000000000002"),
                ("substance", ""),
            ],
        ),
        ("/allergies/none".to_owned(), vec![]),
        (format!("/allergies/{allergy}/end"), vec![]),
        (
            "/alerts".to_owned(),
            vec![
                ("idempotency_key", "0193e4b0-0000-7000-8000-000000000003"),
                ("alert", "x"),
            ],
        ),
        (format!("/alerts/{alert}/end"), vec![]),
    ] {
        other
            .post_form(&format!("/patients/{patient}{path}"), &fields)
            .await
            .expect(404);
    }
    assert_eq!(clinic.audited(patient).await, before);
    assert!(found(&other, "khumalo").await.is_empty() && found(&other, HIS_ID).await.is_empty());
    assert_eq!(program.read("/api/v1/patients").await["items"], json!([]));
    let unchanged: (i64, i64) = sqlx::query_as("SELECT (SELECT count(*) FROM allergies WHERE ended_at IS NULL), (SELECT count(*) FROM alerts WHERE ended_at IS NULL)").fetch_one(&mut db).await.unwrap();
    assert_eq!(unchanged, (1, 1));
    // Nobody at all.
    clinic
        .stranger()
        .get(&format!("/patients/{patient}"))
        .await
        .expect(303);
    clinic
        .stranger()
        .get(&format!("/api/v1/patients/{patient}"))
        .await
        .expect(401);
}

#[tokio::test]
async fn billing_may_look_but_not_change() {
    let clinic = Clinic::start().await;
    let patient = register(&clinic.login("reception").await, &[]).await;
    let billing = clinic.login("billing").await;
    let page = billing.page(&format!("/patients/{patient}")).await;
    assert!(!page.contains("/edit") && !page.contains("Add an allergy"));
    billing.get("/patients/new").await.expect(403);
    billing
        .get(&format!("/patients/{patient}/edit"))
        .await
        .expect(403);
    billing
        .get(&format!("/patients/{patient}/audit"))
        .await
        .expect(403);
    let key = key();
    billing
        .post_form("/patients", &form(&key, &[]))
        .await
        .expect(403);
    billing
        .post_form(&format!("/patients/{patient}/allergies/none"), &[])
        .await
        .expect(403);
}

#[tokio::test]
async fn the_identity_number_is_sealed_and_showing_it_is_logged() {
    let clinic = Clinic::start().await;
    let reception = clinic.login("reception").await;
    let patient = register(&reception, &HIM).await;
    assert_eq!(
        reception
            .page(&format!("/patients/{patient}/identity"))
            .await,
        "800101 5009 087"
    );
    let mut db = clinic.superuser().await;
    let reason: String = sqlx::query_scalar(
        "SELECT reason FROM audit_events WHERE patient_id = $1 ORDER BY at DESC, id DESC LIMIT 1",
    )
    .bind(patient)
    .fetch_one(&mut db)
    .await
    .unwrap();
    assert_eq!(reason, "identity number shown");
    let everything: String = sqlx::query_scalar("SELECT string_agg(p::text, '') || (SELECT string_agg(e::text, '') FROM audit_events e) FROM patients p").fetch_one(&mut db).await.unwrap();
    let hex: String = HIS_ID.bytes().map(|b| format!("{b:02x}")).collect();
    assert!(
        !everything.contains(HIS_ID) && !everything.contains(&hex),
        "the number lies open in the database"
    );
    let none = register(&reception, &[("given_name", "Lerato"), ("phone", "")]).await;
    reception
        .get(&format!("/patients/{none}/identity"))
        .await
        .expect(404);
    let page = reception.page(&format!("/patients/{none}")).await;
    assert!(!page.contains("pb-reveal"), "no number, nothing to show");
}
