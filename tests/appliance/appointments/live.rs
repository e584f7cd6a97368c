//! Open pages follow the diary without being loaded again.

use futures_util::StreamExt;
use serde_json::json;

use super::{DAY, book, text};
use crate::support::Clinic;

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
