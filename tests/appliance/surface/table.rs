//! Every route and who may use it, held against what the router serves.

use std::collections::BTreeSet;
use std::path::Path;

use super::ask;
use crate::support::{Clinic, sources};

/// Who may use a route.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Who {
    Anyone,
    /// Whoever is signed in.
    SignedIn,
    /// These users, and programs of theirs whose token has this scope.
    These(&'static [&'static str], &'static str),
}
use Who::{Anyone, SignedIn, These};

pub const USERS: [&str; 4] = ["admin", "reception", "naledi", "billing"];

pub const SCOPES: [&str; 5] = ["diary", "patients", "notes", "billing", "admin"];

const DESK: &[&str] = &["admin", "reception", "naledi"];

const NOTES: Who = These(&["naledi"], "notes");

const BOX: Who = These(&["admin"], "admin");

const SEE_DIARY: Who = These(&USERS, "diary");

const BOOK: Who = These(DESK, "diary");

const SEE_PATIENTS: Who = These(&USERS, "patients");

const EDIT_PATIENTS: Who = These(DESK, "patients");

const BILLING: Who = These(&USERS, "billing");

const SETTINGS: Who = These(&["admin"], "admin");

/// Every route, and who may.
pub const ROUTES: &[(&str, &str, Who)] = &[
    ("GET", "/", Anyone),
    ("GET", "/a/{file}", Anyone),
    ("GET", "/sw.js", Anyone),
    ("GET", "/healthz", Anyone),
    ("GET", "/readyz", Anyone),
    // From this machine; status.rs tests it from others.
    ("GET", "/metrics", Anyone),
    ("GET", "/api/openapi.json", Anyone),
    ("GET", "/login", Anyone),
    ("POST", "/login", Anyone),
    ("POST", "/logout", SignedIn),
    ("GET", "/session", SignedIn),
    ("GET", "/password", SignedIn),
    ("POST", "/password", SignedIn),
    ("GET", "/events", SignedIn),
    ("GET", "/admin", BOX),
    ("GET", "/admin/facts", BOX),
    ("GET", "/admin/audit", BOX),
    ("POST", "/admin/alerts/{id}/acknowledge", BOX),
    ("GET", "/status", SignedIn),
    ("GET", "/patients/{id}/erase", BOX),
    ("POST", "/patients/{id}/erase", BOX),
    ("GET", "/trust", Anyone),
    ("GET", "/trust/ca.pem", Anyone),
    ("GET", "/trust/ca.cer", Anyone),
    ("GET", "/trust/ca.mobileconfig", Anyone),
    ("GET", "/patients/{id}/audit", BOX),
    ("GET", "/patients", SEE_PATIENTS),
    ("POST", "/patients", EDIT_PATIENTS),
    ("GET", "/patients/find", SEE_PATIENTS),
    ("GET", "/patients/new", EDIT_PATIENTS),
    ("GET", "/patients/{id}", SEE_PATIENTS),
    ("GET", "/patients/{id}/edit", EDIT_PATIENTS),
    ("POST", "/patients/{id}/edit", EDIT_PATIENTS),
    ("GET", "/patients/{id}/identity", SEE_PATIENTS),
    ("POST", "/patients/{id}/allergies", EDIT_PATIENTS),
    ("POST", "/patients/{id}/allergies/none", EDIT_PATIENTS),
    (
        "POST",
        "/patients/{id}/allergies/{allergy}/end",
        EDIT_PATIENTS,
    ),
    ("POST", "/patients/{id}/alerts", EDIT_PATIENTS),
    ("POST", "/patients/{id}/alerts/{alert}/end", EDIT_PATIENTS),
    ("GET", "/api/v1/patients", SEE_PATIENTS),
    ("POST", "/api/v1/patients", EDIT_PATIENTS),
    ("GET", "/api/v1/patients/{id}", SEE_PATIENTS),
    ("GET", "/day", SEE_DIARY),
    ("GET", "/day/panels", SEE_DIARY),
    ("POST", "/appointments", BOOK),
    ("GET", "/appointments/new", BOOK),
    ("GET", "/appointments/slots", BOOK),
    ("POST", "/appointments/blocks", BOOK),
    ("GET", "/appointments/blocks/new", BOOK),
    ("GET", "/appointments/{id}/card", SEE_DIARY),
    ("POST", "/appointments/{id}/move", BOOK),
    ("POST", "/appointments/{id}/status", BOOK),
    ("GET", "/appointments/{id}/cancel", BOOK),
    ("GET", "/appointments/{id}/participants", SEE_DIARY),
    ("POST", "/appointments/{id}/participants", BOOK),
    ("POST", "/waiting-list", BOOK),
    ("GET", "/waiting-list/new", BOOK),
    ("POST", "/waiting-list/{id}/book", BOOK),
    ("POST", "/waiting-list/{id}/remove", BOOK),
    ("GET", "/api/v1/practitioners", SEE_DIARY),
    ("GET", "/api/v1/appointments", SEE_DIARY),
    ("POST", "/api/v1/appointments", BOOK),
    ("GET", "/api/v1/appointments/{id}", SEE_DIARY),
    ("GET", "/notes", NOTES),
    ("POST", "/encounters", NOTES),
    ("GET", "/encounters/{id}", NOTES),
    ("GET", "/encounters/{id}/print", NOTES),
    ("GET", "/encounters/{id}/note", NOTES),
    ("PUT", "/encounters/{id}/note", NOTES),
    ("POST", "/encounters/{id}/draft", NOTES),
    ("POST", "/encounters/{id}/sign", NOTES),
    ("POST", "/encounters/{id}/addenda", NOTES),
    ("POST", "/encounters/{id}/scores", NOTES),
    ("GET", "/encounters/{id}/scores/new", NOTES),
    ("GET", "/api/v1/encounters", NOTES),
    ("POST", "/api/v1/encounters", NOTES),
    ("GET", "/api/v1/encounters/{id}", NOTES),
    ("GET", "/api/v1/encounters/{id}/note", NOTES),
    ("PUT", "/api/v1/encounters/{id}/note", NOTES),
    ("POST", "/api/v1/encounters/{id}/note/sign", NOTES),
    ("POST", "/api/v1/encounters/{id}/draft", NOTES),
    ("GET", "/invoices", BILLING),
    ("POST", "/invoices", BILLING),
    ("GET", "/invoices/{id}", BILLING),
    ("GET", "/invoices/{id}/pdf", BILLING),
    ("POST", "/invoices/{id}/payments", BILLING),
    ("GET", "/api/v1/invoices", BILLING),
    ("POST", "/api/v1/invoices", BILLING),
    ("GET", "/api/v1/invoices/{id}", BILLING),
    ("GET", "/settings", These(&["admin", "reception"], "admin")),
    ("GET", "/settings/practice", SETTINGS),
    ("POST", "/settings/practice", SETTINGS),
    ("POST", "/settings/rooms", SETTINGS),
    ("GET", "/settings/rooms/new", SETTINGS),
    ("GET", "/settings/rooms/{id}", SETTINGS),
    ("POST", "/settings/rooms/{id}", SETTINGS),
    ("POST", "/settings/rooms/{id}/end", SETTINGS),
    ("POST", "/settings/rooms/{id}/back", SETTINGS),
    ("POST", "/settings/session-types", SETTINGS),
    ("GET", "/settings/session-types/new", SETTINGS),
    ("GET", "/settings/session-types/{id}", SETTINGS),
    ("POST", "/settings/session-types/{id}", SETTINGS),
    ("POST", "/settings/session-types/{id}/end", SETTINGS),
    ("POST", "/settings/session-types/{id}/back", SETTINGS),
    ("POST", "/settings/therapists", SETTINGS),
    ("GET", "/settings/therapists/new", SETTINGS),
    ("GET", "/settings/therapists/{id}", SETTINGS),
    ("POST", "/settings/therapists/{id}", SETTINGS),
    ("POST", "/settings/therapists/{id}/end", SETTINGS),
    ("POST", "/settings/therapists/{id}/back", SETTINGS),
    ("POST", "/settings/accounts", SETTINGS),
    ("GET", "/settings/accounts/new", SETTINGS),
    ("GET", "/settings/accounts/{id}", SETTINGS),
    ("POST", "/settings/accounts/{id}", SETTINGS),
    ("POST", "/settings/accounts/{id}/end", SETTINGS),
    ("POST", "/settings/accounts/{id}/back", SETTINGS),
    ("POST", "/settings/accounts/{id}/password", SETTINGS),
];

/// Every path that the source gives the router, and every one of the API's document.
fn paths() -> BTreeSet<String> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths: BTreeSet<String> = hadada::app::openapi().paths.paths.into_keys().collect();
    for file in sources(&src) {
        // The admin socket is another server, and only root reaches it.
        // So is the port for IT and vendors; and the wizard is not there once there is a practice: setup.rs tests it before.
        if file.ends_with("lifecycle/admin.rs")
            || file.ends_with("lifecycle/remote.rs")
            || file.ends_with("setup/mod.rs")
        {
            continue;
        }
        let text = std::fs::read_to_string(&file).unwrap();
        for (at, call) in text.match_indices(".route(") {
            let rest = text[at + call.len()..].trim_start();
            let path = rest.strip_prefix('"').unwrap_or_else(|| {
                panic!("{}: a route whose path is not written out", file.display())
            });
            paths.insert(path.split('"').next().unwrap().to_owned());
        }
    }
    paths
}

#[tokio::test]
async fn every_route_is_in_the_table() {
    let clinic = Clinic::start().await;
    let stranger = clinic.stranger();
    let mut found = BTreeSet::new();
    for path in paths() {
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
            let address = path.replace(['{', '}'], "");
            let reply = ask(&stranger, method, &path, &address).await;
            if reply.status != 405 {
                found.insert((method.to_owned(), path.clone()));
            }
        }
    }
    let told: BTreeSet<_> = ROUTES
        .iter()
        .map(|(method, path, _)| ((*method).to_owned(), (*path).to_owned()))
        .collect();
    assert_eq!(found, told);
}
