//! The whole HTTP surface: every route has a line in `table.rs` that says who may, and nobody else does.

mod other_sites;
mod table;
mod who_may;

use axum::body::Body;
use http::{Request, header};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{Client, Reply};

/// A body that the route can read and that changes nothing: fields that break rules, versions that are not there.
fn harmless(method: &str, route: &str) -> Option<(&'static str, String)> {
    if method == "GET" {
        return None;
    }
    let nil = Uuid::nil();
    let json: Option<Value> = match route {
        "/api/v1/patients" => {
            Some(json!({ "family_name": "", "given_name": "", "birth_date": "", "sex": "" }))
        }
        "/api/v1/appointments" => {
            Some(json!({ "practitioner_id": nil, "start": "", "session_type": "" }))
        }
        "/api/v1/encounters" => Some(json!({ "appointment_id": nil })),
        "/api/v1/invoices" => Some(json!({ "encounter_id": nil })),
        _ if route.ends_with("/note") || route.ends_with("/note/sign") => {
            Some(json!({ "version": 99 }))
        }
        _ if route.ends_with("/draft") => Some(json!({ "source_text": "\0" })),
        _ => None,
    };
    if let Some(json) = json {
        return Some(("application/json", json.to_string()));
    }
    let form = match route.rsplit('/').next().unwrap() {
        "login" => "username=nobody&password=x".to_owned(),
        "encounters" => format!("appointment_id={nil}"),
        "invoices" => format!("encounter_id={nil}"),
        "edit" | "sign" => "version=99".into(),
        "move" => "date=x&start=x&version=99".into(),
        "status" => "to=x&version=99".into(),
        "participants" => "action=x".into(),
        "book" => "date=x&start=x&practitioner_id=x".into(),
        _ => format!("idempotency_key={}", Uuid::now_v7()),
    };
    Some(("application/x-www-form-urlencoded", form))
}

async fn ask(client: &Client, method: &str, route: &str, address: &str) -> Reply {
    if (method, route) == ("GET", "/events") {
        let response = client.open(address).await;
        return Reply {
            status: response.status(),
            headers: response.headers().clone(),
            bytes: axum::body::Bytes::new(),
        };
    }
    let mut request = Request::builder()
        .method(method)
        .uri(address)
        .header(header::ACCEPT, "application/json");
    let body = harmless(method, route).map(|(kind, body)| {
        request
            .headers_mut()
            .unwrap()
            .insert(header::CONTENT_TYPE, kind.parse().unwrap());
        body
    });
    client
        .send(
            request
                .body(body.map_or_else(Body::empty, Body::from))
                .unwrap(),
        )
        .await
}
