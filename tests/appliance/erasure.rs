//! Erasure: only when the law lets it, whole or completed later, and replayed after a restore.

use hadada::erasure::replay;
use hadada::ids::PatientId;
use hadada::keys::Place;
use time::Duration;

use crate::support::{Clinic, connect_as};

async fn file_number(clinic: &Clinic, id: PatientId) -> String {
    let mut db = clinic.superuser().await;
    sqlx::query_scalar("SELECT file_number FROM patients WHERE id = $1")
        .bind(id)
        .fetch_one(&mut db)
        .await
        .unwrap()
}

/// A visit so many days ago, with a note under the patient's key and words in the clear.
async fn visited(clinic: &Clinic, id: PatientId, days_ago: i64) -> uuid::Uuid {
    let (practice, now) = (&clinic.practice, clinic.app.clock.now());
    let at = now - Duration::days(days_ago);
    let (appointment, encounter) = (uuid::Uuid::now_v7(), uuid::Uuid::now_v7());
    let key = clinic.app.keys.patient(practice.id, id).await.unwrap();
    let mut tx = clinic.tx().await;
    sqlx::query("INSERT INTO appointments (practice_id, id, kind, session_type_id, starts_at, ends_at, status, reason, created_by, created_at, updated_by, updated_at)
                 VALUES ($1, $2, 'visit', $3, $4, $5, 'completed', 'knee of Thandiwe', $6, $4, $6, $4)")
        .bind(practice.id).bind(appointment).bind(practice.session_type).bind(at).bind(at + Duration::minutes(45)).bind(practice.admin)
        .execute(tx.conn()).await.unwrap();
    sqlx::query("INSERT INTO appointment_participants (practice_id, id, appointment_id, patient_id, during) VALUES ($1, gen_random_uuid(), $2, $3, 'empty')")
        .bind(practice.id).bind(appointment).bind(id).execute(tx.conn()).await.unwrap();
    sqlx::query("INSERT INTO encounters (practice_id, id, appointment_id, patient_id, practitioner_id, status, reason, started_at, finished_at)
                 VALUES ($1, $2, $3, $4, $5, 'finished', 'knee of Thandiwe', $6, $6)")
        .bind(practice.id).bind(encounter).bind(appointment).bind(id).bind(practice.physio).bind(at)
        .execute(tx.conn()).await.unwrap();
    let body = key
        .seal_text(
            Place::new("note_versions.body", encounter).version(1),
            "The knee is better.",
        )
        .unwrap();
    sqlx::query("INSERT INTO note_versions (practice_id, encounter_id, version, author_id, saved_at, body) VALUES ($1, $2, 1, $3, $4, $5)")
        .bind(practice.id).bind(encounter).bind(practice.admin).bind(at).bind(body).execute(tx.conn()).await.unwrap();
    sqlx::query("INSERT INTO allergies (practice_id, id, patient_id, substance, recorded_by, recorded_at) VALUES ($1, gen_random_uuid(), $2, 'penicillin', $3, $4)")
        .bind(practice.id).bind(id).bind(practice.admin).bind(at).execute(tx.conn()).await.unwrap();
    sqlx::query("INSERT INTO outcome_scores (practice_id, id, patient_id, measure, score, taken_on, recorded_by, recorded_at) VALUES ($1, gen_random_uuid(), $2, 'nprs', 3, $4::date, $3, $4)")
        .bind(practice.id).bind(id).bind(practice.admin).bind(at).execute(tx.conn()).await.unwrap();
    tx.commit().await.unwrap();
    encounter
}

const ASKED: &[(&str, &str)] = &[
    ("reason", "patient-asked"),
    ("reference", "requests 2026/14"),
    ("checked", "true"),
];

async fn ask(clinic: &Clinic, id: PatientId, fields: &[(&str, &str)]) -> crate::support::Reply {
    let number = file_number(clinic, id).await;
    let mut fields = fields.to_vec();
    if !fields.iter().any(|(k, _)| *k == "file_number") {
        fields.push(("file_number", &number));
    }
    clinic
        .login("admin")
        .await
        .post_form(&format!("/patients/{id}/erase"), &fields)
        .await
}

fn register(clinic: &Clinic) -> String {
    std::fs::read_to_string(&clinic.config.erasure_register).unwrap_or_default()
}

#[tokio::test]
async fn a_record_is_kept_as_long_as_it_has_to_be() {
    let clinic = Clinic::start().await;
    let id = clinic.patient("Zwane", "Thandiwe").await;
    visited(&clinic, id, 6 * 365).await;
    let admin = clinic.login("admin").await;
    let page = admin
        .get(&format!("/patients/{id}/erase"))
        .await
        .expect(200)
        .text();
    assert!(
        page.contains("has to be kept until") && page.contains("Booklet 9"),
        "{page}"
    );
    let refused = ask(&clinic, id, ASKED).await.expect(422).text();
    assert!(
        refused.contains("has to be kept until 25-Nov-2026"),
        "{refused}"
    );
    ask(&clinic, id, &[("reason", "registered-by-mistake")])
        .await
        .expect(422);
    assert_eq!(register(&clinic), "");
    clinic.advance(Duration::days(3));
    ask(&clinic, id, ASKED).await.expect(303);
}

#[tokio::test]
async fn what_is_missing_in_the_request_is_said_and_nothing_is_erased() {
    let clinic = Clinic::start().await;
    let id = clinic.patient("Zwane", "Thandiwe").await;
    visited(&clinic, id, 3000).await;
    for (fields, field) in [
        (&[("checked", "true")][..], "reason"),
        (
            &[("reason", "patient-asked"), ("checked", "true")],
            "reference",
        ),
        (
            &[
                ("reason", "patient-asked"),
                ("reference", "letter of Ms ZWANE"),
                ("checked", "true"),
            ],
            "reference",
        ),
        (&[("reason", "retention-ended")], "checked"),
        (
            &[
                ("reason", "retention-ended"),
                ("checked", "true"),
                ("file_number", "H-1"),
            ],
            "file_number",
        ),
    ] {
        let page = ask(&clinic, id, fields).await.expect(422).text();
        assert!(
            page.contains(&format!("href=\"#f-{field}\"")),
            "{field}: {page}"
        );
    }
    assert_eq!(register(&clinic), "");
    for user in ["reception", "naledi", "billing"] {
        clinic
            .login(user)
            .await
            .post_form(&format!("/patients/{id}/erase"), ASKED)
            .await
            .expect(403);
    }
    clinic
        .login("other")
        .await
        .post_form(&format!("/patients/{id}/erase"), ASKED)
        .await
        .expect(404);
    clinic
        .app
        .keys
        .patient(clinic.practice.id, id)
        .await
        .unwrap();
}

#[tokio::test]
async fn an_erased_patient_is_closed_for_good_and_the_log_says_so() {
    let clinic = Clinic::start().await;
    let id = clinic.patient("Zwane", "Thandiwe").await;
    let encounter = visited(&clinic, id, 3000).await;
    let kept = clinic.patient("Naidoo", "Priya").await;
    ask(&clinic, id, ASKED).await.expect(303);

    let mut keys = connect_as("postgres", &clinic.config.keys_database).await;
    let left: Vec<uuid::Uuid> = sqlx::query_scalar("SELECT patient_id FROM patient_keys")
        .fetch_all(&mut keys)
        .await
        .unwrap();
    assert_eq!(left, [kept.0]);
    clinic
        .app
        .keys
        .patient(clinic.practice.id, id)
        .await
        .unwrap_err();

    // Nothing readable about the patient is left anywhere in the records.
    let mut db = clinic.superuser().await;
    let tables: Vec<String> = sqlx::query_scalar("SELECT relname::text FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'").fetch_all(&mut db).await.unwrap();
    for table in tables {
        let statement = format!(
            "SELECT count(*) FROM {table} t WHERE lower(t::text) LIKE '%zwane%' OR lower(t::text) LIKE '%thandiwe%' OR t::text LIKE '%penicillin%' OR t::text LIKE '%1985-05-05%' AND t::text NOT LIKE '%Naidoo%'"
        );
        let found: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(statement))
            .fetch_one(&mut db)
            .await
            .unwrap();
        assert_eq!(found, 0, "{table}");
    }
    let notes: i64 =
        sqlx::query_scalar("SELECT count(*) FROM note_versions WHERE encounter_id = $1")
            .bind(encounter)
            .fetch_one(&mut db)
            .await
            .unwrap();
    assert_eq!(notes, 1, "sealed text stays, and opens for nobody");

    let (admin, naledi) = (clinic.login("admin").await, clinic.login("naledi").await);
    admin.get(&format!("/patients/{id}")).await.expect(410);
    naledi
        .get(&format!("/encounters/{encounter}"))
        .await
        .expect(410);
    ask(&clinic, id, ASKED).await.expect(410);
    for find in [
        "/patients/find?q=zwane",
        "/patients/find?q=erased",
        "/patients/find?q=1900-01-01",
    ] {
        assert!(
            !admin
                .get(find)
                .await
                .expect(200)
                .text()
                .contains("role=\"option\""),
            "{find}"
        );
    }
    let list = admin.get("/patients").await.expect(200).text();
    assert!(list.contains("Naidoo") && !list.contains("Erased"));
    let log = clinic.audited(id).await;
    assert!(log.contains(&"delete Patient".to_owned()), "{log:?}");

    let line: serde_json::Value = serde_json::from_str(register(&clinic).trim()).unwrap();
    assert_eq!(line["patient_id"], id.to_string());
    assert_eq!(line["reason_hash"].as_str().unwrap().len(), 64);
    assert!(
        !register(&clinic).contains("requests 2026"),
        "no words that could name somebody"
    );
}

#[tokio::test]
async fn what_a_crash_left_half_done_is_completed_at_the_next_start() {
    let clinic = Clinic::start().await;
    let id = clinic.patient("Zwane", "Thandiwe").await;
    // The machine stopped right after the register was written.
    let line = serde_json::json!({"practice_id": clinic.practice.id, "patient_id": id, "at": "2026-11-24T07:00:00Z", "by": clinic.practice.admin,
        "reason": "patient-asked", "reason_hash": "ab".repeat(32)});
    std::fs::write(&clinic.config.erasure_register, format!("{line}\n")).unwrap();
    clinic
        .login("admin")
        .await
        .get(&format!("/patients/{id}"))
        .await
        .expect(200);
    hadada::erasure::settle(
        clinic.app.clone(),
        tokio_util::sync::CancellationToken::new(),
    )
    .await;
    clinic
        .login("admin")
        .await
        .get(&format!("/patients/{id}"))
        .await
        .expect(410);
    clinic
        .app
        .keys
        .patient(clinic.practice.id, id)
        .await
        .unwrap_err();
    let deleted = |log: Vec<String>| log.iter().filter(|l| *l == "delete Patient").count();
    assert_eq!(deleted(clinic.audited(id).await), 1);
    hadada::erasure::settle(
        clinic.app.clone(),
        tokio_util::sync::CancellationToken::new(),
    )
    .await;
    assert_eq!(deleted(clinic.audited(id).await), 1, "once");
}

#[tokio::test]
async fn a_restore_replays_the_register() {
    let clinic = Clinic::start().await;
    let (id, other) = (
        clinic.patient("Zwane", "Thandiwe").await,
        clinic.patient("Naidoo", "Priya").await,
    );
    let line = |patient: PatientId| {
        serde_json::json!({"practice_id": clinic.practice.id, "patient_id": patient, "at": "2026-11-20T07:00:00Z", "by": "x",
            "reason": "retention-ended", "reason_hash": "ab".repeat(32)})
    };
    let backup = clinic.folder.path().join("restored.jsonl");
    std::fs::write(
        &backup,
        format!(
            "{}\n{}\n{}",
            line(id),
            line(PatientId::random()),
            &line(other).to_string()[..40]
        ),
    )
    .unwrap();
    let done = replay(&clinic.app, &backup).await.unwrap();
    assert_eq!(
        (done.entries, done.erased, done.known, done.unknown),
        (2, 1, 0, 1)
    );
    clinic
        .login("admin")
        .await
        .get(&format!("/patients/{id}"))
        .await
        .expect(410);
    clinic
        .login("admin")
        .await
        .get(&format!("/patients/{other}"))
        .await
        .expect(200);
    let again = replay(&clinic.app, &backup).await.unwrap();
    assert_eq!((again.erased, again.known), (0, 1));
    assert_eq!(
        register(&clinic).lines().count(),
        2,
        "the box's own register has them too"
    );
}

#[tokio::test]
async fn keys_open_on_another_box_with_the_recovery_key_only() {
    use hadada::keys::{RewrapError, rewrap};
    let clinic = Clinic::start_with(|config| {
        let secret = x25519_dalek::StaticSecret::from([7; 32]);
        std::fs::write(
            &config.recovery_key,
            x25519_dalek::PublicKey::from(&secret).to_bytes(),
        )
        .unwrap();
    })
    .await;
    let id = clinic.patient("Zwane", "Thandiwe").await;
    let sealed = clinic
        .app
        .keys
        .patient(clinic.practice.id, id)
        .await
        .unwrap()
        .seal_text(Place::new("x", id.0), "The knee.")
        .unwrap();
    let paper = |secret: [u8; 32]| {
        use sha2::{Digest, Sha256};
        let check = Sha256::new()
            .chain_update(b"hadada recovery key v1\0")
            .chain_update(secret)
            .finalize();
        hadada_audit_log::paper::encode(&[&secret[..], &check[..3]].concat())
    };
    // A new machine: another master key, another recovery key.
    let mut there = clinic.config.clone();
    for (path, byte) in [(&mut there.master_key, 1_u8), (&mut there.recovery_key, 2)] {
        *path = path.with_extension("new");
        std::fs::write(path, [byte; 32]).unwrap();
    }
    let other =
        |db| hadada::keys::Keyring::load(db, &there.master_key, &there.recovery_key).unwrap();
    other(clinic.app.db.keys.clone())
        .patient(clinic.practice.id, id)
        .await
        .unwrap_err();
    assert!(matches!(
        rewrap(&there, "7KQ2-9F4M").await,
        Err(RewrapError::Paper)
    ));
    assert!(matches!(
        rewrap(&there, &paper([8; 32])).await,
        Err(RewrapError::Other(_))
    ));
    let done = rewrap(&there, &paper([7; 32]).to_lowercase())
        .await
        .unwrap();
    assert_eq!((done.practices, done.rewrapped, done.kept), (2, 2, 0));
    let key = other(clinic.app.db.keys.clone())
        .patient(clinic.practice.id, id)
        .await
        .unwrap();
    assert_eq!(
        key.open_text(Place::new("x", id.0), &sealed).unwrap(),
        "The knee."
    );
}
