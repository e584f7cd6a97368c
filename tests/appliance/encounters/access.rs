//! Who may write a note, who may read it, and to whom it does not exist.

use hadada::db::{Action, AuditEvent};
use serde_json::json;

use crate::support::{Open, key};

#[tokio::test]
async fn only_the_visits_practitioner_writes_and_only_practitioners_read() {
    let open = Open::start().await;
    open.save(0, json!({ "subjective": "Tells me in confidence." }))
        .await
        .expect(200);
    let ayesha = open.clinic.login("ayesha").await;
    let page = ayesha.page(&open.path("")).await;
    assert!(
        page.contains("Tells me in confidence.")
            && page.contains("is writing this note")
            && !page.contains("id=\"note\"")
    );
    let refused = ayesha
        .put_json(
            &open.path("/note"),
            &json!({ "version": 1, "subjective": "mine" }),
        )
        .await
        .expect(403)
        .json();
    assert!(
        refused["detail"]
            .as_str()
            .unwrap()
            .contains("Naledi Mokoena")
    );
    ayesha
        .post_form(&open.path("/sign"), &[("version", "1")])
        .await
        .expect(403);
    ayesha
        .post_json(&open.path("/draft"), &json!({ "source_text": "knee pain" }))
        .await
        .expect(403);
    for username in ["reception", "billing", "admin"] {
        let user = open.clinic.login(username).await;
        for path in [
            open.path(""),
            open.path("/note"),
            open.path("/print"),
            "/notes".into(),
        ] {
            let reply = user.get(&path).await.expect(403);
            assert!(
                reply.text().contains("may not read clinical notes")
                    && !reply.text().contains("confidence"),
                "{username} {path}"
            );
        }
        user.post_form(
            "/encounters",
            &[("appointment_id", &open.booking.to_string())],
        )
        .await
        .expect(403);
        let program = open.clinic.program(username).await;
        program
            .get(&format!("/api/v1/encounters/{}/note", open.id))
            .await
            .expect(403);
    }
    let audited = open.clinic.audited(open.patient).await;
    assert!(
        audited.iter().filter(|e| *e == "refuse Note").count() >= 12,
        "{audited:?}"
    );
    assert_eq!(open.versions().await, 1);
}

#[tokio::test]
async fn another_practice_finds_nothing() {
    let open = Open::start().await;
    open.save(0, json!({ "subjective": "ours" }))
        .await
        .expect(200);
    for client in [
        open.clinic.login("other-therapist").await,
        open.clinic.program("other-therapist").await,
    ] {
        for path in ["", "/note", "/print", "/scores/new"] {
            client.get(&open.path(path)).await.expect(404);
        }
        client
            .put_json(
                &open.path("/note"),
                &json!({ "version": 1, "subjective": "theirs" }),
            )
            .await
            .expect(404);
        client
            .post_json(
                &open.path("/draft"),
                &json!({ "source_text": "knee pain 3/10" }),
            )
            .await
            .expect(404);
        client
            .post_form(&open.path("/sign"), &[("version", "1")])
            .await
            .expect(404);
        let key = key();
        client
            .post_form(
                &open.path("/addenda"),
                &[("text", "x"), ("idempotency_key", &key)],
            )
            .await
            .expect(404);
        client
            .post_form(
                &open.path("/scores"),
                &[
                    ("measure", "lefs"),
                    ("score", "4"),
                    ("taken_on", "2026-11-24"),
                    ("idempotency_key", &key),
                ],
            )
            .await
            .expect(404);
        client
            .post_form(
                "/encounters",
                &[("appointment_id", &open.booking.to_string())],
            )
            .await
            .expect(404);
        for path in ["", "/note"] {
            client
                .get(&format!("/api/v1/encounters/{}{path}", open.id))
                .await
                .expect(404);
        }
        client
            .post_json(
                &format!("/api/v1/encounters/{}/draft", open.id),
                &json!({ "source_text": "knee pain" }),
            )
            .await
            .expect(404);
        client
            .post_json(
                &format!("/api/v1/encounters/{}/note/sign", open.id),
                &json!({ "version": 1 }),
            )
            .await
            .expect(404);
        assert!(
            client.read("/api/v1/encounters").await["items"]
                .as_array()
                .unwrap()
                .is_empty()
        );
    }
}

#[tokio::test]
async fn the_notes_text_is_in_no_audit_reason() {
    let open = Open::start().await;
    open.save(0, json!({ "subjective": "zebrafish" }))
        .await
        .expect(200);
    let mut tx = open.clinic.tx().await;
    tx.record(AuditEvent::new(Action::Read, "Test"))
        .await
        .unwrap();
    let told: i64 = sqlx::query_scalar("SELECT count(*) FROM audit_events WHERE reason LIKE '%zebrafish%' OR position('zebrafish'::bytea IN coalesce(change, '')) > 0")
        .fetch_one(tx.conn())
        .await
        .unwrap();
    assert_eq!(told, 0);
}
