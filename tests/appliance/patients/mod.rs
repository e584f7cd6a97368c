//! Patients: registering, finding, showing and changing them, over the real router and database.

mod access;
mod api;
mod changes;
mod duplicates;
mod register;
mod search;

use hadada::ids::PatientId;

use crate::support::{Client, Clinic, key};

/// Fields of a form, by name.
type Fields<'a> = &'a [(&'a str, &'a str)];

/// A valid number of a man born on 1 January 1980.
const HIS_ID: &str = "8001015009087";

/// Him, as a form names him.
const HIM: [(&str, &str); 4] = [
    ("identity_kind", "sa-id"),
    ("identity_value", HIS_ID),
    ("birth_date", "1980-01-01"),
    ("sex", "male"),
];

/// What a receptionist types for a new patient; `extra` replaces and adds.
fn form<'a>(key: &'a str, extra: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut fields = vec![
        ("idempotency_key", key),
        ("family_name", "Khumalo"),
        ("given_name", "Thandiwe"),
        ("birth_date", "14-Mar-1992"),
        ("sex", "female"),
        ("identity_kind", "none"),
        ("phone", "082 123 4567"),
    ];
    fields.retain(|(name, _)| !extra.iter().any(|(other, _)| other == name));
    fields.extend_from_slice(extra);
    fields
}

fn id_of(location: &str) -> PatientId {
    location.rsplit('/').next().unwrap().parse().unwrap()
}

async fn register(client: &Client, extra: &[(&str, &str)]) -> PatientId {
    let key = key();
    let reply = client
        .post_form("/patients", &form(&key, extra))
        .await
        .expect(303);
    id_of(reply.location())
}

/// A page's text as a person reads it.
fn plain(page: &str) -> String {
    page.replace("&#x2f;", "/").replace("&#x27;", "'")
}

async fn count(clinic: &Clinic) -> i64 {
    let mut db = clinic.superuser().await;
    sqlx::query_scalar("SELECT count(*) FROM patients")
        .fetch_one(&mut db)
        .await
        .unwrap()
}

async fn found(client: &Client, q: &str) -> Vec<String> {
    let reply = client
        .get(&format!(
            "/api/v1/patients?q={}",
            q.bytes().map(|b| format!("%{b:02X}")).collect::<String>()
        ))
        .await
        .expect(200);
    reply.json()["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p["given_name"].as_str().unwrap().to_owned())
        .collect()
}
