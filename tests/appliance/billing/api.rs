//! Invoices over the API: lines of one's own, and rules that hold.

use serde_json::json;

use super::{numbers, visit, visit_in};
use crate::support::Clinic;

#[tokio::test]
async fn the_api_invoices_a_booking_with_lines_of_its_own() {
    let clinic = Clinic::start().await;
    let api = clinic.program("reception").await;
    let (encounter, booking) = visit_in(
        &clinic,
        &clinic.practice,
        clinic.patient("Khumalo", "Thandiwe").await,
    )
    .await;
    let lines = json!([
        { "description": "Physiotherapy session", "unit_price": "600.00", "tariff_code": "72302", "icd10": "M54.5" },
        { "description": "Strapping", "quantity": 1.5, "unit_price": 33.33 },
    ]);
    let made = api
        .post_json(
            "/api/v1/invoices",
            &json!({ "appointment_id": booking, "lines": lines }),
        )
        .await
        .expect(201);
    let location = made.location().to_owned();
    let body = made.json();
    // 600,00 + 50,00 (49,995) and VAT 90,00 + 7,50.
    assert_eq!(
        (
            body["net"].as_str(),
            body["vat"].as_str(),
            body["total"].as_str()
        ),
        (Some("650.00"), Some("97.50"), Some("747.50"))
    );
    assert_eq!(body["encounter_id"], encounter.to_string());
    assert_eq!(
        (body["status"].as_str(), body["balance"].as_str()),
        (Some("unpaid"), Some("747.50"))
    );
    assert_eq!(api.read(&location).await, body);
    let again = api
        .post_json("/api/v1/invoices", &json!({ "encounter_id": encounter }))
        .await
        .expect(200)
        .json();
    assert_eq!(again["id"], body["id"]);
}

#[tokio::test]
async fn what_breaks_a_rule_is_named_and_nothing_is_written() {
    let clinic = Clinic::start().await;
    let api = clinic.program("reception").await;
    let encounter = visit(&clinic, clinic.patient("Khumalo", "Thandiwe").await).await;
    let line = |field: &str, value: serde_json::Value| {
        let mut line = json!({ "description": "Session", "unit_price": "10.00" });
        line[field] = value;
        json!({ "encounter_id": encounter, "lines": [{ "description": "First", "unit_price": "1" }, line] })
    };
    for (field, value, sentence) in [
        ("unit_price", json!("-0.01"), "can't be negative"),
        ("unit_price", json!(-650), "can't be negative"),
        ("unit_price", json!("0.001"), "two decimals"),
        ("unit_price", json!("99999999999"), "at most"),
        ("quantity", json!("0"), "more than 0"),
        ("quantity", json!("-1"), "more than 0"),
        ("description", json!(""), "needed"),
        ("description", json!("NUL \0 byte"), "can't be stored"),
        ("description", json!("x".repeat(201)), "At most 200"),
        ("icd10", json!("back pain"), "ICD-10"),
    ] {
        let reply = api
            .post_json("/api/v1/invoices", &line(field, value.clone()))
            .await
            .expect(422);
        let message = reply.field_error(&format!("lines[1].{field}"));
        assert!(message.contains(sentence), "{field} {value}: {message}");
    }
    for body in [
        json!({}),
        json!({ "encounter_id": encounter, "appointment_id": encounter }),
        json!({ "encounter_id": "x" }),
        json!({ "encounter_id": encounter, "lines": [] }),
        json!({ "encounter_id": encounter, "price": 1 }),
    ] {
        api.post_json("/api/v1/invoices", &body).await.expect(422);
    }
    let huge = json!({ "encounter_id": encounter, "lines": vec![json!({ "description": "x", "quantity": 1000, "unit_price": "9999999" }); 3] });
    assert!(
        api.post_json("/api/v1/invoices", &huge)
            .await
            .expect(422)
            .field_error("lines")
            .contains("at most")
    );
    assert!(numbers(&clinic).await.is_empty());
}
