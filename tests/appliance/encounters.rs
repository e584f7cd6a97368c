//! Visits and their notes: nothing typed is lost, nothing signed changes, nobody reads what is not theirs.

use hadada::db::{Action, AuditEvent};
use hadada::ids::{AppointmentId, PatientId, PractitionerId};
use serde_json::{Value, json};
use time::Duration;
use uuid::Uuid;

use crate::support::{Client, Clinic, NOW, Practice, Reply, connect_as};

/// A booking for today, put in by SQL.
async fn booking_in(
    clinic: &Clinic,
    practice: &Practice,
    practitioner: PractitionerId,
    patients: &[PatientId],
) -> AppointmentId {
    let id = AppointmentId::random();
    let class = patients.len() > 1;
    let mut tx = clinic.tx_in(practice).await;
    let (kind, session_type) = if class {
        ("class", practice.class_type)
    } else {
        ("visit", practice.session_type)
    };
    let minutes: i64 = sqlx::query_scalar("SELECT 60 * count(*) FROM appointments")
        .fetch_one(tx.conn())
        .await
        .unwrap();
    let starts = NOW + Duration::minutes(minutes);
    sqlx::query(
        "INSERT INTO appointments (practice_id, id, kind, session_type_id, starts_at, ends_at, status, reason, created_by, created_at, updated_by, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, 'arrived', 'Left knee, week 6', $7, $8, $7, $8)",
    )
    .bind(practice.id)
    .bind(id)
    .bind(kind)
    .bind(session_type)
    .bind(starts)
    .bind(starts + Duration::minutes(45))
    .bind(practice.admin)
    .bind(NOW)
    .execute(tx.conn())
    .await
    .unwrap();
    sqlx::query("INSERT INTO appointment_participants (practice_id, id, appointment_id, practitioner_id) VALUES ($1, $2, $3, $4)")
        .bind(practice.id)
        .bind(Uuid::now_v7())
        .bind(id)
        .bind(practitioner)
        .execute(tx.conn())
        .await
        .unwrap();
    for patient in patients {
        sqlx::query("INSERT INTO appointment_participants (practice_id, id, appointment_id, patient_id) VALUES ($1, $2, $3, $4)")
            .bind(practice.id)
            .bind(Uuid::now_v7())
            .bind(id)
            .bind(patient)
            .execute(tx.conn())
            .await
            .unwrap();
    }
    tx.commit().await.unwrap();
    id
}

/// A clinic with one visit open: Naledi's, of Thandiwe Khumalo.
pub struct Open {
    pub clinic: Clinic,
    pub naledi: Client,
    pub patient: PatientId,
    pub booking: AppointmentId,
    pub id: String,
}

impl Open {
    pub async fn start() -> Self {
        let clinic = Clinic::start().await;
        let patient = clinic.patient("Khumalo", "Thandiwe").await;
        let booking = booking_in(
            &clinic,
            &clinic.practice,
            clinic.practice.physio,
            &[patient],
        )
        .await;
        let naledi = clinic.login("naledi").await;
        let opened = naledi
            .post_form("/encounters", &[("appointment_id", &booking.to_string())])
            .await
            .expect(303);
        let id = opened.location().rsplit('/').next().unwrap().to_owned();
        Self {
            clinic,
            naledi,
            patient,
            booking,
            id,
        }
    }

    pub fn path(&self, rest: &str) -> String {
        format!("/encounters/{}{rest}", self.id)
    }

    pub async fn save(&self, version: i64, fields: Value) -> Reply {
        let mut body = json!({ "version": version });
        body.as_object_mut()
            .unwrap()
            .extend(fields.as_object().unwrap().clone());
        self.naledi.put_json(&self.path("/note"), &body).await
    }

    async fn versions(&self) -> i64 {
        let mut db = self.clinic.superuser().await;
        sqlx::query_scalar("SELECT count(*) FROM note_versions")
            .fetch_one(&mut db)
            .await
            .unwrap()
    }

    async fn status(&self) -> String {
        let mut db = self.clinic.superuser().await;
        sqlx::query_scalar("SELECT status FROM appointments WHERE id = $1")
            .bind(self.booking)
            .fetch_one(&mut db)
            .await
            .unwrap()
    }
}

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
        .get(&format!("/api/v1/encounters?patient_id={}", open.patient))
        .await
        .expect(200)
        .json();
    assert_eq!(
        (list["items"].as_array().unwrap().len(), &list["next"]),
        (1, &Value::Null)
    );
    assert!(
        program
            .get(&format!("/api/v1/encounters?patient_id={}", Uuid::now_v7()))
            .await
            .expect(200)
            .json()["items"]
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
    let note = open
        .naledi
        .get(&open.path("/note"))
        .await
        .expect(200)
        .json();
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

#[tokio::test]
async fn a_signed_note_never_changes_and_takes_addenda() {
    let open = Open::start().await;
    let empty = open
        .naledi
        .post_form(&open.path("/sign"), &[("version", "0")])
        .await
        .expect(422);
    assert!(empty.text().contains("empty"));
    open.save(0, json!({ "source_text": "only my lines" }))
        .await
        .expect(200);
    open.naledi
        .post_form(&open.path("/sign"), &[("version", "1")])
        .await
        .expect(422);
    open.naledi
        .post_form(
            &open.path("/addenda"),
            &[
                ("text", "too early"),
                ("idempotency_key", &Uuid::now_v7().to_string()),
            ],
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
    let page = open.naledi.get(&open.path("")).await.expect(200).text();
    assert!(
        page.contains("Signed by Naledi Mokoena, 24-Nov-2026 09:00")
            && page.contains("Quadriceps weak.")
            && !page.contains("id=\"note\"")
    );
    assert!(
        open.naledi
            .get(&open.path("/print"))
            .await
            .expect(200)
            .text()
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

    let key = Uuid::now_v7().to_string();
    for _ in 0..2 {
        open.naledi
            .post_form(
                &open.path("/addenda"),
                &[
                    (
                        "text",
                        "Surgeon called: open chain from 15-Dec.\r\n<b>ok</b>",
                    ),
                    ("idempotency_key", &key),
                ],
            )
            .await
            .expect(303);
    }
    let empty = open
        .naledi
        .post_form(
            &open.path("/addenda"),
            &[
                ("text", " "),
                ("idempotency_key", &Uuid::now_v7().to_string()),
            ],
        )
        .await
        .expect(422);
    assert!(empty.text().contains("The addendum is empty"));
    let page = open.naledi.get(&open.path("")).await.expect(200).text();
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
async fn only_the_visits_practitioner_writes_and_only_practitioners_read() {
    let open = Open::start().await;
    open.save(0, json!({ "subjective": "Tells me in confidence." }))
        .await
        .expect(200);
    let ayesha = open.clinic.login("ayesha").await;
    let page = ayesha.get(&open.path("")).await.expect(200).text();
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
        let key = Uuid::now_v7().to_string();
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
            client.get("/api/v1/encounters").await.expect(200).json()["items"]
                .as_array()
                .unwrap()
                .is_empty()
        );
    }
}

#[tokio::test]
async fn scores_make_the_trend_and_impossible_ones_are_refused() {
    let open = Open::start().await;
    let path = open.path("/scores");
    let add = |measure: &'static str, score: &'static str, day: &'static str, key: String| {
        let (naledi, path) = (open.naledi.clone(), path.clone());
        async move {
            naledi
                .post_form(
                    &path,
                    &[
                        ("measure", measure),
                        ("score", score),
                        ("taken_on", day),
                        ("idempotency_key", &key),
                    ],
                )
                .await
        }
    };
    let key = || Uuid::now_v7().to_string();
    let once = key();
    add("lefs", "18", "2026-10-15", once.clone())
        .await
        .expect(200);
    add("lefs", "18", "2026-10-15", once).await.expect(200);
    let trend = add("lefs", "48", "2026-11-24", key())
        .await
        .expect(200)
        .text();
    assert!(
        trend.contains("+30 since first visit")
            && trend.contains("<polyline")
            && trend.contains("at least the 9"),
        "{trend}"
    );
    assert_eq!(
        trend.matches("<circle").count(),
        2,
        "the form sent twice made one score"
    );
    for (measure, score, day, words) in [
        ("lefs", "81", "2026-11-24", "between 0 and 80"),
        ("lefs", "4.5", "2026-11-24", "whole number"),
        ("nprs", "much", "2026-11-24", "number from 0 to 10"),
        ("lefs", "40", "2026-11-25", "in the future"),
        ("dash", "40", "2026-11-24", "Choose one of the measures"),
    ] {
        let refused = add(measure, score, day, key()).await.expect(422).text();
        assert!(
            refused.contains(words) && refused.contains("data-dialog-form"),
            "{words}: {refused}"
        );
    }
    assert!(
        open.naledi
            .get(&open.path(""))
            .await
            .text()
            .contains("+30 since first visit")
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
    open.naledi
        .post_form(&open.path("/sign"), &[("version", "1")])
        .await
        .expect(303);
    let mut db = open.clinic.superuser().await;
    let drafts: i64 = sqlx::query_scalar("SELECT count(*) FROM drafts")
        .fetch_one(&mut db)
        .await
        .unwrap();
    assert_eq!(drafts, 0);
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
