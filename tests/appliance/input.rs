//! Bad input on every field of every form, query and API body: a clear refusal that names the field, never a fault of ours,
//! and nothing half-written. And every form sent twice makes one record.

use std::collections::BTreeMap;

use axum::body::Body;
use http::{Request, header};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgConnection};
use uuid::Uuid;

use crate::support::{Client, Reply};
use crate::surface::Furnished;

/// Rows of every table that holds what somebody entered. The log of who did what grows with every look; drafts note their
/// failures.
pub async fn rows(db: &mut PgConnection) -> BTreeMap<String, i64> {
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT relname::text FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
         AND relname NOT LIKE 'audit%' AND relname NOT IN ('_sqlx_migrations', 'sessions', 'api_tokens', 'drafts') ORDER BY relname",
    )
    .fetch_all(&mut *db)
    .await
    .unwrap();
    let sums = tables
        .iter()
        .map(|t| format!("SELECT '{t}', count(*) FROM {t}"))
        .collect::<Vec<_>>()
        .join(" UNION ALL ");
    sqlx::query_as::<_, (String, i64)>(AssertSqlSafe(sums))
        .fetch_all(db)
        .await
        .unwrap()
        .into_iter()
        .collect()
}

/// Text that no field takes.
fn forbidden() -> [(&'static str, String); 4] {
    [
        ("a NUL byte", "a\0b".into()),
        ("an escape sequence", "\u{1b}[2J".into()),
        ("a C1 control", "a\u{85}b".into()),
        ("1 MB of text", "x".repeat(1 << 20)),
    ]
}

/// Text that some fields take; no field may break over it.
const ODD: [&str; 27] = [
    "",
    " ",
    "0",
    "-1",
    "-650,00",
    "NaN",
    "1e400",
    "99999999999999999999999999",
    "-9223372036854775808",
    "2026-02-30",
    "30-Feb-2026",
    "-9999-01-01",
    "0000-00-00",
    "9999-12-31",
    "1899-12-31",
    "99:99",
    "24:00",
    "8001015009088",
    "🦵🏾 Tshivenḓa: ṱhoho, ḽiṅwe, ṋari",
    "\u{202e}txt.exe",
    "' OR '1'='1' --",
    "\\'; DROP TABLE patients; --",
    "%00",
    "../../../etc/passwd",
    "<script>alert(1)</script>",
    "{{ 7 * 7 }}",
    "00000000-0000-0000-0000-000000000000",
];

fn key() -> String {
    Uuid::now_v7().to_string()
}

/// A form, with fields that are right.
struct Form {
    user: &'static str,
    path: String,
    fields: Vec<(&'static str, String)>,
}

fn form(user: &'static str, path: impl Into<String>, fields: &[(&'static str, &str)]) -> Form {
    Form {
        user,
        path: path.into(),
        fields: fields.iter().map(|&(k, v)| (k, v.to_owned())).collect(),
    }
}

const PERSON: [(&str, &str); 17] = [
    ("title", "Ms"),
    ("family_name", "Mudau"),
    ("given_name", "Ndivhuwo"),
    ("preferred_name", "Ndi"),
    ("birth_date", "14-Mar-1992"),
    ("sex", "female"),
    ("identity_kind", "none"),
    ("identity_value", ""),
    ("phone", "082 123 4567"),
    ("email", "n@example.co.za"),
    ("address", "1 Main Road"),
    ("scheme_name", "Bonitas"),
    ("scheme_plan", "Standard"),
    ("member_number", "123"),
    ("dependant_code", "00"),
    ("emergency_name", "Rudzani"),
    ("emergency_phone", "083 123 4567"),
];

/// The forms of the settings; what tells one sending from the next stands first.
fn settings(all: &Furnished) -> Vec<Form> {
    let practice = &all.open.clinic.practice;
    let therapist = [
        ("given_name", "Lerato"),
        ("family_name", "Dlamini"),
        ("title", "Dr"),
        ("discipline", "biokinetics"),
        ("hpcsa_number", "BK 0012345"),
        ("bhf_number", "0123456"),
        ("room_id", ""),
        ("monday", "08:00-12:00, 13:00-17:00"),
        ("sunday", ""),
        ("username", ""),
        ("user_id", ""),
        ("idempotency_key", ""),
    ];
    let kind = [
        ("name", "Hand therapy"),
        ("given_by", "occupational-therapy"),
        ("duration_minutes", "45"),
        ("price", "650,00"),
        ("tariff_code", "66501"),
        ("capacity", "1"),
    ];
    let with = |fields: &[(&'static str, &'static str)], last| {
        let mut fields = fields.to_vec();
        fields.push(last);
        fields
    };
    let account = [
        ("username", "lerato"),
        ("display_name", "Lerato Dlamini"),
        ("role", "receptionist"),
        ("practitioner_id", ""),
        ("idempotency_key", ""),
    ];
    let key = ("idempotency_key", "");
    let version = ("version", "1");
    vec![
        form("admin", "/settings/rooms", &with(&[("name", "Gym")], key)),
        form(
            "admin",
            format!("/settings/rooms/{}", practice.room),
            &with(&[("name", "Room 2")], version),
        ),
        form("admin", "/settings/session-types", &with(&kind, key)),
        form("admin", "/settings/therapists", &therapist),
        form("admin", "/settings/accounts", &account),
        form(
            "admin",
            format!("/settings/accounts/{}", practice.admin),
            &with(&account[1..4], version),
        ),
    ]
}

fn forms(all: &Furnished) -> Vec<Form> {
    let (open, practice) = (&all.open, &all.open.clinic.practice);
    let (patient, booking) = (open.patient.to_string(), open.booking);
    let practitioner = practice.occupational.to_string();
    let mut person = PERSON.to_vec();
    person.extend([
        ("allergy_state", "known"),
        ("substance", "Latex"),
        ("reaction", "Rash"),
        ("duplicate_confirmed", "true"),
        ("idempotency_key", ""),
    ]);
    let mut edited = PERSON.to_vec();
    edited.push(("version", "1"));
    let booked = [
        ("patient_id", patient.as_str()),
        ("practitioner_id", &practitioner),
        ("session_type", "physio-45"),
        ("date", "2026-11-25"),
        ("start", "10:00"),
        ("duration_minutes", "45"),
        ("reason", "Knee"),
        ("outside_hours", ""),
        ("idempotency_key", ""),
    ];
    vec![
        form("reception", "/patients", &person),
        form("reception", format!("/patients/{patient}/edit"), &edited),
        form(
            "reception",
            format!("/patients/{patient}/allergies"),
            &[
                ("substance", "Latex"),
                ("reaction", "Rash"),
                ("idempotency_key", ""),
            ],
        ),
        form(
            "reception",
            format!("/patients/{patient}/alerts"),
            &[
                ("alert", "Falls"),
                ("until", "24-Dec-2026"),
                ("idempotency_key", ""),
            ],
        ),
        form("reception", "/appointments", &booked),
        form("reception", "/appointments/blocks", &booked),
        form(
            "reception",
            format!("/appointments/{booking}/move"),
            &[
                ("date", "2026-11-25"),
                ("start", "11:00"),
                ("practitioner_id", &practitioner),
                ("duration_minutes", "45"),
                ("version", "1"),
                ("outside_hours", ""),
            ],
        ),
        form(
            "reception",
            format!("/appointments/{booking}/status"),
            &[
                ("to", "confirmed"),
                ("version", "1"),
                ("date", "2026-11-24"),
                ("reason", ""),
            ],
        ),
        form(
            "reception",
            format!("/appointments/{booking}/participants"),
            &[
                ("patient_id", &patient),
                ("action", "add"),
                ("date", "2026-11-24"),
            ],
        ),
        form(
            "reception",
            "/waiting-list",
            &[
                ("patient_id", &patient),
                ("with", ""),
                ("duration_minutes", "45"),
                ("reason", "Knee"),
                ("not_before", "08:00"),
                ("not_after", "12:00"),
                ("priority", "2"),
                ("mon", "on"),
                ("idempotency_key", ""),
            ],
        ),
        form(
            "reception",
            format!("/waiting-list/{}/book", all.waiting),
            &[
                ("date", "2026-11-25"),
                ("start", "14:00"),
                ("practitioner_id", &practitioner),
                ("idempotency_key", ""),
            ],
        ),
        form(
            "naledi",
            "/encounters",
            &[
                ("appointment_id", &booking.to_string()),
                ("patient_id", &patient),
            ],
        ),
        form("naledi", open.path("/sign"), &[("version", "7")]),
        form(
            "naledi",
            open.path("/scores"),
            &[
                ("measure", "lefs"),
                ("score", "40"),
                ("taken_on", "2026-11-24"),
                ("idempotency_key", ""),
            ],
        ),
        form(
            "reception",
            "/invoices",
            &[("encounter_id", &open.id), ("icd10", "M54.5")],
        ),
        form(
            "reception",
            format!("/invoices/{}/payments", all.invoice),
            &[
                ("amount", "1,00"),
                ("method", "card"),
                ("reference", "slip"),
                ("idempotency_key", ""),
            ],
        ),
        // The last, because the note is signed first.
        form(
            "naledi",
            open.path("/addenda"),
            &[("text", "More."), ("idempotency_key", "")],
        ),
    ]
}

/// A reply that says no says why: a page links to the field, a problem document names it.
fn names(reply: &Reply, field: &str) -> bool {
    let text = reply.text();
    if text.starts_with('{') {
        return reply.json()["errors"]
            .as_array()
            .is_some_and(|errors| errors.iter().any(|e| e["field"].as_str() == Some(field)));
    }
    text.contains(&format!("href=\"#f-{field}\""))
}

struct Faults {
    list: Vec<String>,
}

impl Faults {
    fn check(&mut self, what: &str, field: &str, value: &str, reply: &Reply, must: bool) {
        let status = reply.status.as_u16();
        let shown: String = value.chars().take(40).collect();
        let mut fault = |why: &str| {
            let start: String = reply.text().chars().take(300).collect();
            self.list.push(format!(
                "{what} {field}={shown:?}: {why} ({status}): {start}"
            ));
        };
        // The model is away in these tests, and says so.
        if status >= 500 && status != 503 {
            fault("a fault of ours");
        }
        let is_page = reply
            .headers
            .get(header::CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"));
        if is_page && reply.text().contains("<script>alert(1)") {
            fault("script came back unescaped");
        }
        if must && !(400..500).contains(&status) {
            fault("taken");
        }
        // Nobody types these: the whole form is sent again.
        let hidden = matches!(field, "idempotency_key" | "action");
        if status == 422 && must && !hidden && !names(reply, field) {
            fault("the field is not named");
        }
    }
}

async fn post(client: &Client, path: &str, fields: &[(&str, String)]) -> Reply {
    let body = serde_urlencoded(fields);
    client
        .send(
            Request::post(path)
                .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
                .header("hx-request", "true")
                .body(Body::from(body))
                .unwrap(),
        )
        .await
}

fn serde_urlencoded(fields: &[(&str, String)]) -> String {
    fields
        .iter()
        .map(|(k, v)| {
            let value: String = v
                .bytes()
                .map(|b| {
                    if b.is_ascii_alphanumeric() {
                        char::from(b).to_string()
                    } else {
                        format!("%{b:02X}")
                    }
                })
                .collect();
            format!("{k}={value}")
        })
        .collect::<Vec<_>>()
        .join("&")
}

/// Fields that are only looked at for whether something is in them, or are dropped where they make no sense.
fn is_switch(path: &str, field: &str) -> bool {
    matches!(field, "outside_hours" | "duplicate_confirmed" | "mon")
        // A form that shows the day again where it was, and takes any day for no day.
        || (path.ends_with("/participants") && field == "date")
        // Blocked time is nobody's and of no kind.
        || (path.ends_with("/blocks") && matches!(field, "patient_id" | "session_type"))
}

#[tokio::test]
async fn no_field_of_a_form_breaks_or_takes_what_it_must_not() {
    let all = Furnished::start().await;
    let clinic = &all.open.clinic;
    let mut db = clinic.superuser().await;
    let mut faults = Faults { list: Vec::new() };
    let mut tried = 0;
    let mut before = rows(&mut db).await;
    for form in forms(&all).into_iter().chain(settings(&all)) {
        let client = clinic.login(form.user).await;
        if form.path.ends_with("/addenda") {
            let version = [("version", "1")];
            let signed = client.post_form(&all.open.path("/sign"), &version).await;
            signed.expect(303);
            before = rows(&mut db).await;
        }
        for at in 0..form.fields.len() {
            let field = form.fields[at].0;
            let refused = forbidden();
            let values = refused
                .iter()
                .map(|(_, v)| (v.as_str(), !is_switch(&form.path, field)))
                .chain(ODD.iter().map(|&v| (v, false)));
            for (value, must) in values {
                let mut fields = form.fields.clone();
                if let Some(key_field) = fields.iter_mut().find(|f| f.0 == "idempotency_key") {
                    key_field.1 = key();
                }
                fields[at].1 = value.to_owned();
                let reply = post(&client, &form.path, &fields).await;
                faults.check(&form.path, field, value, &reply, must);
                let after = rows(&mut db).await;
                let grew = std::mem::replace(&mut before, after) != before;
                if reply.status.is_client_error() && grew {
                    faults.list.push(format!(
                        "{} {field}={value:?}: refused, and written",
                        form.path
                    ));
                }
                tried += 1;
            }
        }
    }
    assert!(tried > 2_000, "{tried}");
    assert!(faults.list.is_empty(), "{}", faults.list.join("\n"));
}

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
                let reply = client
                    .send(
                        Request::builder()
                            .method(method)
                            .uri(&path)
                            .header(header::CONTENT_TYPE, "application/json")
                            .body(Body::from(sent.to_string()))
                            .unwrap(),
                    )
                    .await;
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
            let reply = client
                .send(
                    Request::builder()
                        .method(method)
                        .uri(&path)
                        .header(header::CONTENT_TYPE, "application/json")
                        .body(Body::from(broken.to_owned()))
                        .unwrap(),
                )
                .await;
            faults.check(&path, "(body)", broken, &reply, false);
        }
        let large = client
            .send(
                Request::builder()
                    .method(method)
                    .uri(&path)
                    .header(header::CONTENT_TYPE, "application/json")
                    .body(Body::from(format!("\"{}\"", "x".repeat(3 << 20))))
                    .unwrap(),
            )
            .await;
        assert_eq!(large.status, 413, "{path}: {}", large.text());
    }
    assert!(faults.list.is_empty(), "{}", faults.list.join("\n"));
}

#[tokio::test]
async fn no_question_in_an_address_breaks() {
    let all = Furnished::start().await;
    let clinic = &all.open.clinic;
    let (patient, booking) = (all.open.patient, all.open.booking);
    let questions: Vec<(&str, String, &[&str])> = vec![
        ("admin", "/day".into(), &["date", "view", "patient_id"]),
        ("admin", "/day/panels".into(), &["date"]),
        ("admin", "/patients".into(), &["q", "cursor"]),
        ("admin", "/patients/find".into(), &["q"]),
        (
            "admin",
            "/appointments/new".into(),
            &["date", "start", "practitioner_id", "patient_id"],
        ),
        (
            "admin",
            "/appointments/blocks/new".into(),
            &["date", "start", "practitioner_id"],
        ),
        (
            "admin",
            "/appointments/slots".into(),
            &["date", "practitioner_id", "duration_minutes"],
        ),
        ("admin", format!("/appointments/{booking}/card"), &["date"]),
        (
            "admin",
            format!("/appointments/{booking}/cancel"),
            &["date"],
        ),
        (
            "admin",
            format!("/appointments/{booking}/participants"),
            &["date"],
        ),
        ("admin", "/invoices".into(), &["q", "status", "before"]),
        ("admin", "/settings".into(), &["done"]),
        ("admin", "/settings/therapists/new".into(), &["user_id"]),
        (
            "admin",
            "/settings/accounts/new".into(),
            &["practitioner_id"],
        ),
        (
            "admin",
            "/admin/audit".into(),
            &["user", "patient", "date", "before"],
        ),
        ("admin", format!("/patients/{patient}/audit"), &["before"]),
        (
            "admin",
            "/api/v1/patients".into(),
            &["q", "cursor", "limit"],
        ),
        (
            "admin",
            "/api/v1/appointments".into(),
            &["date", "practitioner_id", "cursor", "limit"],
        ),
        (
            "naledi",
            "/api/v1/encounters".into(),
            &[
                "patient_id",
                "practitioner_id",
                "appointment_id",
                "status",
                "date",
                "limit",
                "cursor",
            ],
        ),
        (
            "admin",
            "/api/v1/invoices".into(),
            &["q", "status", "patient_id", "cursor", "limit"],
        ),
    ];
    let cursors = [
        "s-1",
        "s2147483647",
        "s",
        "9223372036854775807.x",
        "-62135596800000000.00000000-0000-0000-0000-000000000000",
        "-9223372036854775808.00000000-0000-0000-0000-000000000000",
        "2147483647",
        "-2147483648",
    ];
    let mut faults = Faults { list: Vec::new() };
    for (user, path, fields) in questions {
        let client = clinic.login(user).await;
        for field in fields {
            let refused = forbidden();
            let values = refused
                .iter()
                // An address is never a megabyte long.
                .filter(|(what, _)| *what != "1 MB of text")
                .map(|(_, v)| v.as_str())
                .chain(ODD)
                .chain(cursors);
            for value in values {
                let query = serde_urlencoded(&[(*field, value.to_owned())]);
                let mut address = format!("{path}?{query}");
                if path == "/appointments/slots" {
                    // The other parts of the question are right.
                    for (name, right) in [
                        ("date", "2026-11-25"),
                        ("practitioner_id", &*clinic.practice.physio.to_string()),
                        ("duration_minutes", "45"),
                    ] {
                        if name != *field {
                            address.push_str(&format!("&{name}={right}"));
                        }
                    }
                }
                let reply = client.get(&address).await;
                faults.check(&path, field, value, &reply, false);
            }
        }
    }
    let reply = clinic
        .stranger()
        .get("/login?next=%09%2F%2Fevil.example")
        .await
        .expect(200);
    assert!(!reply.text().contains("evil.example"));
    assert!(faults.list.is_empty(), "{}", faults.list.join("\n"));
}

#[tokio::test]
async fn signing_in_breaks_over_nothing_and_leads_nowhere_else() {
    let all = Furnished::start().await;
    let clinic = &all.open.clinic;
    let mut faults = Faults { list: Vec::new() };
    let refused = forbidden();
    let values: Vec<&str> = refused.iter().map(|(_, v)| v.as_str()).chain(ODD).collect();
    for (n, value) in values.iter().enumerate() {
        // Sign-ins are limited by address, so each comes from another.
        let client = clinic.stranger().at([10, 0, 1, u8::try_from(n).unwrap()]);
        for field in ["username", "password"] {
            let mut fields = vec![
                ("username", "nobody".to_owned()),
                ("password", "x".to_owned()),
            ];
            fields.iter_mut().find(|f| f.0 == field).unwrap().1 = (*value).to_owned();
            let reply = post(&client, "/login", &fields).await;
            assert!(reply.headers.get(header::SET_COOKIE).is_none());
            faults.check("/login", field, value, &reply, false);
        }
        let next = vec![
            ("username", "reception".to_owned()),
            ("password", crate::support::PASSWORD.to_owned()),
            ("next", (*value).to_owned()),
        ];
        let reply = post(&client, "/login", &next).await;
        faults.check("/login", "next", value, &reply, false);
        assert!(
            !reply.status.is_redirection() || reply.location() == "/day",
            "{value:?} leads to {}",
            reply.location()
        );
    }
    for (next, goes) in [
        ("/patients/1?tab=notes", "/patients/1?tab=notes"),
        ("//evil.example", "/day"),
        ("/\\evil.example", "/day"),
        ("/\t/evil.example", "/day"),
        ("/\u{0}", "/day"),
        ("https://evil.example", "/day"),
        ("javascript:alert(1)", "/day"),
        ("/patients?q=%E1%B9%B1hoho", "/patients?q=%E1%B9%B1hoho"),
        ("/patients?q=ṱhoho", "/day"),
    ] {
        let fields = vec![
            ("username", "reception".to_owned()),
            ("password", crate::support::PASSWORD.to_owned()),
            ("next", next.to_owned()),
        ];
        let client = clinic.stranger().at([10, 0, 2, 1]);
        let reply = post(&client, "/login", &fields).await.expect(303);
        assert_eq!(reply.location(), goes, "{next:?}");
    }
    assert!(faults.list.is_empty(), "{}", faults.list.join("\n"));
}

/// Every form that makes something, sent twice, and twice at once, makes one.
#[tokio::test]
async fn a_form_sent_twice_makes_one_record() {
    let all = Furnished::start().await;
    let open = &all.open;
    open.naledi
        .post_form(&open.path("/sign"), &[("version", "1")])
        .await
        .expect(303);
    let clinic = &open.clinic;
    let mut db = clinic.superuser().await;
    for (path, table) in [
        ("/patients", "patients"),
        ("/allergies", "allergies"),
        ("/alerts", "alerts"),
        ("/appointments", "appointments"),
        ("/appointments/blocks", "appointments"),
        ("/waiting-list", "waiting_list"),
        ("/addenda", "note_addenda"),
        ("/scores", "outcome_scores"),
        ("/payments", "payments"),
        ("/settings/rooms", "rooms"),
        ("/settings/session-types", "session_types"),
        ("/settings/therapists", "practitioners"),
        ("/settings/accounts", "users"),
    ] {
        let mut form = forms(&all)
            .into_iter()
            .chain(settings(&all))
            .find(|f| f.path.ends_with(path))
            .unwrap_or_else(|| panic!("no form {path}"));
        if path == "/appointments/blocks" {
            for (name, value) in [("start", "13:00"), ("duration_minutes", "30")] {
                form.fields.iter_mut().find(|f| f.0 == name).unwrap().1 = value.into();
            }
        }
        for at_once in [false, true] {
            if at_once && path.starts_with("/appointments") {
                form.fields.iter_mut().find(|f| f.0 == "date").unwrap().1 = "2026-11-26".into();
            }
            if at_once && path.starts_with("/settings") {
                form.fields[0].1.push('2');
            }
            if at_once && path == "/patients" {
                form.fields[2].1 = "Rendani".into();
            }
            form.fields
                .iter_mut()
                .find(|f| f.0 == "idempotency_key")
                .unwrap()
                .1 = key();
            let client = clinic.login(form.user).await;
            let before = rows(&mut db).await[table];
            let (first, second) = if at_once {
                tokio::join!(
                    post(&client, &form.path, &form.fields),
                    post(&client, &form.path, &form.fields)
                )
            } else {
                (
                    post(&client, &form.path, &form.fields).await,
                    post(&client, &form.path, &form.fields).await,
                )
            };
            for reply in [&first, &second] {
                assert!(
                    reply.status.is_success() || reply.status.is_redirection(),
                    "{path}: {} {}",
                    reply.status,
                    reply.text()
                );
            }
            assert_eq!(first.location(), second.location(), "{path}");
            assert_eq!(
                rows(&mut db).await[table],
                before + 1,
                "{path}, at once: {at_once}"
            );
        }
    }
}
