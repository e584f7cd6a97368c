//! Requests that another site makes a browser send.

use axum::body::Body;
use http::{Method, Request, header};
use serde_json::json;
use uuid::Uuid;

use crate::support::{Client, Open, rows};

/// A browser tells where a request comes from; what another site starts is refused before anything reads it.
#[tokio::test]
async fn what_another_site_starts_is_refused() {
    let open = Open::start().await;
    let (clinic, naledi) = (&open.clinic, &open.naledi);
    let reception = clinic.login("reception").await;
    let mut db = clinic.superuser().await;
    let before = rows(&mut db).await;
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
    assert_eq!(rows(&mut db).await, before, "something was written");
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
