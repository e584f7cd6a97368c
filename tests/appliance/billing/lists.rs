//! The lists of invoices, and whose are in them.

use serde_json::json;

use super::{any_invoice, invoice, pay, visit, visit_in, words};
use crate::support::Clinic;

#[tokio::test]
async fn the_list_finds_by_number_and_name_filters_and_adds_up() {
    let clinic = Clinic::start().await;
    let billing = clinic.login("billing").await;
    let khumalo = clinic.patient("Khumalo", "Thandiwe").await;
    let naidoo = clinic.patient("Naidoo", "Priya").await;
    let paid = invoice(&billing, visit(&clinic, khumalo).await).await;
    invoice(&billing, visit(&clinic, naidoo).await).await;
    pay(&billing, &paid, uuid::Uuid::new_v4(), "747,50")
        .await
        .expect(303);
    let seen = async |query: &str| {
        let page = words(&billing.page(&format!("/invoices{query}")).await);
        (page.contains("INV-000001"), page.contains("INV-000002"))
    };
    assert_eq!(seen("").await, (true, true));
    assert_eq!(seen("?q=INV-000002").await, (false, true));
    assert_eq!(seen("?q=khumalo").await, (true, false));
    assert_eq!(seen("?status=paid").await, (true, false));
    assert_eq!(seen("?status=unpaid").await, (false, true));
    assert_eq!(seen("?status=part").await, (false, false));
    assert_eq!(seen("?q=zzzzzz").await, (false, false));
    let all = words(&billing.page("/invoices").await);
    assert!(
        all.contains("2 invoices") && all.contains("R 1 495,00"),
        "{all}"
    );
    billing.get("/invoices?q=%00").await.expect(422);
}

#[tokio::test]
async fn a_long_list_goes_on_without_repeating() {
    let clinic = Clinic::start().await;
    let api = clinic.program("billing").await;
    let patient = clinic.patient("Khumalo", "Thandiwe").await;
    for _ in 0..7 {
        let encounter = visit(&clinic, patient).await;
        api.post_json("/api/v1/invoices", &json!({ "encounter_id": encounter }))
            .await
            .expect(201);
    }
    let invoices = api.all("/api/v1/invoices?limit=3").await;
    let found: Vec<&str> = invoices
        .iter()
        .map(|i| i["number_text"].as_str().unwrap())
        .collect();
    assert_eq!(
        found,
        (1..=7)
            .rev()
            .map(|n| format!("INV-{n:06}"))
            .collect::<Vec<_>>()
    );
    api.get("/api/v1/invoices?limit=0").await.expect(422);
}

#[tokio::test]
async fn another_practice_finds_nothing_where_the_owner_does() {
    let clinic = Clinic::start().await;
    let reception = clinic.login("reception").await;
    let api = clinic.program("reception").await;
    let (other, other_api) = (clinic.login("other").await, clinic.program("other").await);
    let (open, open_booking) = visit_in(
        &clinic,
        &clinic.practice,
        clinic.patient("Naidoo", "Priya").await,
    )
    .await;
    let path = any_invoice(&clinic, &reception).await;
    for page in [
        path.clone(),
        format!("{path}/pdf"),
        format!("/api/v1{path}"),
    ] {
        reception.get(&page).await.expect(200);
        other.get(&page).await.expect(404);
        other_api.get(&page).await.expect(404);
    }
    pay(&other, &path, uuid::Uuid::new_v4(), "10")
        .await
        .expect(404);
    other
        .post_form("/invoices", &[("encounter_id", &open.to_string())])
        .await
        .expect(404);
    other_api
        .post_json("/api/v1/invoices", &json!({ "encounter_id": open }))
        .await
        .expect(404);
    other_api
        .post_json(
            "/api/v1/invoices",
            &json!({ "appointment_id": open_booking }),
        )
        .await
        .expect(404);
    assert!(!other.page("/invoices").await.contains("Khumalo"));
    assert_eq!(other_api.read("/api/v1/invoices").await["items"], json!([]));
    assert_eq!(
        api.read("/api/v1/invoices").await["items"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    // Control: the owner may do what was refused above.
    pay(&reception, &path, uuid::Uuid::new_v4(), "10")
        .await
        .expect(303);
    api.post_json(
        "/api/v1/invoices",
        &json!({ "appointment_id": open_booking }),
    )
    .await
    .expect(201);

    // Each practice counts for itself.
    let theirs = clinic
        .patient_in(&clinic.elsewhere, "Botha", "Pieter")
        .await;
    let first = invoice(&other, visit_in(&clinic, &clinic.elsewhere, theirs).await.0).await;
    assert!(other.page(&first).await.contains("INV-000001"));
}
