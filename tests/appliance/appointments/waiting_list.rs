//! Those who wait for a time, and what is offered to them.

use super::{DAY, count};
use crate::support::Clinic;

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
    let panels = reception.page(&format!("/day/panels?date={DAY}")).await;
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
    let panels = reception.page(&format!("/day/panels?date={DAY}")).await;
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
