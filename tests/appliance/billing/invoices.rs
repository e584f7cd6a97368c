//! A visit becomes one invoice, with the right price and the next number.

use std::collections::BTreeSet;

use serde_json::json;

use super::{invoice, numbers, visit, words};
use crate::support::{Clinic, connect_as};

#[tokio::test]
async fn a_visit_becomes_an_invoice_with_its_price_vat_and_number() {
    let clinic = Clinic::start().await;
    let patient = clinic.patient("Khumalo", "Thandiwe").await;
    let encounter = visit(&clinic, patient).await;
    let reception = clinic.login("reception").await;

    let list = reception.page("/invoices").await;
    assert!(
        list.contains(&encounter.to_string()) && words(&list).contains("R 747,50"),
        "the visit waits for its invoice, with VAT"
    );
    let path = invoice(&reception, encounter).await;
    let page = words(&reception.page(&path).await);
    for expected in [
        "Tax invoice INV-000001",
        "Physiotherapy session",
        "72302",
        "24-Nov-2026",
        "R 650,00",
        "VAT 15 %",
        "R 97,50",
        "R 747,50",
        "Thandiwe Khumalo",
        "4123456789",
    ] {
        assert!(page.contains(expected), "{expected} is not on {page}");
    }
    let list = reception.page("/invoices").await;
    assert!(!list.contains(&encounter.to_string()), "it waits no longer");
    assert_eq!(
        clinic.audited(patient).await,
        [
            "execute Test",
            "read Invoice",
            "create Invoice",
            "read Invoice",
            "read Invoice"
        ]
        .map(str::to_owned)[1..],
        "every look and the making of it"
    );
}

#[tokio::test]
async fn a_second_press_leads_to_the_same_invoice() {
    let clinic = Clinic::start().await;
    let patient = clinic.patient("Khumalo", "Thandiwe").await;
    let encounter = visit(&clinic, patient).await;
    let reception = clinic.login("reception").await;
    let presses = (0..8).map(|_| {
        let reception = reception.clone();
        tokio::spawn(async move { invoice(&reception, encounter).await })
    });
    let mut paths = BTreeSet::new();
    for press in presses.collect::<Vec<_>>() {
        paths.insert(press.await.unwrap());
    }
    assert_eq!(paths.len(), 1, "{paths:?}");
    invoice(&reception, visit(&clinic, patient).await).await;
    assert_eq!(
        numbers(&clinic).await,
        [1, 2],
        "the presses that made nothing used no number"
    );
}

#[tokio::test]
async fn twenty_at_once_are_numbered_without_a_gap() {
    let clinic = Clinic::start().await;
    let patient = clinic.patient("Khumalo", "Thandiwe").await;
    let reception = clinic.login("reception").await;
    let mut presses = Vec::new();
    for at in 0..20 {
        let encounter = visit(&clinic, patient).await;
        let reception = reception.clone();
        presses.push(tokio::spawn(async move {
            invoice(&reception, encounter).await;
            // Refused ones in between: they take a number and must give it back.
            if at % 2 == 0 {
                let lines = json!([{ "description": "Strapping", "unit_price": "1.00" }]);
                reception
                    .post_json(
                        "/api/v1/invoices",
                        &json!({ "encounter_id": encounter, "lines": lines }),
                    )
                    .await
                    .expect(409);
            }
        }));
    }
    for press in presses {
        press.await.unwrap();
    }
    assert_eq!(numbers(&clinic).await, (1..=20).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_invoice_the_database_refuses_leaves_no_gap() {
    let clinic = Clinic::start().await;
    let patient = clinic.patient("Khumalo", "Thandiwe").await;
    let reception = clinic.login("reception").await;
    invoice(&reception, visit(&clinic, patient).await).await;
    let refused = visit(&clinic, patient).await;
    let mut owner = connect_as("hadada_owner", &clinic.config.records_database).await;
    sqlx::raw_sql(
        "ALTER TABLE invoice_lines ADD CONSTRAINT refuse CHECK (unit_price < 0) NOT VALID",
    )
    .execute(&mut owner)
    .await
    .unwrap();
    reception
        .post_form("/invoices", &[("encounter_id", &refused.to_string())])
        .await
        .expect(500);
    sqlx::raw_sql("ALTER TABLE invoice_lines DROP CONSTRAINT refuse")
        .execute(&mut owner)
        .await
        .unwrap();
    invoice(&reception, refused).await;
    assert_eq!(numbers(&clinic).await, [1, 2]);
}

#[tokio::test]
async fn a_practice_that_is_no_vat_vendor_charges_none() {
    let clinic = Clinic::start().await;
    let mut db = clinic.superuser().await;
    sqlx::query("UPDATE practices SET vat_number = '' WHERE practice_id = $1")
        .bind(clinic.practice.id)
        .execute(&mut db)
        .await
        .unwrap();
    let encounter = visit(&clinic, clinic.patient("Khumalo", "Thandiwe").await).await;
    let reply = clinic
        .login("billing")
        .await
        .post_json("/api/v1/invoices", &json!({ "encounter_id": encounter }))
        .await
        .expect(201)
        .json();
    assert_eq!(
        (reply["vat"].as_str(), reply["total"].as_str()),
        (Some("0.00"), Some("650.00"))
    );
    let page = clinic
        .login("billing")
        .await
        .page(&format!("/invoices/{}", reply["id"].as_str().unwrap()))
        .await;
    assert!(
        !page.contains("Tax invoice"),
        "only a vendor may call it a tax invoice"
    );
}
