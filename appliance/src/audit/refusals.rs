//! Refusals are events too: whoever asks for what their role does not allow is in the log, in a transaction of its own.

use axum::extract::{FromRequestParts, MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::header;

use super::store;
use crate::db::{Action, AuditEvent};
use crate::error::Result;
use crate::ids::PatientId;
use crate::web::{App, Session, is_unlogged_refusal};

/// Records each refusal that the handler did not record itself.
pub async fn record_refusals(State(app): State<App>, request: Request, next: Next) -> Response {
    let asked = Asked::of(&request);
    let response = next.run(request).await;
    if is_unlogged_refusal(&response)
        && let Err(error) = asked.record(&app).await
    {
        tracing::error!(%error, "a refusal could not be put into the audit log");
    }
    response
}

/// What is needed of a request to tell of its refusal.
struct Asked {
    method: http::Method,
    route: Option<MatchedPath>,
    path: http::Uri,
    credentials: http::HeaderMap,
}

impl Asked {
    fn of(request: &Request) -> Self {
        let credentials = [header::AUTHORIZATION, header::COOKIE]
            .into_iter()
            .filter_map(|name| Some((name.clone(), request.headers().get(name)?.clone())))
            .collect();
        Self {
            method: request.method().clone(),
            route: request.extensions().get().cloned(),
            path: request.uri().clone(),
            credentials,
        }
    }

    async fn record(self, app: &App) -> Result<()> {
        let route = self.route.as_ref().map_or("", MatchedPath::as_str);
        let (entity, patient) = about(route, self.path.path());
        let reason = format!("role: {} {route}", self.method);
        let (mut parts, ()) = Request::new(()).into_parts();
        parts.headers = self.credentials;
        let session =
            <Session as FromRequestParts<App>>::from_request_parts(&mut parts, app).await?;
        let mut event = AuditEvent::new(Action::Refuse, entity).reason(reason);
        let mut tx = app.begin(&session).await?;
        // Only of this practice: another one's ids are nobody's here.
        if let Some(patient) = patient
            && store::patient_name(tx.conn(), patient).await?.is_some()
        {
            event = event.patient(patient);
        }
        tx.record(event).await?;
        tx.commit().await
    }
}

/// What a route is about, as FHIR names it, and whose record its address names.
fn about(route: &str, path: &str) -> (&'static str, Option<PatientId>) {
    let inside = |text: &'_ str| text.trim_start_matches("/api/v1").to_owned();
    let (route, path) = (inside(route), inside(path));
    let patient = path
        .strip_prefix("/patients/")
        .and_then(|rest| rest.split('/').next()?.parse().ok());
    let entity = if route.ends_with("/audit") {
        "AuditEvent"
    } else {
        match route.split('/').nth(1).unwrap_or_default() {
            "patients" => "Patient",
            "encounters" | "notes" => "Note",
            "invoices" => "Invoice",
            "admin" | "metrics" => "Device",
            "settings" => "Organization",
            _ => "Appointment",
        }
    };
    (entity, patient)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_tells_what_was_asked_for() {
        let id = PatientId::random();
        for (route, path, entity, patient) in [
            (
                "/patients/{id}/edit",
                format!("/patients/{id}/edit"),
                "Patient",
                Some(id),
            ),
            (
                "/api/v1/patients/{id}",
                format!("/api/v1/patients/{id}"),
                "Patient",
                Some(id),
            ),
            (
                "/patients/{id}/audit",
                format!("/patients/{id}/audit"),
                "AuditEvent",
                Some(id),
            ),
            ("/patients", "/patients".to_owned(), "Patient", None),
            (
                "/admin/audit",
                "/admin/audit".to_owned(),
                "AuditEvent",
                None,
            ),
            ("/admin", "/admin".to_owned(), "Device", None),
            ("/encounters", "/encounters".to_owned(), "Note", None),
        ] {
            assert_eq!(about(route, &path), (entity, patient), "{route}");
        }
    }
}
