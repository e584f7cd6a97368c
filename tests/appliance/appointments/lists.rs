//! The diary and the staff over the API.

use super::{DAY, book, text};
use crate::support::Clinic;

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
