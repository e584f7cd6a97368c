//! What is typed is kept, as it was typed, whoever else types.

use serde_json::{Value, json};

use crate::support::Open;

#[tokio::test]
async fn autosave_makes_versions_and_the_same_words_make_none() {
    let open = Open::start().await;
    let first = open.save(0, json!({ "source_text": "knee better", "subjective": "", "objective": "", "assessment": "", "plan": "" })).await.expect(200).json();
    assert_eq!(
        (first["version"].as_i64(), first["saved_at"].as_str()),
        (Some(1), Some("09:00"))
    );
    // An answer that got lost: the same words on the old version.
    assert_eq!(
        open.save(0, json!({ "source_text": "knee better" }))
            .await
            .expect(200)
            .json()["version"],
        1
    );
    assert_eq!(
        open.save(1, json!({ "plan": "ice 10 min" }))
            .await
            .expect(200)
            .json()["version"],
        2
    );
    assert_eq!(open.versions().await, 2);
    let note = open.naledi.read(&open.path("/note")).await;
    assert_eq!(
        (
            note["version"].as_i64(),
            note["source_text"].as_str(),
            note["plan"].as_str()
        ),
        (Some(2), Some("knee better"), Some("ice 10 min"))
    );
    assert_eq!(
        (note["saved_by"].as_str(), note["state"].as_str()),
        (Some("Naledi Mokoena"), Some("draft"))
    );
    let audited = open.clinic.audited(open.patient).await;
    assert_eq!(
        audited.iter().filter(|e| *e == "update Note").count(),
        2,
        "{audited:?}"
    );
}

#[tokio::test]
async fn two_tabs_get_both_sides_and_one_of_them_wins() {
    let open = Open::start().await;
    open.save(0, json!({ "subjective": "sore" }))
        .await
        .expect(200);
    let stale = open
        .save(0, json!({ "subjective": "not sore" }))
        .await
        .expect(409)
        .json();
    assert_eq!(
        (
            stale["theirs"]["version"].as_i64(),
            stale["theirs"]["subjective"].as_str()
        ),
        (Some(1), Some("sore"))
    );
    assert!(stale["detail"].as_str().unwrap().contains("Naledi Mokoena"));
    let reads = "SELECT count(*) FROM audit_events WHERE reason = 'other side of a conflict' AND action = 'read' AND patient_id = $1";
    let logged: i64 = sqlx::query_scalar(reads)
        .bind(open.patient)
        .fetch_one(&mut open.clinic.superuser().await)
        .await
        .unwrap();
    assert_eq!(logged, 1, "the other side's words were shown");
    // Ten saves of one version at once: one is the next version, nine see it.
    let texts: Vec<Value> = (0..10)
        .map(|n| json!({ "subjective": format!("tab {n}") }))
        .collect();
    let replies =
        futures_util::future::join_all(texts.iter().map(|text| open.save(1, text.clone()))).await;
    let (won, lost): (Vec<_>, Vec<_>) = replies.into_iter().partition(|r| r.status == 200);
    assert_eq!((won.len(), lost.len()), (1, 9));
    let kept = open.naledi.get(&open.path("/note")).await.json();
    for reply in lost {
        assert_eq!(reply.status, 409);
        assert_eq!(reply.json()["theirs"]["subjective"], kept["subjective"]);
    }
    assert_eq!(open.versions().await, 2);
}

#[tokio::test]
async fn text_is_kept_byte_for_byte_and_what_cannot_be_kept_is_refused_whole() {
    let open = Open::start().await;
    let text = "Ndi khou ṱoḓa u vhona dokotela, ḽeḓere, ṅwana 🦵🏾\r\n\tROM 0–118°, e\u{301} ≠ é  ";
    open.save(0, json!({ "source_text": text, "assessment": text }))
        .await
        .expect(200);
    let note = open.naledi.get(&open.path("/note")).await.json();
    assert_eq!(
        (note["source_text"].as_str(), note["assessment"].as_str()),
        (Some(text), Some(text))
    );

    let nul = open
        .save(1, json!({ "subjective": "a\u{0}b", "plan": "fine" }))
        .await
        .expect(422);
    assert!(nul.field_error("subjective").contains("U+0000"));
    let megabyte = "x".repeat(1_000_000);
    let long = open
        .save(1, json!({ "source_text": megabyte, "objective": megabyte }))
        .await
        .expect(422);
    assert!(
        long.field_error("source_text").contains("200000")
            && long.field_error("objective").contains("50000")
    );
    let huge = open
        .save(1, json!({ "source_text": "x".repeat(3_000_000) }))
        .await
        .expect(413);
    assert!(
        huge.json()["detail"]
            .as_str()
            .unwrap()
            .contains("Nothing was saved")
    );
    open.naledi
        .put_json(&open.path("/note"), &json!({ "subjective": "no version" }))
        .await
        .expect(422)
        .field_error("version");
    assert_eq!(open.versions().await, 1, "nothing was written half");

    let longest = "ṱ".repeat(200_000);
    open.save(1, json!({ "source_text": longest }))
        .await
        .expect(200);
    assert_eq!(
        open.naledi.get(&open.path("/note")).await.json()["source_text"],
        longest
    );
    // In the database there is no word of it.
    let mut db = open.clinic.superuser().await;
    let readable: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM note_versions WHERE position('dokotela'::bytea IN body) > 0",
    )
    .fetch_one(&mut db)
    .await
    .unwrap();
    assert_eq!(readable, 0);
}
