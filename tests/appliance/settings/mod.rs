//! The practice's settings: staff, rooms and session types, from an empty practice on.

mod accounts;
mod changes;
mod new_practice;
mod practice;

use uuid::Uuid;

use crate::support::{Client, Clinic, Reply, key};

/// Sends a form with a key of its own, and other fields than usual.
async fn send(
    client: &Client,
    path: &str,
    usual: &[(&str, &str)],
    other: &[(&str, &str)],
) -> Reply {
    let key = key();
    let mut fields: Vec<(&str, &str)> = usual
        .iter()
        .filter(|(name, _)| other.iter().all(|(o, _)| o != name))
        .copied()
        .collect();
    fields.extend(other);
    fields.push(("idempotency_key", &key));
    client.post_form(path, &fields).await
}

/// A form's usual fields.
type Usual = &'static [(&'static str, &'static str)];

const THERAPIST: [(&str, &str); 6] = [
    ("given_name", "Lerato"),
    ("family_name", "Dlamini"),
    ("discipline", "physiotherapy"),
    ("hpcsa_number", "pt0012345"),
    ("monday", "8-12:30, 13h30-17:00"),
    ("tuesday", "08:00-16:30"),
];

const KIND: [(&str, &str); 4] = [
    ("name", "Hand therapy"),
    ("duration_minutes", "45"),
    ("price", "R 650,00"),
    ("capacity", "1"),
];

/// The id that a redirect back to the list names.
fn made(reply: &Reply) -> String {
    let location = reply.location();
    let id = location.strip_prefix("/settings?done=");
    id.unwrap_or_else(|| panic!("{location}: {}", reply.text()))
        .to_owned()
}

/// A password that a page shows once.
fn shown(reply: &Reply) -> String {
    let text = reply.text();
    let (_, rest) = text
        .split_once("onetime-p\">")
        .unwrap_or_else(|| panic!("no password in {text}"));
    rest.split('<').next().unwrap().to_owned()
}

/// Signs in as a browser does.
async fn sign_in(stranger: &Client, username: &str, password: &str) -> Client {
    let fields = [("username", username), ("password", password)];
    cookie(
        stranger,
        &stranger.post_form("/login", &fields).await.expect(303),
    )
}

fn cookie(stranger: &Client, reply: &Reply) -> Client {
    let cookie = reply.headers["set-cookie"].to_str().unwrap();
    stranger.with_cookie(cookie.split(';').next().unwrap())
}

async fn account(clinic: &Clinic, username: &str) -> Uuid {
    let mut db = clinic.superuser().await;
    sqlx::query_scalar("SELECT user_id FROM logins WHERE username = $1")
        .bind(username)
        .fetch_one(&mut db)
        .await
        .unwrap()
}
