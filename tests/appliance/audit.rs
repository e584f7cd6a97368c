//! The audit log shows every tampering, by whoever holds the database.

use futures_util::StreamExt;
use hadada::audit::{Sealer, export};
use hadada_audit_log::{Anchor, Finding, Head, Report, Verifier};
use sqlx::{Executor, PgConnection};
use uuid::Uuid;

use crate::support::{Clinic, sql_state};

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
    let mut stream = Box::pin(export(clinic.app.db.clone(), clinic.app.clock.clone(), key));
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

/// The id of the event at a place of the log.
async fn event_at(db: &mut PgConnection, seal: i64, position: i32) -> Uuid {
    sqlx::query_scalar("SELECT event_id FROM audit_leaves WHERE seal_seq = $1 AND position = $2")
        .bind(seal)
        .bind(position)
        .fetch_one(db)
        .await
        .unwrap()
}

async fn tamper(db: &mut PgConnection, statements: impl Into<String>) {
    db.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(statements.into())))
        .await
        .unwrap();
}

/// What stands where in a log of three seals, for naming it.
struct Places {
    oldest: Uuid,
    second: Uuid,
    newest: Uuid,
    /// Events in the newest seal.
    last: i32,
}

#[tokio::test]
async fn every_tampering_as_superuser_is_named() {
    type Expected = fn(&Places, &Finding) -> bool;
    let newest =
        "(SELECT event_id FROM audit_leaves ORDER BY seal_seq DESC, position DESC LIMIT 1)";
    let oldest = "(SELECT event_id FROM audit_leaves ORDER BY seal_seq, position LIMIT 1)";
    let cut = "DELETE FROM audit_events WHERE id IN (SELECT event_id FROM audit_leaves WHERE seal_seq >= 3);
               DELETE FROM audit_leaves WHERE seal_seq >= 3; DELETE FROM audit_seals WHERE seq >= 3";
    let cases: Vec<(&str, String, Expected)> = vec![
        (
            "an old event changed",
            format!("UPDATE audit_events SET actor = 'somebody else' WHERE id = {oldest}"),
            |p, f| matches!(f, Finding::EventEdited { id, seal: 1, position: 0 } if *id == p.oldest),
        ),
        (
            "the newest event changed",
            format!("UPDATE audit_events SET action = 'read' || action WHERE id = {newest}"),
            |p, f| matches!(f, Finding::EventEdited { id, seal: 3, .. } if *id == p.newest),
        ),
        (
            "an event's time changed",
            format!("UPDATE audit_events SET at = at - interval '1 microsecond' WHERE id = {newest}"),
            |p, f| matches!(f, Finding::EventEdited { id, .. } if *id == p.newest),
        ),
        (
            "an event moved to another practice",
            format!("UPDATE audit_events SET practice_id = gen_random_uuid() WHERE id = {newest}"),
            |p, f| matches!(f, Finding::EventMissing { id, .. } if *id == p.newest),
        ),
        (
            "an event given to another patient",
            format!("UPDATE audit_events SET patient_id = gen_random_uuid() WHERE id = {newest}"),
            |p, f| matches!(f, Finding::EventEdited { id, .. } if *id == p.newest),
        ),
        (
            "an event changed with its leaf",
            format!("UPDATE audit_events SET actor = 'x' WHERE id = {oldest}; UPDATE audit_leaves SET leaf_hash = sha256(leaf_hash) WHERE event_id = {oldest}"),
            |p, f| matches!(f, Finding::EventEdited { id, .. } if *id == p.oldest),
        ),
        (
            "an old event deleted",
            format!("DELETE FROM audit_events WHERE id = {oldest}"),
            |p, f| matches!(f, Finding::EventMissing { id, seal: 1, position: 0 } if *id == p.oldest),
        ),
        (
            "the newest event deleted",
            format!("DELETE FROM audit_events WHERE id = {newest}"),
            |p, f| matches!(f, Finding::EventMissing { id, seal: 3, .. } if *id == p.newest),
        ),
        (
            "the newest event deleted with its leaf",
            format!("DELETE FROM audit_events WHERE id = {newest}; DELETE FROM audit_leaves WHERE event_id NOT IN (SELECT id FROM audit_events)"),
            |p, f| matches!(f, Finding::LeafMissing { seal: 3, position, .. } if *position == p.last),
        ),
        (
            "two events swapped",
            "UPDATE audit_leaves SET position = -1 WHERE seal_seq = 1 AND position = 0; UPDATE audit_leaves SET position = 0 WHERE seal_seq = 1 AND position = 1; UPDATE audit_leaves SET position = 1 WHERE seal_seq = 1 AND position = -1".into(),
            |p, f| matches!(f, Finding::EventMoved { id, seal: 1, position: 0 } if *id == p.second),
        ),
        (
            "an event moved to another seal",
            "UPDATE audit_leaves SET seal_seq = 3, position = 99 WHERE seal_seq = 1 AND position = 0".into(),
            |_, f| matches!(f, Finding::LeafMissing { seal: 1, position: 0, .. }),
        ),
        (
            "two seals swapped",
            "ALTER TABLE audit_leaves DROP CONSTRAINT audit_leaves_seal_seq_fkey; UPDATE audit_seals SET seq = 9 WHERE seq = 1; UPDATE audit_seals SET seq = 1 WHERE seq = 2; UPDATE audit_seals SET seq = 2 WHERE seq = 9".into(),
            |_, f| matches!(f, Finding::SealEdited { seq: 1 }),
        ),
        (
            "the newest seal cut off, its events left",
            "DELETE FROM audit_leaves WHERE seal_seq = 3; DELETE FROM audit_seals WHERE seq = 3".into(),
            |_, f| matches!(f, Finding::CutShort { head_seq: 3, seq: 2, .. }),
        ),
        (
            "the newest seal cut off with its events",
            cut.into(),
            |_, f| matches!(f, Finding::CutShort { head_seq: 3, seq: 2, .. }),
        ),
        (
            "a forged seal over a cut tail",
            format!("{cut}; INSERT INTO audit_seals SELECT 3, count, total + count, root, previous, sealed_at, signature FROM audit_seals WHERE seq = 2"),
            |_, f| matches!(f, Finding::SealEdited { seq: 3 }),
        ),
        (
            "a forged seal put before the first",
            "INSERT INTO audit_seals SELECT 0, count, total, root, previous, sealed_at, signature FROM audit_seals WHERE seq = 1".into(),
            |_, f| matches!(f, Finding::SealEdited { seq: 0 }),
        ),
        (
            "a seal in the middle removed",
            "DELETE FROM audit_leaves WHERE seal_seq = 2; DELETE FROM audit_seals WHERE seq = 2".into(),
            |_, f| matches!(f, Finding::SealMissing { seq: 2, before: 1, found: 3 }),
        ),
        (
            "the newest seal's root changed",
            "UPDATE audit_seals SET root = sha256(root) WHERE seq = 3".into(),
            |_, f| matches!(f, Finding::SealEdited { seq: 3 }),
        ),
        (
            "a seal's root changed",
            "UPDATE audit_seals SET root = sha256(root) WHERE seq = 2".into(),
            |_, f| matches!(f, Finding::SealEdited { seq: 2 }),
        ),
        (
            "a seal's time changed",
            "UPDATE audit_seals SET sealed_at = sealed_at + interval '1 day' WHERE seq = 2".into(),
            |_, f| matches!(f, Finding::SealEdited { seq: 2 }),
        ),
        (
            "everything cut off",
            "DELETE FROM audit_leaves; DELETE FROM audit_seals; DELETE FROM audit_events; DELETE FROM audit_pending".into(),
            |_, f| matches!(f, Finding::CutShort { head_seq: 3, seq: 0, .. }),
        ),
    ];
    for (what, tampering, expected) in cases {
        let (clinic, sealer) = sealed_clinic().await;
        let mut db = clinic.superuser().await;
        let last: i32 =
            sqlx::query_scalar("SELECT max(position) FROM audit_leaves WHERE seal_seq = 3")
                .fetch_one(&mut db)
                .await
                .unwrap();
        let places = Places {
            oldest: event_at(&mut db, 1, 0).await,
            second: event_at(&mut db, 1, 1).await,
            newest: event_at(&mut db, 3, last).await,
            last,
        };
        tamper(&mut db, tampering).await;
        let report = verify(&clinic, &sealer).await;
        let finding = report
            .finding
            .unwrap_or_else(|| panic!("{what} went unseen"));
        assert!(expected(&places, &finding), "{what}: {finding:?}");
    }
}

/// The superuser cuts the tail while the box runs, and the box goes on working.
#[tokio::test]
async fn a_cut_tail_stays_visible_however_long_the_box_works_on() {
    let cut = "DELETE FROM audit_events WHERE id IN (SELECT event_id FROM audit_leaves WHERE seal_seq >= 3);
               DELETE FROM audit_leaves WHERE seal_seq >= 3; DELETE FROM audit_seals WHERE seq >= 3";
    let forged = format!(
        "{cut}; INSERT INTO audit_seals SELECT g, 1, total, sha256(root), sha256(root), sealed_at, signature FROM audit_seals, generate_series(3, 5) g WHERE seq = 2"
    );
    for (what, tampering, first) in [
        ("cut", cut.to_owned(), "seal 3 is the first one missing"),
        ("cut and forged on", forged, "seal 3 was changed"),
    ] {
        let (clinic, sealer) = sealed_clinic().await;
        let head = std::fs::read_to_string(&clinic.config.audit_head).unwrap();
        let stop = tokio_util::sync::CancellationToken::new();
        let running = tokio::spawn(sealer.clone().run(stop.clone()));
        tamper(&mut clinic.superuser().await, tampering).await;

        // The clinic works on: a patient is added and looked at.
        let patient = clinic.patient("Sithole", "New").await;
        let naledi = clinic.login("naledi").await;
        naledi
            .get(&format!("/patients/{patient}"))
            .await
            .expect(200);
        let refused = sealer.seal_once().await.unwrap_err();
        let hadada::error::Error::Internal(why) = refused else {
            panic!("{refused}")
        };
        assert!(!why.to_string().is_empty());
        stop.cancel();
        running.await.unwrap();

        assert_eq!(
            std::fs::read_to_string(&clinic.config.audit_head).unwrap(),
            head,
            "{what}: the head was moved"
        );
        let state = sealer.state().await.unwrap();
        assert!(
            state.refusal.is_some() && state.unsealed >= 2,
            "{what}: {state:?}"
        );
        // What doctor reads.
        let told = serde_json::to_value(&state).unwrap();
        assert!(
            told["refusal"].is_string()
                && told["unsealed"].as_i64() >= Some(2)
                && told["sealed"].is_i64()
        );
        let report = verify(&clinic, &sealer).await;
        let finding = report.finding.as_ref().unwrap().to_string();
        assert!(finding.contains(first), "{what}: {finding}");
        assert!(report.unsealed >= 2, "the new events are not lost");
        let admin = clinic.login("admin").await;
        let page = admin.get("/admin").await.expect(200).text();
        for words in [
            "Tampered with",
            "hadadactl audit verify",
            "information officer",
            "Something below needs help now.",
        ] {
            assert!(page.contains(words), "{what}: {words} is not on the page");
        }
    }
}

#[tokio::test]
async fn the_head_outside_the_database_decides() {
    let (clinic, sealer) = sealed_clinic().await;
    let path = &clinic.config.audit_head;
    let old = std::fs::read_to_string(path).unwrap();
    clinic.patient("Sithole", "New").await;
    sealer.seal_once().await.unwrap();
    let new = std::fs::read_to_string(path).unwrap();

    // An older head, as after a power cut between seal and head: the log may be ahead of it.
    std::fs::write(path, &old).unwrap();
    assert!(verify(&clinic, &sealer).await.is_whole());
    clinic.patient("Sithole", "Newer").await;
    assert_eq!(sealer.seal_once().await.unwrap(), 1);
    assert!(verify(&clinic, &sealer).await.is_whole());

    // A newer head than the database knows, as after an old backup was put back.
    let newest = std::fs::read_to_string(path).unwrap();
    let mut db = clinic.superuser().await;
    tamper(
        &mut db,
        "DELETE FROM audit_leaves WHERE seal_seq = 5; DELETE FROM audit_seals WHERE seq = 5",
    )
    .await;
    clinic.patient("Sithole", "Newest").await;
    sealer.seal_once().await.unwrap_err();
    let finding = verify(&clinic, &sealer).await.finding.unwrap();
    assert!(
        matches!(
            finding,
            Finding::CutShort {
                head_seq: 5,
                seq: 4,
                ..
            }
        ),
        "{finding:?}"
    );
    std::fs::write(path, &new).unwrap();
    assert!(sealer.state().await.unwrap().refusal.is_none());

    // A head that somebody edited, or none at all.
    for wrong in [
        newest.replace("\"seq\":5", "\"seq\":4"),
        "{}".into(),
        String::new(),
    ] {
        std::fs::write(path, &wrong).unwrap();
        sealer.seal_once().await.unwrap_err();
        let why = sealer.state().await.unwrap().refusal.unwrap();
        assert!(why.contains("can't be trusted"), "{why}");
    }
    std::fs::remove_file(path).unwrap();
    sealer.seal_once().await.unwrap_err();
    assert!(
        !path.exists(),
        "a refused seal must not make a new head over a missing one"
    );
}

/// The power goes between the very first seal and its head: sealing goes on by itself. A head that is lost later is not made up.
#[tokio::test]
async fn a_crash_at_the_first_seal_does_not_stop_sealing() {
    let clinic = Clinic::start().await;
    let sealer = sealer(&clinic).await;
    clinic.patient("Sithole", "First").await;
    assert!(sealer.seal_once().await.unwrap() > 0);
    let path = &clinic.config.audit_head;
    std::fs::remove_file(path).unwrap();
    clinic.patient("Sithole", "Second").await;
    sealer.seal_once().await.unwrap_err();
    sealer.settle_first().await.unwrap();
    assert_eq!(sealer.seal_once().await.unwrap(), 1);
    assert!(verify(&clinic, &sealer).await.is_whole());
    std::fs::remove_file(path).unwrap();
    sealer.settle_first().await.unwrap();
    clinic.patient("Sithole", "Third").await;
    sealer.seal_once().await.unwrap_err();
}

/// What no seal covers can't be proved; it is counted, and what never gets a seal is told with its age.
#[tokio::test]
async fn events_without_a_seal_are_counted_whoever_put_them_there() {
    let (clinic, sealer) = sealed_clinic().await;
    let mut db = clinic.superuser().await;
    let frame = "INSERT INTO audit_events (practice_id, id, at, actor, action, entity)
                 SELECT practice_id, gen_random_uuid(), at - interval '1 day', 'a colleague', 'read', 'Patient' FROM audit_events LIMIT 1";
    tamper(&mut db, frame).await;
    let report = verify(&clinic, &sealer).await;
    assert_eq!(report.unsealed, 1, "an event slipped in");
    let waited = report.exported_at_micros - report.oldest_unsealed_micros.unwrap();
    assert!(waited > 60_000_000, "{waited}");
    assert_eq!(sealer.seal_once().await.unwrap(), 0, "it is never sealed");

    clinic.patient("Sithole", "New").await;
    tamper(&mut db, "DELETE FROM audit_pending").await;
    assert_eq!(sealer.seal_once().await.unwrap(), 0);
    assert_eq!(
        verify(&clinic, &sealer).await.unsealed,
        2,
        "an event taken off the list of those that wait"
    );
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
        assert_eq!(sql_state(&refused), "42501", "{statement}");
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
