//! The whole HTTP surface: every route has a line here that says who may, and nobody else does.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use axum::body::Body;
use hadada::accounts::TokenRequest;
use http::{Method, Request, header};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::encounters::Open;
use crate::support::{Client, Clinic, Reply};

/// Who may use a route.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Who {
    Anyone,
    /// Whoever is signed in.
    SignedIn,
    /// These users, and programs of theirs whose token has this scope.
    These(&'static [&'static str], &'static str),
}
use Who::{Anyone, SignedIn, These};

const USERS: [&str; 4] = ["admin", "reception", "naledi", "billing"];
const SCOPES: [&str; 5] = ["diary", "patients", "notes", "billing", "admin"];
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
const ROUTES: &[(&str, &str, Who)] = &[
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

/// A clinic in which every kind of thing is there once.
pub struct Furnished {
    pub open: Open,
    pub allergy: Uuid,
    pub alert: Uuid,
    pub waiting: Uuid,
    pub invoice: String,
}

impl Furnished {
    pub async fn start() -> Self {
        let open = Open::start().await;
        open.save(0, json!({ "subjective": "Better." }))
            .await
            .expect(200);
        let reception = open.clinic.login("reception").await;
        let (patient, key) = (open.patient, || Uuid::now_v7().to_string());
        for (path, field) in [("allergies", "substance"), ("alerts", "alert")] {
            let fields = [(field, "Latex"), ("idempotency_key", &key())];
            reception
                .post_form(&format!("/patients/{patient}/{path}"), &fields)
                .await
                .expect(303);
        }
        let fields = [
            ("patient_id", &*patient.to_string()),
            ("duration_minutes", "45"),
        ];
        reception
            .post_form("/waiting-list", &fields)
            .await
            .expect(201);
        let mut db = open.clinic.superuser().await;
        let mut one = async |table: &str| -> Uuid {
            sqlx::query_scalar(sqlx::AssertSqlSafe(format!("SELECT id FROM {table}")))
                .fetch_one(&mut db)
                .await
                .unwrap()
        };
        let (allergy, alert, waiting) = (
            one("allergies").await,
            one("alerts").await,
            one("waiting_list").await,
        );
        let invoice = reception
            .post_form("/invoices", &[("encounter_id", &open.id)])
            .await
            .expect(303)
            .location()
            .rsplit('/')
            .next()
            .unwrap()
            .to_owned();
        Self {
            open,
            allergy,
            alert,
            waiting,
            invoice,
        }
    }

    /// The address of a route, with the ids of what is there.
    fn address(&self, route: &str) -> String {
        let id = match route
            .trim_start_matches("/api/v1")
            .split('/')
            .nth(1)
            .unwrap()
        {
            "patients" => self.open.patient.to_string(),
            "appointments" => self.open.booking.to_string(),
            "encounters" => self.open.id.clone(),
            "invoices" => self.invoice.clone(),
            "waiting-list" => self.waiting.to_string(),
            "settings" => {
                let practice = &self.open.clinic.practice;
                match route.split('/').nth(2) {
                    Some("rooms") => practice.room.to_string(),
                    Some("session-types") => practice.session_type.to_string(),
                    // Nobody is booked with her.
                    Some("therapists") => practice.occupational.to_string(),
                    _ => practice.admin.to_string(),
                }
            }
            // Nobody's alert.
            "admin" => Uuid::nil().to_string(),
            _ => String::new(),
        };
        route
            .replace("{id}", &id)
            .replace("{allergy}", &self.allergy.to_string())
            .replace("{alert}", &self.alert.to_string())
            .replace("{file}", "app.css")
    }
}

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

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// Every path that the source gives the router, and every one of the API's document.
fn paths() -> BTreeSet<String> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&src, &mut files);
    let mut paths: BTreeSet<String> = hadada::app::openapi().paths.paths.into_keys().collect();
    for file in files {
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

#[tokio::test]
async fn each_route_serves_whom_it_may_and_refuses_everybody_else() {
    let all = Furnished::start().await;
    let clinic = &all.open.clinic;
    for &(method, route, who) in ROUTES {
        let address = all.address(route);
        let reply = ask(&clinic.stranger(), method, route, &address).await;
        match who {
            // Files are named by what is in them; web's own tests ask for real ones.
            Anyone if route == "/a/{file}" => assert_eq!(reply.status, 404),
            // It answers, and says so, also when the box is not ready.
            Anyone if route == "/readyz" => assert!(reply.text().contains("\"ready\":")),
            Anyone => assert!(
                !matches!(reply.status.as_u16(), 401 | 403 | 404 | 500..),
                "{method} {route}: {}",
                reply.status
            ),
            _ => assert!(
                reply.status == 401
                    || (method == "GET" && reply.location().starts_with("/login?next=")),
                "{method} {route} to a stranger: {}",
                reply.status
            ),
        }
        for user in USERS {
            let may = match who {
                These(users, _) => users.contains(&user),
                Anyone | SignedIn => true,
            };
            let reply = ask(&clinic.login(user).await, method, route, &address).await;
            let status = reply.status.as_u16();
            assert_eq!(status != 403, may, "{method} {route} by {user}: {status}");
            // The model and the typesetter do not run in every test.
            let away = status == 503
                && (route.ends_with("/draft") || route.ends_with("/pdf") || route == "/readyz");
            assert!(
                away || status < 500,
                "{method} {route} by {user}: {status} {}",
                reply.text()
            );
        }
    }
}

#[tokio::test]
async fn a_token_does_only_what_its_scope_says() {
    let all = Furnished::start().await;
    let clinic = &all.open.clinic;
    for user in ["naledi", "admin"] {
        for scope in SCOPES {
            let request = TokenRequest {
                user: user.into(),
                scope: scope.into(),
            };
            let token = hadada::accounts::create_token(&clinic.app.db, &clinic.app.clock, &request)
                .await
                .unwrap();
            let client = clinic.with_token(token);
            for &(method, route, who) in ROUTES {
                let These(users, needed) = who else { continue };
                let reply = ask(&client, method, route, &all.address(route)).await;
                assert_eq!(
                    reply.status != 403,
                    users.contains(&user) && scope == needed,
                    "{method} {route} with {scope} of {user}: {}",
                    reply.status
                );
            }
        }
    }
}

#[tokio::test]
async fn every_id_of_another_practice_is_answered_as_if_it_did_not_exist() {
    let all = Furnished::start().await;
    let clinic = &all.open.clinic;
    let mut db = clinic.superuser().await;
    let before = crate::input::rows(&mut db).await;
    for user in ["other", "other-therapist"] {
        let client = clinic.login(user).await;
        for &(method, route, _) in ROUTES.iter().filter(|(_, route, _)| route.contains("{id}")) {
            let reply = ask(&client, method, route, &all.address(route)).await;
            let nowhere = ask(
                &client,
                method,
                route,
                &route
                    .replace("{id}", &Uuid::now_v7().to_string())
                    .replace("{allergy}", &Uuid::now_v7().to_string())
                    .replace("{alert}", &Uuid::now_v7().to_string()),
            )
            .await;
            assert_eq!(
                reply.status,
                nowhere.status,
                "{method} {route} by {user}: {}",
                reply.text()
            );
            // 422: the body is wrong before anything is looked up, whoever's id it is.
            assert!(
                matches!(reply.status.as_u16(), 404 | 403 | 422),
                "{method} {route} by {user}: {}",
                reply.status
            );
            assert!(
                !reply.text().contains("Khumalo") && !reply.text().contains("Thandiwe"),
                "{method} {route} by {user} names the patient"
            );
        }
    }
    assert_eq!(crate::input::rows(&mut db).await, before);
    let theirs: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM audit_events WHERE practice_id = $1 AND (patient_id = $2 OR $2 = ANY (shown))",
    )
    .bind(clinic.elsewhere.id)
    .bind(all.open.patient)
    .fetch_one(&mut db)
    .await
    .unwrap();
    assert_eq!(theirs, 0, "their log has our patient's id");
}

#[tokio::test]
async fn an_address_with_a_broken_id_leads_nowhere() {
    let clinic = Clinic::start().await;
    let naledi = clinic.login("naledi").await;
    for broken in [
        "x",
        "%00",
        "1",
        "00000000-0000-0000-0000-00000000000g",
        "..%2f..",
        "%F0%9F%A6%B5",
    ] {
        for path in [
            "/patients/",
            "/encounters/",
            "/invoices/",
            "/api/v1/patients/",
            "/api/v1/appointments/",
        ] {
            let reply = naledi.get(&format!("{path}{broken}")).await.expect(404);
            assert!(
                reply.text().contains("not in your practice"),
                "{path}{broken}"
            );
        }
    }
}

#[tokio::test]
async fn a_refusal_of_a_role_is_in_the_log_once() {
    let open = Open::start().await;
    let (clinic, patient) = (&open.clinic, open.patient);
    let refusals = async || -> Vec<String> {
        let mut db = clinic.superuser().await;
        sqlx::query_scalar(
            "SELECT entity || ' ' || reason || ' ' || coalesce(patient_id::text, '-') FROM audit_events
             WHERE action = 'refuse' ORDER BY at, id",
        )
        .fetch_all(&mut db)
        .await
        .unwrap()
    };
    let billing = clinic.login("billing").await;
    billing
        .get(&format!("/patients/{patient}/edit"))
        .await
        .expect(403);
    let mut told = vec![format!("Patient role: GET /patients/{{id}}/edit {patient}")];
    assert_eq!(refusals().await, told);
    billing
        .get(&format!("/patients/{patient}/audit"))
        .await
        .expect(403);
    told.push(format!(
        "AuditEvent role: GET /patients/{{id}}/audit {patient}"
    ));
    billing.get("/admin").await.expect(403);
    told.push("Device role: GET /admin -".into());
    // Notes name the patient themselves.
    billing.get(&open.path("")).await.expect(403);
    told.push(format!("Note role {patient}"));
    clinic
        .program("billing")
        .await
        .get("/api/v1/encounters")
        .await
        .expect(403);
    told.push("Note role -".into());
    // Another practitioner's visit.
    let ayesha = clinic.login("ayesha").await;
    ayesha
        .put_json(&open.path("/note"), &json!({ "version": 0, "plan": "x" }))
        .await
        .expect(403);
    told.push(format!("Note not the visit's practitioner {patient}"));
    // Another practice's patient is nobody there.
    let other = clinic.login("other-therapist").await;
    other
        .get(&format!("/patients/{patient}/audit"))
        .await
        .expect(403);
    told.push("AuditEvent role: GET /patients/{id}/audit -".into());
    let mut told_now = refusals().await;
    // The clock stands still, so events of one instant come in any order.
    told.sort();
    told_now.sort();
    assert_eq!(told_now, told);
}

/// A browser tells where a request comes from; what another site starts is refused before anything reads it.
#[tokio::test]
async fn what_another_site_starts_is_refused() {
    let open = Open::start().await;
    let (clinic, naledi) = (&open.clinic, &open.naledi);
    let reception = clinic.login("reception").await;
    let mut db = clinic.superuser().await;
    let before = crate::input::rows(&mut db).await;
    let form = "application/x-www-form-urlencoded";
    let alert = || format!("alert=x&idempotency_key={}", Uuid::now_v7());
    let patient =
        json!({ "family_name": "A", "given_name": "B", "birth_date": "1990-01-01", "sex": "male" })
            .to_string();
    let requests = [
        (
            "a form",
            &reception,
            Method::POST,
            format!("/patients/{}/alerts", open.patient),
            form,
            alert(),
        ),
        (
            "a fetch",
            naledi,
            Method::PUT,
            open.path("/note"),
            "application/json",
            json!({ "version": 0, "plan": "x" }).to_string(),
        ),
        (
            "the API with a cookie",
            &reception,
            Method::POST,
            "/api/v1/patients".into(),
            "application/json",
            patient.clone(),
        ),
        // What a form of another site can send without asking the browser's leave.
        (
            "a form that looks like JSON",
            &reception,
            Method::POST,
            "/api/v1/patients".into(),
            "text/plain",
            patient,
        ),
        (
            "signing in",
            &clinic.stranger(),
            Method::POST,
            "/login".into(),
            form,
            "username=reception&password=x".into(),
        ),
    ];
    let send = async |client: &Client,
                      method: &Method,
                      path: &str,
                      kind: &str,
                      body: &str,
                      headers: &[(&str, &str)]| {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "clinic.lan:8443")
            .header(header::CONTENT_TYPE, kind);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        client
            .send(request.body(Body::from(body.to_owned())).unwrap())
            .await
    };
    for (what, client, method, path, kind, body) in &requests {
        for headers in [
            &[("sec-fetch-site", "cross-site")][..],
            &[("sec-fetch-site", "same-site")],
            &[
                ("sec-fetch-site", "cross-site"),
                ("origin", "https://clinic.lan:8443"),
            ],
            &[("origin", "https://evil.example")],
            &[("origin", "https://clinic.lan")],
            &[("origin", "https://clinic.lan.evil.example:8443")],
            &[("origin", "null")],
        ] {
            let reply = send(client, method, path, kind, body, headers).await;
            assert_eq!(reply.status, 403, "{what} with {headers:?}");
            assert!(
                reply.text().contains("came from another site"),
                "{what} with {headers:?}: {}",
                reply.text()
            );
        }
    }
    assert_eq!(
        crate::input::rows(&mut db).await,
        before,
        "something was written"
    );
    // A link from a mail leads to the page.
    reception
        .send(
            Request::get("/day")
                .header("sec-fetch-site", "cross-site")
                .body(Body::empty())
                .unwrap(),
        )
        .await
        .expect(200);
    // Our own pages, and programs, which send neither header and carry no cookie by themselves.
    let path = format!("/patients/{}/alerts", open.patient);
    for headers in [
        &[
            ("sec-fetch-site", "same-origin"),
            ("origin", "https://clinic.lan:8443"),
        ][..],
        &[("sec-fetch-site", "none")],
        &[("origin", "https://clinic.lan:8443")],
        &[],
    ] {
        let reply = send(&reception, &Method::POST, &path, form, &alert(), headers).await;
        assert_eq!(reply.status, 303, "{headers:?}: {}", reply.text());
    }
}
