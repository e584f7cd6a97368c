//! A class takes as many as it has places, each of them once.

use serde_json::json;

use super::{DAY, booking, clash, desk, text};
use crate::support::Clinic;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_class_of_eight_takes_eight() {
    let clinic = Clinic::start().await;
    let (program, reception) = desk(&clinic).await;
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
    let refused = clash(&program, &visit).await;
    assert!(
        refused.contains("already booked 14:00 to 15:00"),
        "{refused}"
    );
    let came = reception
        .post_form(&url, &[("action", "came"), ("patient_id", &again)])
        .await
        .expect(200)
        .text();
    assert!(came.contains("Came"));
    let now = program
        .read(&format!("/api/v1/appointments/{}", text(&class["id"])))
        .await;
    let people = now["patients"].as_array().unwrap();
    assert_eq!(people.len(), 7);
    assert_eq!(people.iter().filter(|p| p["attended"] == true).count(), 1);
}
