//! Patients over the API.

use hadada::ids::PatientId;
use serde_json::{Value, json};

use super::HIS_ID;
use crate::support::Clinic;

#[tokio::test]
async fn the_api_registers_reads_and_refuses_in_its_own_words() {
    let clinic = Clinic::start().await;
    let program = clinic.program("reception").await;
    let body = json!({
        "family_name": "Khumalo", "given_name": "Thandiwe", "birth_date": "1980-01-01", "sex": "male", "phone": "082 123 4567",
        "identity": { "kind": "sa-id", "value": HIS_ID }, "scheme_name": "Discovery Health", "member_number": "123456",
        "allergies": [{ "substance": "Penicillin", "reaction": "rash" }],
    });
    let made = program
        .post_json("/api/v1/patients", &body)
        .await
        .expect(201);
    let patient: PatientId = serde_json::from_value(made.json()["id"].clone()).unwrap();
    assert_eq!(made.location(), format!("/api/v1/patients/{patient}"));
    let read = program.read(&format!("/api/v1/patients/{patient}")).await;
    assert_eq!(read, made.json());
    assert_eq!(
        read["identity"],
        json!({ "kind": "sa-id", "value": HIS_ID })
    );
    assert_eq!(
        (&read["phone"], &read["birth_date"], &read["file_number"]),
        (
            &json!("+27821234567"),
            &json!("1980-01-01"),
            &json!("H-00001")
        )
    );
    assert_eq!(
        (&read["allergy_state"], &read["allergies"][0]["substance"]),
        (&json!("known"), &json!("Penicillin"))
    );
    let list = program.get("/api/v1/patients?q=khumalo").await.expect(200);
    assert_eq!(
        list.json()["items"][0]["identity"]["value"],
        "800101 •••• •••"
    );
    assert!(!list.text().contains(HIS_ID));

    let refused = program
        .post_json("/api/v1/patients", &body)
        .await
        .expect(409)
        .json();
    assert_eq!(refused["theirs"][0]["id"], json!(patient));
    assert_eq!(refused["theirs"][0]["why"], "identity");
    let similar = json!({ "family_name": "Kumalo", "given_name": "Thandiwe", "birth_date": "1980-01-01", "sex": "male" });
    assert_eq!(
        program
            .post_json("/api/v1/patients", &similar)
            .await
            .expect(409)
            .json()["theirs"][0]["why"],
        "birth-date-and-name"
    );
    let mut confirmed = similar;
    confirmed["duplicate_confirmed"] = Value::Bool(true);
    program
        .post_json("/api/v1/patients", &confirmed)
        .await
        .expect(201);

    let wrong = json!({ "family_name": "Nul\u{0}", "given_name": "x", "birth_date": "1992-02-30", "sex": "female", "identity": { "kind": "sa-id", "value": "8001015009088" } });
    let problem = program
        .post_json("/api/v1/patients", &wrong)
        .await
        .expect(422);
    for (field, words) in [
        ("family_name", "NUL"),
        ("birth_date", "no such day"),
        ("identity.value", "check digit"),
    ] {
        assert!(problem.field_error(field).contains(words), "{field}");
    }
    program
        .post_json("/api/v1/patients", &json!({ "family_name": "x" }))
        .await
        .expect(422)
        .field_error("given_name");
    program.post_json("/api/v1/patients", &json!({ "family_name": "x", "given_name": "y", "birth_date": "1980-01-01", "sex": "male", "shoe_size": 43 })).await.expect(422);
}
