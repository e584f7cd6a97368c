//! Booking a time: once, for everybody and everything it takes, and only where it can be.

use serde_json::{Value, json};

use super::{DAY, book, booking, clash, count, desk, text, two_patients};
use crate::support::Clinic;

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
    let (thandiwe, gert) = two_patients(&clinic).await;
    book(&clinic, &program, thandiwe, "10:00").await;
    let mut elsewhere = booking(&clinic, thandiwe, "10:30");
    elsewhere["practitioner_id"] = json!(clinic.practice.occupational);
    let refused = clash(&program, &elsewhere).await;
    assert_eq!(
        refused,
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
    let refused = clash(&program, &elsewhere).await;
    assert_eq!(
        refused,
        "Room 1 is taken 10:00 to 10:45 by Naledi Mokoena. Choose another time."
    );
    book(&clinic, &program, gert, "10:45").await;
}

#[tokio::test]
async fn blocked_time_is_taken_and_can_be_opened() {
    let clinic = Clinic::start().await;
    let (program, reception) = desk(&clinic).await;
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
    let refused = clash(&program, &booking(&clinic, patient, "11:30")).await;
    assert_eq!(
        refused,
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
