//! A visit is opened once, from a booking that stands, and waits for its note.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{Open, booking_in};

#[tokio::test]
async fn opening_a_visit_twice_gives_the_same_one_and_starts_the_session() {
    let open = Open::start().await;
    assert_eq!(open.status().await, "in-session");
    let again = open
        .naledi
        .post_form(
            "/encounters",
            &[("appointment_id", &open.booking.to_string())],
        )
        .await
        .expect(303);
    assert_eq!(again.location(), open.path(""));
    let program = open.clinic.program("naledi").await;
    let found = program
        .post_json(
            "/api/v1/encounters",
            &json!({ "appointment_id": open.booking }),
        )
        .await
        .expect(200)
        .json();
    assert_eq!(found["id"], open.id);
    let list = program
        .read(&format!("/api/v1/encounters?patient_id={}", open.patient))
        .await;
    assert_eq!(
        (list["items"].as_array().unwrap().len(), &list["next"]),
        (1, &Value::Null)
    );
    assert!(
        program
            .read(&format!("/api/v1/encounters?patient_id={}", Uuid::now_v7()))
            .await["items"]
            .as_array()
            .unwrap()
            .is_empty()
    );

    let page = open.naledi.get(&open.path("")).await.expect(200);
    for words in [
        "Thandiwe",
        "First visit",
        "data-sign",
        "name=\"local-key\"",
        "Left knee, week 6",
    ] {
        assert!(page.text().contains(words), "{words}");
    }
    assert!(
        page.headers["cache-control"]
            .to_str()
            .unwrap()
            .contains("no-store")
    );
    let list = open.naledi.get("/notes").await.expect(200);
    assert!(list.text().contains("Khumalo, Thandiwe") && list.text().contains(&open.id));
    let audited = open.clinic.audited(open.patient).await;
    for event in ["create Encounter", "update Appointment", "read Encounter"] {
        assert!(audited.iter().any(|e| e == event), "{event}: {audited:?}");
    }
}

#[tokio::test]
async fn the_count_of_notes_to_sign_is_the_same_on_every_page_and_only_the_therapists_own() {
    let open = Open::start().await;
    let patient = format!("/patients/{}", open.patient);
    let pages = [
        "/day".to_owned(),
        "/patients".to_owned(),
        "/patients/new".to_owned(),
        format!("{patient}/edit"),
        patient,
        "/invoices".to_owned(),
        "/notes".to_owned(),
        open.path(""),
        open.path("/print"),
    ];
    for path in &pages {
        let page = open.naledi.get(path).await.expect(200);
        assert!(
            page.text()
                .contains("</span>1<span class=\"vh\"> waiting for you"),
            "{path}"
        );
    }
    for (name, paths) in [("ayesha", &pages[..7]), ("reception", &pages[..6])] {
        let other = open.clinic.login(name).await;
        for path in paths {
            let page = other.get(path).await.expect(200);
            assert!(!page.text().contains("waiting for you"), "{name} {path}");
        }
    }
}

#[tokio::test]
async fn a_cancelled_booking_opens_no_visit_and_a_class_asks_whose() {
    let open = Open::start().await;
    let (one, two) = (
        open.clinic.patient("Naidoo", "Priya").await,
        open.clinic.patient("Botha", "Jan").await,
    );
    let class = booking_in(
        &open.clinic,
        &open.clinic.practice,
        open.clinic.practice.physio,
        &[one, two],
    )
    .await;
    let program = open.clinic.program("naledi").await;
    let unclear = program
        .post_json("/api/v1/encounters", &json!({ "appointment_id": class }))
        .await
        .expect(422);
    assert!(unclear.field_error("patient_id").contains("class"));
    program
        .post_json(
            "/api/v1/encounters",
            &json!({ "appointment_id": class, "patient_id": open.patient }),
        )
        .await
        .expect(422);
    for patient in [one, two] {
        program
            .post_json(
                "/api/v1/encounters",
                &json!({ "appointment_id": class, "patient_id": patient }),
            )
            .await
            .expect(201);
    }
    let off = booking_in(
        &open.clinic,
        &open.clinic.practice,
        open.clinic.practice.physio,
        &[one],
    )
    .await;
    let mut db = open.clinic.superuser().await;
    sqlx::query("UPDATE appointments SET status = 'cancelled' WHERE id = $1")
        .bind(off)
        .execute(&mut db)
        .await
        .unwrap();
    let refused = program
        .post_json("/api/v1/encounters", &json!({ "appointment_id": off }))
        .await
        .expect(409);
    assert!(
        refused.json()["detail"]
            .as_str()
            .unwrap()
            .contains("cancelled")
    );
}
