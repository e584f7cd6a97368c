//! Each value of each body of the API, replaced by what it should not be.

use axum::body::Body;
use http::{Request, header};
use serde_json::{Value, json};

use super::{Faults, ODD, forbidden};
use crate::support::{Client, Furnished, Reply, key, rows};

/// API bodies that are right: method, path, body.
fn bodies(all: &Furnished) -> Vec<(&'static str, &'static str, String, Value)> {
    let open = &all.open;
    let practice = &open.clinic.practice;
    let visit = format!("/api/v1/encounters/{}", open.id);
    vec![
        (
            "reception",
            "POST",
            "/api/v1/patients".into(),
            json!({
                "family_name": "Mudau", "given_name": "Ndivhuwo", "birth_date": "1992-03-14", "sex": "female", "title": "",
                "preferred_name": "", "phone": "", "email": "", "address": "", "scheme_name": "Bonitas", "scheme_plan": "",
                "member_number": "", "dependant_code": "", "emergency_name": "", "emergency_phone": "",
                "allergy_state": "known", "allergies": [{ "substance": "Latex", "reaction": "" }],
                "identity": { "kind": "none", "value": null }, "duplicate_confirmed": true,
            }),
        ),
        (
            "reception",
            "POST",
            "/api/v1/appointments".into(),
            json!({
                "patient_id": open.patient, "practitioner_id": practice.occupational, "start": "2026-11-25T10:00:00+02:00",
                "end": null, "duration_minutes": 45, "session_type": "physio-45", "reason": "Knee", "idempotency_key": key(),
            }),
        ),
        (
            "naledi",
            "POST",
            "/api/v1/encounters".into(),
            json!({ "appointment_id": open.booking, "patient_id": open.patient }),
        ),
        (
            "naledi",
            "PUT",
            format!("{visit}/note"),
            json!({
                "version": 7, "source_text": "", "subjective": "", "objective": "", "assessment": "", "plan": "",
                "draft_id": null, "decisions": {},
            }),
        ),
        (
            "naledi",
            "POST",
            format!("{visit}/note/sign"),
            json!({ "version": 7 }),
        ),
        (
            "naledi",
            "POST",
            format!("{visit}/draft"),
            json!({ "source_text": "knee" }),
        ),
        (
            "reception",
            "POST",
            "/api/v1/invoices".into(),
            json!({
                "encounter_id": open.id, "appointment_id": null, "icd10": "",
                "lines": [{ "description": "Tape", "quantity": "1", "unit_price": "10", "tariff_code": "", "icd10": "" }],
            }),
        ),
    ]
}

/// The pointers to every value of a body, deepest too.
fn pointers(value: &Value, at: &str, found: &mut Vec<String>) {
    let inner: Vec<(String, &Value)> = match value {
        Value::Object(map) => map.iter().map(|(k, v)| (k.clone(), v)).collect(),
        Value::Array(list) => list
            .iter()
            .enumerate()
            .map(|(i, v)| (i.to_string(), v))
            .collect(),
        _ => Vec::new(),
    };
    for (name, value) in inner {
        let here = format!("{at}/{name}");
        found.push(here.clone());
        pointers(value, &here, found);
    }
}

/// `/lines/0/unit_price` as errors name it: `lines[0].unit_price`.
fn dotted(pointer: &str) -> String {
    let mut name = String::new();
    for part in pointer.split('/').skip(1) {
        if part.bytes().all(|b| b.is_ascii_digit()) {
            name.push_str(&format!("[{part}]"));
        } else {
            if !name.is_empty() {
                name.push('.');
            }
            name.push_str(part);
        }
    }
    name
}

async fn send(client: &Client, method: &str, path: &str, body: String) -> Reply {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(body));
    client.send(request.unwrap()).await
}

#[tokio::test]
async fn no_value_of_an_api_body_breaks_or_is_taken_wrongly() {
    let all = Furnished::start().await;
    let clinic = &all.open.clinic;
    let mut db = clinic.superuser().await;
    let mut faults = Faults { list: Vec::new() };
    let mut before = rows(&mut db).await;
    for (user, method, path, body) in bodies(&all) {
        let client = clinic.program(user).await;
        let mut places = Vec::new();
        pointers(&body, "", &mut places);
        for place in places {
            let field = dotted(&place);
            let odd = ODD.iter().map(|&t| (json!(t), false));
            let refused = forbidden().map(|(_, t)| (json!(t), true));
            let kinds = [
                json!(null),
                json!([]),
                json!({}),
                json!(true),
                json!(-1),
                json!(i64::MIN),
                json!(u64::MAX),
                json!(1e308),
                json!([[[[]]]]),
                json!("2026-11-24T25:00:00+02:00"),
                json!("9999-12-31T23:59:59-12:00"),
                json!("0000-01-01T00:00:00+12:00"),
                json!("2026-11-24T10:45:00"),
            ]
            .map(|v| (v, false));
            for (value, must) in odd.chain(refused).chain(kinds) {
                let mut sent = body.clone();
                if let Some(fresh) = sent.get_mut("idempotency_key") {
                    *fresh = json!(key());
                }
                *sent.pointer_mut(&place).unwrap() = value.clone();
                let reply = send(&client, method, &path, sent.to_string()).await;
                let text = value.to_string();
                faults.check(&format!("{method} {path}"), &field, &text, &reply, must);
                if reply.status == 422 && !reply.json()["errors"].is_array() {
                    faults
                        .list
                        .push(format!("{path} {field}={text}: no field is named"));
                }
                let after = rows(&mut db).await;
                let grew = std::mem::replace(&mut before, after) != before;
                if reply.status.is_client_error() && grew {
                    faults
                        .list
                        .push(format!("{path} {field}={text}: refused, and written"));
                }
            }
        }
        for broken in [
            "",
            "{",
            "[]",
            "null",
            "\"x\"",
            "{\"a\":1}",
            "\u{0}",
            &"[".repeat(100_000),
        ] {
            let reply = send(&client, method, &path, broken.to_owned()).await;
            faults.check(&path, "(body)", broken, &reply, false);
        }
        let large = send(
            &client,
            method,
            &path,
            format!("\"{}\"", "x".repeat(3 << 20)),
        )
        .await;
        assert_eq!(large.status, 413, "{path}: {}", large.text());
    }
    assert!(faults.list.is_empty(), "{}", faults.list.join("\n"));
}
