//! Bad input on every field of every form, query and API body: a clear refusal that names the field, never a fault of ours,
//! and nothing half-written. And every form sent twice makes one record.

mod addresses;
mod api_bodies;
mod form_fields;
mod forms;
mod forms_twice;
mod login;

use axum::body::Body;
use http::{Request, header};

use crate::support::{Client, Reply};

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
