//! Before there is a practice every address leads to the wizard; afterwards the wizard is not there.

use std::sync::atomic::Ordering;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};

use super::store;
use crate::error::{Error, Result};
use crate::web::App;

/// What works without a practice: the program's own health, static files and the trust page.
fn always(path: &str) -> bool {
    path.starts_with("/a/")
        || path == "/trust"
        || path.starts_with("/trust/")
        || matches!(path, "/healthz" | "/readyz" | "/metrics" | "/sw.js")
}

async fn has_practice(app: &App) -> Result<bool> {
    if app.has_practice.load(Ordering::Relaxed) {
        return Ok(true);
    }
    let mut connection = app.db.records.acquire().await?;
    let exists = store::practice_exists(&mut connection).await?;
    if exists {
        app.has_practice.store(true, Ordering::Relaxed);
    }
    Ok(exists)
}

/// Leads to the wizard while there is no practice.
pub async fn gate(State(app): State<App>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    if always(path) {
        return next.run(request).await;
    }
    let wizard = path == "/setup" || path.starts_with("/setup/");
    match has_practice(&app).await {
        Ok(true) if wizard => Error::NotFound.into_response(),
        Ok(true) => next.run(request).await,
        Ok(false) if wizard => next.run(request).await,
        Ok(false) if path.starts_with("/api/") || path.starts_with("/fhir/") => Error::Unavailable(
            "This server has not been set up yet: open /setup in a browser.".into(),
        )
        .into_response(),
        Ok(false) => Redirect::to("/setup").into_response(),
        // A database without tables, or none: other pages say so themselves.
        Err(error) if wizard => error.into_response(),
        Err(_) => next.run(request).await,
    }
}
