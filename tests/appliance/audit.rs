//! The audit log shows every tampering, by whoever holds the database.

use futures_util::StreamExt;
use hadada::audit::{Sealer, export};
use hadada_audit_log::{Anchor, Head, Report, Verifier};
use sqlx::Executor;

use crate::support::Clinic;

async fn sealer(clinic: &Clinic) -> Sealer {
    Sealer::load(
        clinic.app.db.clone(),
        clinic.app.clock.clone(),
        &clinic.config.audit_key,
        &clinic.config.audit_head,
    )
    .unwrap()
}

/// Seals everything, in three seals.
async fn sealed_clinic() -> (Clinic, Sealer) {
    let clinic = Clinic::start().await;
    let sealer = sealer(&clinic).await;
    for name in ["Khumalo", "Naidoo", "van Wyk"] {
        clinic.patient(name, "A").await;
        clinic.patient(name, "B").await;
        assert!(sealer.seal_once().await.unwrap() >= 2);
    }
    assert_eq!(sealer.seal_once().await.unwrap(), 0);
    (clinic, sealer)
}

async fn verify(clinic: &Clinic, sealer: &Sealer) -> Report {
    let key = sealer.public_key();
    let head = Head::from_json(
        &std::fs::read_to_string(&clinic.config.audit_head).unwrap(),
        &key,
    )
    .unwrap();
    let mut verifier = Verifier::new(key, vec![Anchor::Head(head)]);
    let mut stream = Box::pin(export(
        clinic.app.db.clone(),
        clinic.app.clock.clone(),
        sealer.clone(),
    ));
    let mut text = String::new();
    while let Some(chunk) = stream.next().await {
        text.push_str(std::str::from_utf8(&chunk.unwrap()).unwrap());
    }
    for line in text.lines() {
        verifier.push_line(line);
    }
    verifier.finish()
}

#[tokio::test]
async fn an_untouched_log_is_whole() {
    let (clinic, sealer) = sealed_clinic().await;
    let report = verify(&clinic, &sealer).await;
    assert!(report.is_whole(), "{report:?}");
    clinic.patient("Late", "Comer").await;
    assert!(
        verify(&clinic, &sealer).await.is_whole(),
        "events that wait for their seal are no fault"
    );
}

#[tokio::test]
async fn every_tampering_as_superuser_is_named() {
    let newest =
        "(SELECT event_id FROM audit_leaves ORDER BY seal_seq DESC, position DESC LIMIT 1)";
    let oldest = "(SELECT event_id FROM audit_leaves ORDER BY seal_seq, position LIMIT 1)";
    let cases = [
        ("an old event changed", format!("UPDATE audit_events SET actor = 'somebody else' WHERE id = {oldest}")),
        ("the newest event changed", format!("UPDATE audit_events SET action = 'read' WHERE id = {newest}")),
        ("an old event deleted", format!("DELETE FROM audit_events WHERE id = {oldest}")),
        ("the newest event deleted with its leaf", format!("DELETE FROM audit_events WHERE id = {newest}; DELETE FROM audit_leaves WHERE event_id NOT IN (SELECT id FROM audit_events)")),
        ("two events swapped", "UPDATE audit_leaves SET position = -1 WHERE seal_seq = 1 AND position = 0; UPDATE audit_leaves SET position = 0 WHERE seal_seq = 1 AND position = 1; UPDATE audit_leaves SET position = 1 WHERE seal_seq = 1 AND position = -1".into()),
        ("the newest seal cut off", "DELETE FROM audit_leaves WHERE seal_seq = 3; DELETE FROM audit_seals WHERE seq = 3".into()),
        ("the newest seal cut off with its events", "DELETE FROM audit_events WHERE id IN (SELECT event_id FROM audit_leaves WHERE seal_seq = 3); DELETE FROM audit_leaves WHERE seal_seq = 3; DELETE FROM audit_seals WHERE seq = 3".into()),
        ("a seal in the middle removed", "DELETE FROM audit_leaves WHERE seal_seq = 2; DELETE FROM audit_seals WHERE seq = 2".into()),
        ("a seal's root changed", "UPDATE audit_seals SET root = sha256(root) WHERE seq = 2".into()),
        ("everything cut off", "DELETE FROM audit_leaves; DELETE FROM audit_seals; DELETE FROM audit_events".into()),
    ];
    for (what, tampering) in cases {
        let (clinic, sealer) = sealed_clinic().await;
        let mut db = clinic.superuser().await;
        db.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(tampering)))
            .await
            .unwrap();
        let report = verify(&clinic, &sealer).await;
        assert!(!report.is_whole(), "{what} went unseen");
        println!("{what}: {report}");
    }
}

#[tokio::test]
async fn the_web_role_can_neither_change_nor_remove_events() {
    let (clinic, _sealer) = sealed_clinic().await;
    for statement in [
        "UPDATE audit_events SET actor = 'x'",
        "DELETE FROM audit_events",
        "DELETE FROM audit_pending",
        "INSERT INTO audit_seals VALUES (99, 1, 1, ''::bytea, ''::bytea, now(), ''::bytea)",
        "DELETE FROM audit_leaves",
        "TRUNCATE audit_events",
    ] {
        let mut tx = clinic.tx().await;
        let refused = tx.conn().execute(statement).await.unwrap_err();
        assert_eq!(
            refused
                .as_database_error()
                .and_then(|e| e.code())
                .as_deref(),
            Some("42501"),
            "{statement}"
        );
    }
}

#[tokio::test]
async fn events_committed_late_are_sealed_too() {
    let clinic = Clinic::start().await;
    let sealer = sealer(&clinic).await;
    let late = clinic.tx().await;
    clinic.patient("Khumalo", "Thandiwe").await;
    sealer.seal_once().await.unwrap();
    late.commit().await.unwrap();
    assert_eq!(
        sealer.seal_once().await.unwrap(),
        1,
        "an event older than the last seal"
    );
    assert!(verify(&clinic, &sealer).await.is_whole());
}
