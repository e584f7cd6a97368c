//! What happens to a booking after it is made: moved, arrived, done, cancelled, and back.

use serde_json::json;
use time::Duration;

use super::{DAY, book, desk, text, two_patients};
use crate::support::Clinic;

#[tokio::test]
async fn a_move_is_checked_counted_and_undone() {
    let clinic = Clinic::start().await;
    let (program, reception) = desk(&clinic).await;
    let (thandiwe, gert) = two_patients(&clinic).await;
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
        .read(&format!("/api/v1/appointments/{}", text(&moving["id"])))
        .await;
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
    let (program, reception) = desk(&clinic).await;
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
    let panels = reception.page(&format!("/day/panels?date={DAY}")).await;
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
    let (program, reception) = desk(&clinic).await;
    let (thandiwe, gert) = two_patients(&clinic).await;
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
    let now = program.read(&format!("/api/v1/appointments/{id}")).await;
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
