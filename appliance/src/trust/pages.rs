//! `/trust` and the files it offers.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header;

use super::authority::Authority;
use crate::clock;
use crate::error::{Error, Result};
use crate::web::{App, Page, html};

/// What the page says of the authority.
#[derive(serde::Serialize)]
struct Shown {
    name: String,
    /// SHA-256 in two halves, each of which fits a line.
    fingerprint: [String; 2],
    ends: String,
}

/// `trust/trust.html`.
#[derive(serde::Serialize)]
pub(super) struct TrustPage {
    host: String,
    authority: Option<Shown>,
}

impl Page for TrustPage {
    const TEMPLATE: &'static str = "trust/trust.html";
    fn samples() -> Vec<Self> {
        let half = || vec!["AB"; 16].join(":");
        vec![
            Self {
                host: "clinic.local".into(),
                authority: Some(Shown {
                    name: "Hadada authority of clinic.local".into(),
                    fingerprint: [half(), half()],
                    ends: "24-Nov-2036".into(),
                }),
            },
            Self {
                host: "clinic.example.org".into(),
                authority: None,
            },
        ]
    }
}

/// `GET /trust`
pub(super) async fn show(State(app): State<App>) -> Result<Response> {
    let authority = Authority::load(&app.config.tls_authority).await?;
    let page = TrustPage {
        host: app.config.host.clone(),
        authority: authority.map(|authority| {
            let fingerprint = authority.fingerprint();
            let (first, second) = fingerprint.split_at(fingerprint.len() / 2);
            Shown {
                fingerprint: [
                    first.trim_end_matches(':').to_owned(),
                    second.trim_start_matches(':').to_owned(),
                ],
                ends: clock::date_text(clock::local(authority.ends).0),
                name: authority.name,
            }
        }),
    };
    html(&app, &page)
}

async fn authority(app: &App) -> Result<Authority> {
    Authority::load(&app.config.tls_authority)
        .await?
        .ok_or(Error::NotFound)
}

fn file(kind: &'static str, name: &str, body: impl IntoResponse) -> Response {
    let named = format!("attachment; filename=\"{name}\"");
    (
        [
            (header::CONTENT_TYPE, kind.to_owned()),
            (header::CONTENT_DISPOSITION, named),
        ],
        body,
    )
        .into_response()
}

/// `GET /trust/ca.pem`
pub(super) async fn pem(State(app): State<App>) -> Result<Response> {
    let authority = authority(&app).await?;
    Ok(file(
        "application/x-pem-file",
        "hadada-ca.pem",
        authority.pem,
    ))
}

/// `GET /trust/ca.cer`: Windows and Android open it.
pub(super) async fn der(State(app): State<App>) -> Result<Response> {
    let authority = authority(&app).await?;
    Ok(file(
        "application/x-x509-ca-cert",
        "hadada-ca.cer",
        authority.der,
    ))
}

/// `GET /trust/ca.mobileconfig`
pub(super) async fn profile(State(app): State<App>) -> Result<Response> {
    let authority = authority(&app).await?;
    let profile = authority.profile(&app.config.host);
    Ok(file(
        "application/x-apple-aspen-config",
        "hadada.mobileconfig",
        profile,
    ))
}
