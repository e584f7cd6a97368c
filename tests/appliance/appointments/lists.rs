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
    let bookings = program
        .all(&format!("/api/v1/appointments?date={DAY}&limit=2"))
        .await;
    let seen: Vec<&str> = bookings
        .iter()
        .map(|a| &text(&a["start"])[11..16])
        .collect();
    assert_eq!(seen, ["08:00", "09:00", "10:00", "11:00", "12:00"]);
    let staff = program.read("/api/v1/practitioners").await;
    assert_eq!(staff["items"][0]["name"], "Naledi Mokoena");
    let codes: Vec<_> = staff["items"][0]["session_types"]
        .as_array()
        .unwrap()
        .iter()
        .map(|t| text(&t["code"]))
        .collect();
    assert_eq!(codes, ["back-class", "physio-45"]);
}
