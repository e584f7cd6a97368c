//! The diary: nobody is booked twice, changes meet each other, and everyone sees them.

use futures_util::StreamExt;
use hadada::ids::PatientId;
use serde_json::{Value, json};
use time::Duration;

use crate::support::{Client, Clinic};

const DAY: &str = "2026-11-24";

fn booking(clinic: &Clinic, patient: PatientId, start: &str) -> Value {
    json!({
        "patient_id": patient,
        "practitioner_id": clinic.practice.physio,
        "start": format!("{DAY}T{start}:00+02:00"),
        "duration_minutes": 45,
        "session_type": "physio-45",
    })
}

async fn book(clinic: &Clinic, client: &Client, patient: PatientId, start: &str) -> Value {
    client
        .post_json("/api/v1/appointments", &booking(clinic, patient, start))
        .await
        .expect(201)
        .json()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}

/// How many bookings that take time the first practice has.
async fn count(clinic: &Clinic) -> i64 {
    let mut db = clinic.superuser().await;
    sqlx::query_scalar("SELECT count(*) FROM appointments WHERE practice_id = $1 AND status NOT IN ('cancelled', 'no-show')")
        .bind(clinic.practice.id)
        .fetch_one(&mut db)
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn twenty_at_once_for_one_time_make_one_booking() {
    let clinic = Clinic::start().await;
    let program = clinic.program("reception").await;
    let mut patients = Vec::new();
    for n in 0..20 {
        patients.push(clinic.patient("Khumalo", &format!("Person {n}")).await);
    }
    // Overlapping, not only equal: each starts within the other's time.
    let starts = ["10:00", "10:15", "10:30", "09:45"];
    let tries = patients
        .iter()
        .zip(starts.iter().cycle())
        .map(|(&patient, start)| {
            let (program, body) = (program.clone(), booking(&clinic, patient, start));
            tokio::spawn(async move { program.post_json("/api/v1/appointments", &body).await })
        });
    let mut made = 0;
    for reply in futures_util::future::join_all(tries.collect::<Vec<_>>()).await {
        let reply = reply.unwrap();
        match reply.status.as_u16() {
            201 => made += 1,
            409 => {
                let problem = reply.json();
                assert!(
                    text(&problem["detail"]).contains("Naledi Mokoena is taken"),
                    "{problem}"
                );
                assert!(
                    text(&problem["detail"]).contains("Khumalo, Person"),
                    "{problem}"
                );
                assert_eq!(
                    problem["theirs"]["practitioner_id"],
                    json!(clinic.practice.physio)
                );
            }
            other => panic!("{other}: {}", reply.text()),
        }
    }
    // 09:45 to 10:30 and 10:30 to 11:15 can both be had; all else overlaps one of those that were made.
    assert!((1..=2).contains(&made), "{made}");
    assert_eq!(count(&clinic).await, made);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn twenty_at_once_for_the_same_time_are_one_and_nineteen() {
    let clinic = Clinic::start().await;
    let program = clinic.program("reception").await;
    let patient = clinic.patient("Khumalo", "Thandiwe").await;
    let body = booking(&clinic, patient, "10:00");
    let tries = (0..20).map(|_| {
        let (program, body) = (program.clone(), body.clone());
        tokio::spawn(async move {
            program
                .post_json("/api/v1/appointments", &body)
                .await
                .status
                .as_u16()
        })
    });
    let mut statuses = Vec::new();
    for status in futures_util::future::join_all(tries.collect::<Vec<_>>()).await {
        statuses.push(status.unwrap());
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [vec![201], vec![409; 19]].concat());
    assert_eq!(count(&clinic).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_form_sent_twice_makes_one_booking() {
    let clinic = Clinic::start().await;
    let reception = clinic.login("reception").await;
    let patient = clinic.patient("Khumalo", "Thandiwe").await.to_string();
    let practitioner = clinic.practice.physio.to_string();
    let key = uuid::Uuid::new_v4().to_string();
    let form = |start: &'static str| {
        [
            ("patient_id", patient.as_str()),
            ("practitioner_id", practitioner.as_str()),
            ("session_type", "physio-45"),
            ("date", DAY),
            ("start", start),
            ("duration_minutes", "45"),
            ("reason", "Knee"),
            ("idempotency_key", key.as_str()),
        ]
    };
    let (first, second) = (form("10:00"), form("10:00"));
    let (first, second) = tokio::join!(
        reception.post_form("/appointments", &first),
        reception.post_form("/appointments", &second)
    );
    let (first, second) = (first.expect(201), second.expect(201));
    let id = |html: &str| html.split("data-id=\"").nth(1).unwrap()[..36].to_owned();
    assert_eq!(id(&first.text()), id(&second.text()));
    assert!(first.text().contains("<b>Khumalo</b>, Thandiwe"));
    assert_eq!(count(&clinic).await, 1);

    // A refused form does not use up its key.
    let key = uuid::Uuid::new_v4().to_string();
    let mut form = form("10:15");
    form[7] = ("idempotency_key", &key);
    let refused = reception
        .post_form("/appointments", &form)
        .await
        .expect(409);
    assert!(
        refused
            .text()
            .contains("Naledi Mokoena is taken 10:00 to 10:45: Khumalo, Thandiwe"),
        "{}",
        refused.text()
    );
    assert!(
        refused.text().contains("value=\"Knee\""),
        "what was typed is kept"
    );
    form[4] = ("start", "11:00");
    reception
        .post_form("/appointments", &form)
        .await
        .expect(201);
    assert_eq!(count(&clinic).await, 2);
}

#[tokio::test]
async fn a_room_and_a_patient_are_not_booked_twice_either() {
    let clinic = Clinic::start().await;
    let program = clinic.program("reception").await;
    let (thandiwe, gert) = (
        clinic.patient("Khumalo", "Thandiwe").await,
        clinic.patient("Pretorius", "Gert").await,
    );
    book(&clinic, &program, thandiwe, "10:00").await;
    let mut elsewhere = booking(&clinic, thandiwe, "10:30");
    elsewhere["practitioner_id"] = json!(clinic.practice.occupational);
    let reply = program
        .post_json("/api/v1/appointments", &elsewhere)
        .await
        .expect(409)
        .json();
    assert_eq!(
        reply["detail"],
        "Khumalo, Thandiwe is already booked 10:00 to 10:45 with Naledi Mokoena. Choose another time."
    );

    // Ayesha gets Naledi's room: now the room is what clashes, and whose patient is there stays unsaid.
    let mut db = clinic.superuser().await;
    sqlx::query("UPDATE practitioners SET room_id = $1 WHERE id = $2")
        .bind(clinic.practice.room)
        .bind(clinic.practice.occupational)
        .execute(&mut db)
        .await
        .unwrap();
    let mut elsewhere = booking(&clinic, gert, "10:30");
    elsewhere["practitioner_id"] = json!(clinic.practice.occupational);
    let reply = program
        .post_json("/api/v1/appointments", &elsewhere)
        .await
        .expect(409)
        .json();
    assert_eq!(
        reply["detail"],
        "Room 1 is taken 10:00 to 10:45 by Naledi Mokoena. Choose another time."
    );
    book(&clinic, &program, gert, "10:45").await;
}

#[tokio::test]
async fn a_move_is_checked_counted_and_undone() {
    let clinic = Clinic::start().await;
    let (program, reception) = (
        clinic.program("reception").await,
        clinic.login("reception").await,
    );
    let (thandiwe, gert) = (
        clinic.patient("Khumalo", "Thandiwe").await,
        clinic.patient("Pretorius", "Gert").await,
    );
    let moving = book(&clinic, &program, thandiwe, "10:00").await;
    book(&clinic, &program, gert, "11:00").await;
    let url = format!("/appointments/{}/move", text(&moving["id"]));
    let ayesha = clinic.practice.occupational.to_string();
    let to = |start: &'static str, version: &'static str, practitioner: &str| {
        vec![
            ("date".to_owned(), DAY.to_owned()),
            ("start".into(), start.into()),
            ("version".into(), version.into()),
            ("practitioner_id".into(), practitioner.to_owned()),
        ]
    };
    let send = async |fields: Vec<(String, String)>| {
        let fields: Vec<_> = fields
            .iter()
            .map(|(k, v)| (k.as_str(), v.as_str()))
            .collect();
        reception.post_form(&url, &fields).await
    };
    let card = send(to("13:00", "1", &ayesha)).await.expect(200).text();
    assert!(
        card.contains("data-start=\"13:00\"")
            && card.contains("data-version=\"2\"")
            && card.contains(&ayesha),
        "{card}"
    );

    // Somebody else still shows version 1.
    let naledi = clinic.login("naledi").await;
    let stale = naledi
        .send(json_accepting(&url, &to("14:00", "1", "")))
        .await
        .expect(409)
        .json();
    assert_eq!(
        stale["detail"],
        "Zinhle Maseko changed this booking at 09:00. It is now on 24-Nov-2026 at 13:00 with Ayesha Patel: not confirmed."
    );

    // Back to where it was: the undo of the page.
    let physio = clinic.practice.physio.to_string();
    send(to("10:00", "2", &physio)).await.expect(200);
    let taken = reception
        .send(json_accepting(&url, &to("10:30", "3", &physio)))
        .await
        .expect(409)
        .json();
    assert_eq!(
        taken["detail"],
        "Naledi Mokoena is taken 11:00 to 11:45: Pretorius, Gert. Choose another time."
    );
    let outside = reception
        .send(json_accepting(&url, &to("17:00", "3", &physio)))
        .await
        .expect(422);
    assert!(
        outside
            .field_error("start")
            .contains("Naledi Mokoena works 07:30 to 16:30 on Tuesday 24-Nov-2026")
    );
    let past = vec![
        ("date".to_owned(), "2026-11-23".to_owned()),
        ("start".into(), "10:00".into()),
        ("version".into(), "3".into()),
    ];
    assert!(
        reception
            .send(json_accepting(&url, &past))
            .await
            .expect(422)
            .field_error("start")
            .contains("is over")
    );
    let now = program
        .get(&format!("/api/v1/appointments/{}", text(&moving["id"])))
        .await
        .expect(200)
        .json();
    assert_eq!(
        (&now["start"], &now["version"]),
        (&json!("2026-11-24T10:00:00+02:00"), &json!(3)),
        "refused moves changed nothing"
    );
    assert_eq!(
        now["room_id"],
        json!(clinic.practice.room),
        "the room went away and came back with the practitioner"
    );
}

/// A form sent by a script that wants the error as JSON.
fn json_accepting(url: &str, fields: &[(String, String)]) -> http::Request<axum::body::Body> {
    let body = fields
        .iter()
        .map(|(k, v)| format!("{k}={v}"))
        .collect::<Vec<_>>()
        .join("&");
    http::Request::post(url)
        .header("content-type", "application/x-www-form-urlencoded")
        .header("accept", "application/json")
        .body(body.into())
        .unwrap()
}

#[tokio::test]
async fn a_visit_goes_through_its_states_and_a_slip_is_undone() {
    let clinic = Clinic::start().await;
    let (program, reception) = (
        clinic.program("reception").await,
        clinic.login("reception").await,
    );
    let patient = clinic.patient("Khumalo", "Thandiwe").await;
    let id = text(&book(&clinic, &program, patient, "10:00").await["id"]).to_owned();
    let url = format!("/appointments/{id}/status");
    let to = async |status: &str, version: u32| {
        reception
            .post_form(
                &url,
                &[
                    ("to", status),
                    ("version", &version.to_string()),
                    ("date", DAY),
                ],
            )
            .await
    };
    to("completed", 1).await.expect(409);
    to("no-show", 1).await.expect(409);
    let arrived = to("arrived", 1).await.expect(200).text();
    assert!(arrived.contains("Arrived just now"), "{arrived}");
    let panels = reception
        .get(&format!("/day/panels?date={DAY}"))
        .await
        .expect(200)
        .text();
    assert!(
        panels.contains("10:00 Naledi Mokoena"),
        "in the waiting room: {panels}"
    );
    to("in-session", 2).await.expect(200);
    to("completed", 3).await.expect(200);
    clinic.advance(Duration::seconds(9));
    to("in-session", 4).await.expect(200);
    to("completed", 5).await.expect(200);
    clinic.advance(Duration::minutes(1));
    let late = to("in-session", 6).await.expect(409).text();
    assert!(
        late.contains("is done, so it can&#x27;t become in session")
            || late.contains("is done, so it can't become in session"),
        "{late}"
    );
    to("teleported", 6).await.expect(422);

    // The states, with who set them, are in the audit log.
    let events = clinic.audited(patient).await;
    assert!(
        events.iter().filter(|e| *e == "update Appointment").count() == 5,
        "{events:?}"
    );
}

#[tokio::test]
async fn a_cancelled_time_is_free_and_taken_back_only_while_it_is() {
    let clinic = Clinic::start().await;
    let (program, reception) = (
        clinic.program("reception").await,
        clinic.login("reception").await,
    );
    let (thandiwe, gert) = (
        clinic.patient("Khumalo", "Thandiwe").await,
        clinic.patient("Pretorius", "Gert").await,
    );
    let id = text(&book(&clinic, &program, thandiwe, "10:00").await["id"]).to_owned();
    let url = format!("/appointments/{id}/status");
    reception
        .post_form(
            &url,
            &[
                ("to", "cancelled"),
                ("version", "1"),
                ("reason", "Patient is ill"),
            ],
        )
        .await
        .expect(200);
    let now = program
        .get(&format!("/api/v1/appointments/{id}"))
        .await
        .expect(200)
        .json();
    assert_eq!(
        (&now["status"], &now["cancel_reason"]),
        (&json!("cancelled"), &json!("Patient is ill"))
    );
    reception
        .get(&format!("/appointments/{id}/card?date={DAY}"))
        .await
        .expect(404);
    book(&clinic, &program, gert, "10:15").await;
    let refused = reception
        .post_form(&url, &[("to", "booked"), ("version", "2")])
        .await
        .expect(409)
        .text();
    assert!(refused.contains("Pretorius, Gert"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_class_of_eight_takes_eight() {
    let clinic = Clinic::start().await;
    let (program, reception) = (
        clinic.program("reception").await,
        clinic.login("reception").await,
    );
    let class = json!({ "practitioner_id": clinic.practice.physio, "start": format!("{DAY}T14:00:00+02:00"), "session_type": "back-class" });
    let class = program
        .post_json("/api/v1/appointments", &class)
        .await
        .expect(201)
        .json();
    assert_eq!(
        (&class["kind"], &class["duration_minutes"]),
        (&json!("class"), &json!(60))
    );
    let url = format!("/appointments/{}/participants", text(&class["id"]));
    let mut patients = Vec::new();
    for n in 0..12 {
        patients.push(clinic.patient("Molefe", &format!("Person {n}")).await);
    }
    let tries = patients.iter().map(|patient| {
        let (reception, url, patient) = (reception.clone(), url.clone(), patient.to_string());
        tokio::spawn(async move {
            reception
                .post_form(&url, &[("action", "add"), ("patient_id", &patient)])
                .await
        })
    });
    let (mut added, mut refused) = (Vec::new(), 0);
    for (patient, reply) in patients
        .iter()
        .zip(futures_util::future::join_all(tries.collect::<Vec<_>>()).await)
    {
        let reply = reply.unwrap();
        if reply.status == 201 {
            added.push(*patient);
        } else {
            assert!(
                reply
                    .expect(409)
                    .text()
                    .contains("All places of this class are taken")
            );
            refused += 1;
        }
    }
    assert_eq!((added.len(), refused), (8, 4));

    // One leaves, one comes in, nobody twice; and somebody in a class can't have a visit at that time.
    let one = added[0].to_string();
    reception
        .post_form(&url, &[("action", "remove"), ("patient_id", &one)])
        .await
        .expect(200);
    let again = added[1].to_string();
    let twice = reception
        .post_form(&url, &[("action", "add"), ("patient_id", &again)])
        .await
        .expect(409)
        .text();
    assert!(twice.contains("in the class already"), "{twice}");
    let mut visit = booking(&clinic, added[1], "14:30");
    visit["practitioner_id"] = json!(clinic.practice.occupational);
    let clash = program
        .post_json("/api/v1/appointments", &visit)
        .await
        .expect(409)
        .json();
    assert!(
        text(&clash["detail"]).contains("already booked 14:00 to 15:00"),
        "{clash}"
    );
    let came = reception
        .post_form(&url, &[("action", "came"), ("patient_id", &again)])
        .await
        .expect(200)
        .text();
    assert!(came.contains("Came"));
    let now = program
        .get(&format!("/api/v1/appointments/{}", text(&class["id"])))
        .await
        .expect(200)
        .json();
    let people = now["patients"].as_array().unwrap();
    assert_eq!(people.len(), 7);
    assert_eq!(people.iter().filter(|p| p["attended"] == true).count(), 1);
}

#[tokio::test]
async fn other_practices_do_not_exist() {
    let clinic = Clinic::start().await;
    let (program, reception) = (
        clinic.program("reception").await,
        clinic.login("reception").await,
    );
    let (other, other_program) = (clinic.login("other").await, clinic.program("other").await);
    let patient = clinic.patient("Khumalo", "Thandiwe").await;
    let id = text(&book(&clinic, &program, patient, "10:00").await["id"]).to_owned();
    for path in [
        format!("/appointments/{id}/card?date={DAY}"),
        format!("/appointments/{id}/cancel"),
        format!("/appointments/{id}/participants"),
        format!("/api/v1/appointments/{id}"),
    ] {
        reception.get(&path).await.expect(200);
        other.get(&path).await.expect(404);
    }
    for (path, fields) in [
        (
            "move",
            vec![("date", DAY), ("start", "11:00"), ("version", "1")],
        ),
        ("status", vec![("to", "confirmed"), ("version", "1")]),
        (
            "participants",
            vec![
                ("action", "remove"),
                ("patient_id", "01890000-0000-7000-8000-000000000000"),
            ],
        ),
    ] {
        other
            .post_form(&format!("/appointments/{id}/{path}"), &fields)
            .await
            .expect(404);
    }
    assert_eq!(
        other_program
            .get(&format!("/api/v1/appointments?date={DAY}"))
            .await
            .expect(200)
            .json()["items"],
        json!([])
    );
    let seen = other
        .get(&format!("/day?date={DAY}"))
        .await
        .expect(200)
        .text();
    assert!(!seen.contains("Khumalo"));
    assert!(
        reception
            .get(&format!("/day?date={DAY}"))
            .await
            .expect(200)
            .text()
            .contains("<b>Khumalo</b>, Thandiwe")
    );

    // Its patients and practitioners can't be named either, in any mixture.
    let theirs = clinic.patient_in(&clinic.elsewhere, "Smith", "Anne").await;
    let reply = program
        .post_json("/api/v1/appointments", &booking(&clinic, theirs, "11:00"))
        .await
        .expect(422);
    assert!(reply.field_error("patient_id").contains("no such patient"));
    let mut body = booking(&clinic, patient, "11:00");
    body["practitioner_id"] = json!(clinic.elsewhere.physio);
    assert!(
        program
            .post_json("/api/v1/appointments", &body)
            .await
            .expect(422)
            .field_error("practitioner_id")
            .contains("no such practitioner")
    );
    assert_eq!(count(&clinic).await, 1);
    assert!(
        clinic
            .audited(theirs)
            .await
            .iter()
            .all(|e| e == "execute Test" || e.starts_with("create")),
        "nothing was read of theirs"
    );
}

#[tokio::test]
async fn impossible_bookings_are_refused_by_field_and_leave_nothing() {
    let clinic = Clinic::start().await;
    let program = clinic.program("reception").await;
    let patient = clinic.patient("Khumalo", "Thandiwe").await;
    let with = |field: &str, value: Value| {
        let mut body = booking(&clinic, patient, "10:00");
        body[field] = value;
        body
    };
    for (field, value) in [
        ("start", json!("2026-02-30T10:00:00+02:00")),
        ("start", json!("2026-11-24T25:00:00+02:00")),
        ("start", json!("tomorrow")),
        ("start", json!("2026-11-24T10:07:00+02:00")),
        ("start", json!("2026-11-23T10:00:00+02:00")),
        ("start", json!("2136-11-24T10:00:00+02:00")),
        ("duration_minutes", json!(0)),
        ("duration_minutes", json!(-45)),
        ("duration_minutes", json!(485)),
        ("duration_minutes", json!(i64::MIN)),
        ("duration_minutes", json!(12)),
        ("duration_minutes", json!("long")),
        ("end", json!("2026-11-24T09:00:00+02:00")),
        ("end", json!("2026-11-24T10:00:00+02:00")),
        ("end", json!("2026-11-24T12:00:00+02:00")),
        ("patient_id", json!("482")),
        ("patient_id", json!(null)),
        ("patient_id", json!(uuid::Uuid::nil())),
        ("practitioner_id", json!("naledi")),
        ("session_type", json!("hypnosis")),
        ("session_type", json!("physio\u{0}45")),
        ("reason", json!("x".repeat(201))),
        ("reason", json!("NUL\u{0}")),
        ("price", json!(-5)),
    ] {
        let reply = program
            .post_json("/api/v1/appointments", &with(field, value.clone()))
            .await;
        assert_eq!(reply.status, 422, "{field} = {value}: {}", reply.text());
        assert!(!reply.field_error(field).is_empty());
    }
    assert_eq!(count(&clinic).await, 0);
    let reason = "Mudi o vha a tshi ḓo ṱoḓa ṅwana 🦵";
    let made = program
        .post_json("/api/v1/appointments", &with("reason", json!(reason)))
        .await
        .expect(201)
        .json();
    assert_eq!(made["reason"], reason);
    program
        .get("/api/v1/appointments?date=2026-02-30")
        .await
        .expect(422)
        .field_error("date");
    program
        .get("/api/v1/appointments?date=2026-11-24&limit=0")
        .await
        .expect(422)
        .field_error("limit");
    program
        .get(&format!("/api/v1/appointments/{}", uuid::Uuid::nil()))
        .await
        .expect(404);
    clinic
        .program("billing")
        .await
        .post_json("/api/v1/appointments", &booking(&clinic, patient, "11:00"))
        .await
        .expect(403);
}

#[tokio::test]
async fn outside_working_hours_reception_is_asked_first() {
    let clinic = Clinic::start().await;
    let reception = clinic.login("reception").await;
    let patient = clinic.patient("Khumalo", "Thandiwe").await.to_string();
    let practitioner = clinic.practice.physio.to_string();
    let mut form = vec![
        ("patient_id", patient.as_str()),
        ("practitioner_id", practitioner.as_str()),
        ("session_type", "physio-45"),
        ("date", "2026-11-28"),
        ("start", "10:00"),
        ("duration_minutes", "45"),
    ];
    let asked = reception
        .post_form("/appointments", &form)
        .await
        .expect(422)
        .text();
    assert!(
        asked.contains("Naledi Mokoena does not work on Saturday 28-Nov-2026"),
        "{asked}"
    );
    assert!(asked.contains("name=\"outside_hours\""));
    form.push(("outside_hours", "true"));
    reception
        .post_form("/appointments", &form)
        .await
        .expect(201);
}

#[tokio::test]
async fn blocked_time_is_taken_and_can_be_opened() {
    let clinic = Clinic::start().await;
    let (program, reception) = (
        clinic.program("reception").await,
        clinic.login("reception").await,
    );
    let patient = clinic.patient("Khumalo", "Thandiwe").await;
    let practitioner = clinic.practice.physio.to_string();
    let form = [
        ("practitioner_id", practitioner.as_str()),
        ("date", DAY),
        ("start", "12:00"),
        ("duration_minutes", "60"),
        ("reason", "Lunch"),
    ];
    let block = reception
        .post_form("/appointments/blocks", &form)
        .await
        .expect(201)
        .text();
    let id = &block.split("data-id=\"").nth(1).unwrap()[..36];
    let clash = program
        .post_json("/api/v1/appointments", &booking(&clinic, patient, "11:30"))
        .await
        .expect(409)
        .json();
    assert_eq!(
        clash["detail"],
        "Naledi Mokoena is not available 12:00 to 13:00: Lunch. Choose another time."
    );
    reception
        .post_form(
            &format!("/appointments/{id}/status"),
            &[("to", "cancelled"), ("version", "1")],
        )
        .await
        .expect(200);
    book(&clinic, &program, patient, "11:30").await;
}

#[tokio::test]
async fn the_waiting_list_offers_what_fits_and_books_it_once() {
    let clinic = Clinic::start().await;
    let reception = clinic.login("reception").await;
    let patient = clinic.patient("Dube", "Nomsa").await.to_string();
    let form = [
        ("patient_id", patient.as_str()),
        ("with", "discipline:physiotherapy"),
        ("duration_minutes", "30"),
        ("reason", "Acute lower back"),
        ("not_after", "12:00"),
        ("priority", "1"),
    ];
    reception
        .post_form("/waiting-list", &form)
        .await
        .expect(201);
    let panels = reception
        .get(&format!("/day/panels?date={DAY}"))
        .await
        .expect(200)
        .text();
    assert!(panels.contains("Offer 09:00 Naledi"), "{panels}");
    assert!(
        panels.contains("Before 12:00, any physiotherapist"),
        "{panels}"
    );
    let entry = &panels.split("data-offer=\"").nth(1).unwrap()[..36];
    let practitioner = clinic.practice.physio.to_string();
    let offer = [
        ("date", DAY),
        ("start", "09:00"),
        ("practitioner_id", practitioner.as_str()),
    ];
    let card = reception
        .post_form(&format!("/waiting-list/{entry}/book"), &offer)
        .await
        .expect(201)
        .text();
    assert!(card.contains("Acute lower back"));
    reception
        .post_form(&format!("/waiting-list/{entry}/book"), &offer)
        .await
        .expect(404);
    assert_eq!(count(&clinic).await, 1);

    // Undone at once, she waits again.
    let id = &card.split("data-id=\"").nth(1).unwrap()[..36];
    reception
        .post_form(
            &format!("/appointments/{id}/status"),
            &[
                ("to", "cancelled"),
                ("version", "1"),
                ("reason", "Booked by mistake"),
            ],
        )
        .await
        .expect(200);
    let panels = reception
        .get(&format!("/day/panels?date={DAY}"))
        .await
        .expect(200)
        .text();
    assert!(panels.contains("Offer 09:00 Naledi"), "{panels}");
    reception
        .post_form(&format!("/waiting-list/{entry}/remove"), &[])
        .await
        .expect(204);
    assert!(
        reception
            .get("/day/panels")
            .await
            .text()
            .contains("Nobody is on the list")
    );
    reception
        .post_form(
            "/waiting-list",
            &[("patient_id", "x"), ("duration_minutes", "7")],
        )
        .await
        .expect(422);
}

#[tokio::test]
async fn two_open_pages_see_a_change_within_a_second() {
    let clinic = Clinic::start().await;
    let listening = tokio::spawn(hadada::web::listen(clinic.app.clone()));
    let (program, naledi, ayesha, other) = (
        clinic.program("reception").await,
        clinic.login("naledi").await,
        clinic.login("ayesha").await,
        clinic.login("other").await,
    );
    let patient = clinic.patient("Khumalo", "Thandiwe").await;
    let mut open = Vec::new();
    for client in [&naledi, &ayesha, &other] {
        open.push(client.open("/events").await.into_body().into_data_stream());
    }
    // The hub is listening once a change of its own arrives; a notification before that would be lost.
    let mut db = clinic.superuser().await;
    loop {
        let heard: i64 = sqlx::query_scalar("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%'").fetch_one(&mut db).await.unwrap();
        if heard > 0 {
            break;
        }
        tokio::task::yield_now().await;
    }
    let id = text(&book(&clinic, &program, patient, "10:00").await["id"]).to_owned();
    let [first, second, third] = &mut open[..] else {
        unreachable!()
    };
    for stream in [first, second] {
        let seen = tokio::time::timeout(std::time::Duration::from_secs(1), async {
            while let Some(chunk) = stream.next().await {
                let text = String::from_utf8_lossy(&chunk.unwrap()).into_owned();
                if text.contains("event: appointment") && text.contains(&id) {
                    return true;
                }
            }
            false
        });
        assert!(seen.await.expect("a second is enough"));
    }
    // The other practice hears of its own changes only: its next event is its own booking, not ours.
    let theirs = clinic.patient_in(&clinic.elsewhere, "Smith", "Anne").await;
    let body = json!({
        "patient_id": theirs, "practitioner_id": clinic.elsewhere.physio, "start": format!("{DAY}T10:00:00+02:00"), "session_type": "physio-45",
    });
    let own = clinic
        .program("other")
        .await
        .post_json("/api/v1/appointments", &body)
        .await
        .expect(201)
        .json();
    let mut heard = String::new();
    while !heard.contains(text(&own["id"])) {
        let chunk = tokio::time::timeout(std::time::Duration::from_secs(1), third.next())
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        heard.push_str(&String::from_utf8_lossy(&chunk));
    }
    assert!(!heard.contains(&id), "{heard}");
    clinic.app.events.close();
    listening.await.unwrap();
}

#[tokio::test]
async fn looking_at_the_diary_is_in_the_audit_log() {
    let clinic = Clinic::start().await;
    let (program, billing) = (
        clinic.program("reception").await,
        clinic.login("billing").await,
    );
    let patient = clinic.patient("Khumalo", "Thandiwe").await;
    book(&clinic, &program, patient, "10:00").await;
    let before = clinic.audited(patient).await.len();
    let page = billing
        .get(&format!("/day?date={DAY}"))
        .await
        .expect(200)
        .text();
    assert!(
        page.contains("<b>Khumalo</b>, Thandiwe")
            && !page.contains("New appointment</span></button>")
    );
    billing
        .get(&format!("/day?date={DAY}&view=list"))
        .await
        .expect(200);
    program
        .get(&format!(
            "/api/v1/appointments?date={DAY}&practitioner_id={}",
            clinic.practice.physio
        ))
        .await
        .expect(200);
    let after = clinic.audited(patient).await;
    assert_eq!(
        after[before..],
        ["read Appointment", "read Appointment", "read Appointment"]
    );

    // What was booked is in the log too, and opens with the patient's key only.
    let mut db = clinic.superuser().await;
    let (id, change): (uuid::Uuid, Vec<u8>) =
        sqlx::query_as("SELECT entity_id, change FROM audit_events WHERE patient_id = $1 AND action = 'create' AND change IS NOT NULL").bind(patient).fetch_one(&mut db).await.unwrap();
    let key = clinic
        .app
        .keys
        .patient(clinic.practice.id, patient)
        .await
        .unwrap();
    let change: Value = key
        .open_json(hadada::keys::Place::new("audit_events.change", id), &change)
        .unwrap();
    assert_eq!(change["new"]["start"], "2026-11-24T10:00:00+02:00");
}

#[tokio::test]
async fn lists_come_in_pages() {
    let clinic = Clinic::start().await;
    let program = clinic.program("reception").await;
    for (n, start) in ["08:00", "09:00", "10:00", "11:00", "12:00"]
        .iter()
        .enumerate()
    {
        let patient = clinic.patient("Khumalo", &format!("Person {n}")).await;
        book(&clinic, &program, patient, start).await;
    }
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = program
            .get(&format!("/api/v1/appointments?date={DAY}&limit=2{cursor}"))
            .await
            .expect(200)
            .json();
        seen.extend(
            page["items"]
                .as_array()
                .unwrap()
                .iter()
                .map(|a| text(&a["start"])[11..16].to_owned()),
        );
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seen, ["08:00", "09:00", "10:00", "11:00", "12:00"]);
    let staff = program
        .get("/api/v1/practitioners")
        .await
        .expect(200)
        .json();
    assert_eq!(staff["items"][0]["name"], "Naledi Mokoena");
    let codes: Vec<_> = staff["items"][0]["session_types"]
        .as_array()
        .unwrap()
        .iter()
        .map(|t| text(&t["code"]))
        .collect();
    assert_eq!(codes, ["back-class", "physio-45"]);
}
