//! Changing a patient's details, allergies and alerts.

use serde_json::json;
use uuid::Uuid;

use super::{HIM, form, found, register};
use crate::support::{Client, Clinic, key};

#[tokio::test]
async fn two_people_changing_one_patient_see_both_sides() {
    let clinic = Clinic::start().await;
    let (reception, billing) = (clinic.login("reception").await, clinic.login("admin").await);
    let patient = register(&reception, &HIM).await;
    let path = format!("/patients/{patient}/edit");
    let edit = |version: &'static str, phone: &'static str| {
        form(
            "x",
            &[
                ("version", version),
                ("identity_kind", "sa-id"),
                ("birth_date", "01-Jan-1980"),
                ("sex", "male"),
                ("phone", phone),
            ],
        )
    };
    assert!(
        reception
            .page(&path)
            .await
            .contains("On file: 800101 •••• •••. Leave this empty to keep it.")
    );
    billing
        .post_form(&path, &edit("1", "083 555 0199"))
        .await
        .expect(303);
    let page = reception
        .post_form(&path, &edit("1", "084 555 0100"))
        .await
        .expect(409)
        .text();
    assert!(
        page.contains("084 555 0100")
            && page.contains("083 555 0199")
            && page.contains("name=\"version\" value=\"2\"")
    );
    reception
        .post_form(&path, &edit("2", "084 555 0100"))
        .await
        .expect(303);
    let page = reception.page(&format!("/patients/{patient}")).await;
    assert!(page.contains("084 555 0100"));
    assert_eq!(
        reception
            .page(&format!("/patients/{patient}/identity"))
            .await,
        "800101 5009 087",
        "an empty number keeps the one on file"
    );
    // The kept number is held against a changed birth date.
    let wrong = form(
        "x",
        &[
            ("version", "3"),
            ("identity_kind", "sa-id"),
            ("birth_date", "02-Jan-1980"),
            ("sex", "male"),
        ],
    );
    assert!(
        reception
            .post_form(&path, &wrong)
            .await
            .expect(422)
            .text()
            .contains("The birth date in the ID number")
    );
    assert_eq!(
        found(&reception, "0845550100").await,
        ["Thandiwe"],
        "search follows a change"
    );

    let mut db = clinic.superuser().await;
    let sealed: Vec<u8> = sqlx::query_scalar("SELECT change FROM audit_events WHERE patient_id = $1 AND action = 'update' ORDER BY at, id LIMIT 1").bind(patient).fetch_one(&mut db).await.unwrap();
    let change = clinic.open_change(patient, patient.0, &sealed).await;
    assert_eq!(
        change,
        json!({ "old": { "phone": "+27821234567" }, "new": { "phone": "+27835550199" } })
    );
}

#[tokio::test]
async fn allergies_are_always_in_exactly_one_of_four_states() {
    let clinic = Clinic::start().await;
    let naledi = clinic.login("naledi").await;
    let patient = register(&naledi, &[]).await;
    let page = |client: Client| async move {
        let text = client.page(&format!("/patients/{patient}")).await;
        let states: Vec<&str> = ["known", "none", "unrecorded", "unavailable"]
            .into_iter()
            .filter(|s| text.contains(&format!("class=\"pb-al\" data-state=\"{s}\"")))
            .collect();
        assert_eq!(states.len(), 1, "{states:?}");
        (states[0].to_owned(), text)
    };
    let path = format!("/patients/{patient}/allergies");
    assert_eq!(page(naledi.clone()).await.0, "unrecorded");
    naledi
        .post_form(&format!("{path}/none"), &[])
        .await
        .expect(303);
    assert_eq!(page(naledi.clone()).await.0, "none");
    let key = key();
    for _ in 0..2 {
        naledi
            .post_form(
                &path,
                &[
                    ("idempotency_key", &key),
                    ("substance", "Penicillin"),
                    ("reaction", "rash"),
                ],
            )
            .await
            .expect(303);
    }
    let (state, text) = page(naledi.clone()).await;
    assert!(state == "known" && text.contains("Penicillin") && text.contains("rash"));
    naledi
        .post_form(&format!("{path}/none"), &[])
        .await
        .expect(409);
    naledi
        .post_form(
            &path,
            &[
                ("idempotency_key", &self::key()),
                ("substance", "  "),
                ("reaction", "kept words"),
            ],
        )
        .await
        .expect(422)
        .text()
        .contains("kept words")
        .then_some(())
        .unwrap();
    let mut db = clinic.superuser().await;
    let ids: Vec<Uuid> = sqlx::query_scalar("SELECT id FROM allergies WHERE ended_at IS NULL")
        .fetch_all(&mut db)
        .await
        .unwrap();
    assert_eq!(ids.len(), 1, "sent twice, recorded once");
    for _ in 0..2 {
        naledi
            .post_form(&format!("{path}/{}/end", ids[0]), &[])
            .await
            .expect(303);
    }
    assert_eq!(
        page(naledi.clone()).await.0,
        "unrecorded",
        "after the last one ends, nobody has said there are none"
    );
    naledi
        .post_form(&format!("{path}/{}/end", Uuid::now_v7()), &[])
        .await
        .expect(404);
    sqlx::query("UPDATE patients SET allergy_state = 'known'")
        .execute(&mut db)
        .await
        .unwrap();
    assert_eq!(
        page(naledi.clone()).await.0,
        "unavailable",
        "a list that can't be read is never shown as none"
    );
    let written = clinic
        .audited(patient)
        .await
        .into_iter()
        .filter(|e| !e.starts_with("read"))
        .collect::<Vec<_>>();
    assert_eq!(
        written,
        [
            "create Patient",
            "update Patient",
            "create AllergyIntolerance",
            "delete AllergyIntolerance"
        ]
    );
}

#[tokio::test]
async fn alerts_show_until_their_last_day() {
    let clinic = Clinic::start().await;
    let reception = clinic.login("reception").await;
    let patient = register(&reception, &[]).await;
    let path = format!("/patients/{patient}/alerts");
    reception
        .post_form(
            &path,
            &[
                ("idempotency_key", &key()),
                ("alert", "Falls risk"),
                ("until", "24-Nov-2026"),
            ],
        )
        .await
        .expect(303);
    let late = reception
        .post_form(
            &path,
            &[
                ("idempotency_key", &key()),
                ("alert", "x"),
                ("until", "23-Nov-2026"),
            ],
        )
        .await
        .expect(422)
        .text();
    assert!(late.contains("Until: This day has passed."));
    let banner = |text: String| text.contains("class=\"pb-al\" data-state=\"alert\"");
    assert!(banner(
        reception.get(&format!("/patients/{patient}")).await.text()
    ));
    clinic.advance(time::Duration::hours(15) + time::Duration::minutes(1));
    let reception = clinic.login("reception").await;
    assert!(
        !banner(reception.get(&format!("/patients/{patient}")).await.text()),
        "it is the next day"
    );
    let mut db = clinic.superuser().await;
    let alert: Uuid = sqlx::query_scalar("SELECT id FROM alerts")
        .fetch_one(&mut db)
        .await
        .unwrap();
    reception
        .post_form(&format!("{path}/{alert}/end"), &[])
        .await
        .expect(303);
    assert!(
        !reception
            .get(&format!("/patients/{patient}"))
            .await
            .text()
            .contains("Falls risk")
    );
}
