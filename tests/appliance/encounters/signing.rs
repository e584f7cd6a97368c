//! Signing a note, with and without the model, and what can be done to it after.

use serde_json::json;

use crate::support::{Open, connect_as, key};

#[tokio::test]
async fn a_signed_note_never_changes_and_takes_addenda() {
    let open = Open::start().await;
    let empty = open.sign("0").await.expect(422);
    assert!(empty.text().contains("empty"));
    open.save(0, json!({ "source_text": "only my lines" }))
        .await
        .expect(200);
    open.sign("1").await.expect(422);
    open.naledi
        .post_form(
            &open.path("/addenda"),
            &[("text", "too early"), ("idempotency_key", &key())],
        )
        .await
        .expect(409);
    open.save(1, json!({ "assessment": "Quadriceps weak." }))
        .await
        .expect(200);
    let program = open.clinic.program("naledi").await;
    let sign = format!("/api/v1/encounters/{}/note/sign", open.id);
    let stale = program
        .post_json(&sign, &json!({ "version": 1 }))
        .await
        .expect(409)
        .json();
    assert_eq!(stale["theirs"]["assessment"], "Quadriceps weak.");
    let signed = program
        .post_json(&sign, &json!({ "version": 2 }))
        .await
        .expect(200)
        .json();
    assert_eq!(
        (
            signed["version"].as_i64(),
            signed["signed_by_name"].as_str(),
            signed["signed_at"].as_str()
        ),
        (
            Some(2),
            Some("Naledi Mokoena"),
            Some("2026-11-24T09:00:00+02:00")
        )
    );
    assert_eq!(
        program
            .post_json(&sign, &json!({ "version": 2 }))
            .await
            .expect(200)
            .json(),
        signed,
        "signing twice is signing once"
    );
    assert_eq!(open.status().await, "completed");

    let late = open
        .save(2, json!({ "assessment": "Changed my mind." }))
        .await
        .expect(409)
        .json();
    assert_eq!(
        (
            late["theirs"]["state"].as_str(),
            late["theirs"]["assessment"].as_str()
        ),
        (Some("signed"), Some("Quadriceps weak."))
    );
    assert!(late["detail"].as_str().unwrap().contains("addendum"));
    let page = open.naledi.page(&open.path("")).await;
    assert!(
        page.contains("Signed by Naledi Mokoena, 24-Nov-2026 09:00")
            && page.contains("Quadriceps weak.")
            && !page.contains("id=\"note\"")
    );
    assert!(
        open.naledi
            .page(&open.path("/print"))
            .await
            .contains("Quadriceps weak.")
    );

    // The database itself refuses, whatever the program does.
    let practice = open.clinic.practice.id;
    let statements = [
        "INSERT INTO note_versions SELECT practice_id, encounter_id, 3, author_id, saved_at, body FROM note_versions WHERE version = 2",
        "UPDATE note_versions SET body = body",
        "DELETE FROM note_versions",
        "UPDATE note_signatures SET signed_at = signed_at",
        "DELETE FROM note_signatures",
        "UPDATE encounters SET status = 'in-progress', finished_at = NULL",
        "UPDATE note_addenda SET body = body",
    ];
    for statement in statements {
        let mut db = connect_as("hadada_app", &open.clinic.config.records_database).await;
        sqlx::query("SELECT set_config('hadada.practice_id', $1, false)")
            .bind(practice.to_string())
            .execute(&mut db)
            .await
            .unwrap();
        let refused = sqlx::raw_sql(statement).execute(&mut db).await;
        assert!(refused.is_err(), "{statement}");
    }
    assert_eq!(open.versions().await, 2);

    let once = key();
    for _ in 0..2 {
        open.naledi
            .post_form(
                &open.path("/addenda"),
                &[
                    (
                        "text",
                        "Surgeon called: open chain from 15-Dec.\r\n<b>ok</b>",
                    ),
                    ("idempotency_key", &once),
                ],
            )
            .await
            .expect(303);
    }
    let empty = open
        .naledi
        .post_form(
            &open.path("/addenda"),
            &[("text", " "), ("idempotency_key", &key())],
        )
        .await
        .expect(422);
    assert!(empty.text().contains("The addendum is empty"));
    let page = open.naledi.page(&open.path("")).await;
    assert_eq!(
        page.matches("Surgeon called").count(),
        1,
        "sent twice, added once"
    );
    assert!(!page.contains("<b>ok</b>"));
    let audited = open.clinic.audited(open.patient).await;
    assert!(
        audited.iter().any(|e| e == "execute Note") && audited.iter().any(|e| e == "create Note"),
        "{audited:?}"
    );
}

#[tokio::test]
async fn without_the_model_the_clinic_works_on() {
    let open = Open::start().await;
    let away = open
        .naledi
        .post_json(
            &open.path("/draft"),
            &json!({ "source_text": "knee pain 3/10" }),
        )
        .await
        .expect(503)
        .json();
    assert!(
        away["detail"]
            .as_str()
            .unwrap()
            .contains("write the note yourself")
    );
    open.save(0, json!({ "subjective": "Written by hand." }))
        .await
        .expect(200);
    open.sign("1").await.expect(303);
    let mut db = open.clinic.superuser().await;
    let drafts: i64 = sqlx::query_scalar("SELECT count(*) FROM drafts")
        .fetch_one(&mut db)
        .await
        .unwrap();
    assert_eq!(drafts, 0);
}
