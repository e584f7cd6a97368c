//! The admin socket: what `hadadactl` may ask. The socket's file mode lets in only its owner and root.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::Context;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::{StatusCode, header};
use tokio::net::UnixListener;
use tokio_util::sync::CancellationToken;

use crate::accounts::{TokenRequest, create_token};
use crate::audit::{self, AcceptHead, BoxEvent, Sealer, export};
use crate::error::{Error, Result};
use crate::remote;
use crate::web::App;

pub(super) fn bind(path: &Path) -> anyhow::Result<UnixListener> {
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        anyhow::bail!("another server already listens on {}", path.display());
    }
    if path.exists() {
        std::fs::remove_file(path)
            .with_context(|| format!("can't remove the left-over socket {}", path.display()))?;
    }
    let listener = UnixListener::bind(path)
        .with_context(|| format!("can't make the admin socket {}", path.display()))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

#[derive(Clone)]
struct Admin {
    app: App,
    sealer: Sealer,
}

pub(super) async fn serve(
    listener: UnixListener,
    app: App,
    sealer: Sealer,
    stop: CancellationToken,
) {
    if let Err(error) = axum::serve(listener, router(app, sealer))
        .with_graceful_shutdown(stop.cancelled_owned())
        .await
    {
        tracing::error!(%error, "the admin socket ended");
    }
}

/// What the socket answers.
pub fn router(app: App, sealer: Sealer) -> Router {
    Router::new()
        .route("/tokens", post(token))
        .route("/audit/export", get(audit_export))
        .route("/audit/event", post(audit_event))
        .route("/audit/accept-head", post(accept_head))
        .route(
            "/remote-access",
            get(remote_now).post(remote_open).delete(remote_close),
        )
        .route("/status", get(status))
        .with_state(Admin { app, sealer })
}

/// An error as RFC 9457 has it, the fields' messages in its detail.
pub(super) fn plain(error: Error) -> Response {
    if let Error::Internal(cause) = &error {
        tracing::error!(error = %cause, "a request of hadadactl failed");
    }
    let status = error.status();
    let detail = match &error {
        Error::Invalid(fields) => fields
            .iter()
            .map(|f| format!("{}: {}", f.field, f.message))
            .collect::<Vec<_>>()
            .join(" "),
        other => other.to_string(),
    };
    let body = serde_json::json!({ "type": "about:blank", "title": status.canonical_reason(), "status": status.as_u16(), "detail": detail });
    (
        status,
        [(header::CONTENT_TYPE, "application/problem+json")],
        body.to_string(),
    )
        .into_response()
}

fn answer<T: serde::Serialize>(result: Result<T>) -> Response {
    match result {
        Ok(body) => Json(body).into_response(),
        Err(error) => plain(error),
    }
}

async fn audit_event(State(admin): State<Admin>, Json(event): Json<BoxEvent>) -> Response {
    let recorded = audit::record_told(&admin.app, &event).await;
    answer(recorded.map(|practices| serde_json::json!({ "recorded": practices })))
}

async fn accept_head(State(admin): State<Admin>, Json(request): Json<AcceptHead>) -> Response {
    answer(audit::accept_head(&admin.app, &admin.sealer, &request).await)
}

/// Until when and why remote access is to be open.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct OpenRemote {
    #[serde(with = "time::serde::rfc3339")]
    until: time::OffsetDateTime,
    reason: String,
}

async fn remote_now(State(admin): State<Admin>) -> Response {
    answer(remote::current(&admin.app).await)
}

async fn remote_open(State(admin): State<Admin>, Json(asked): Json<OpenRemote>) -> Response {
    answer(remote::open(&admin.app, asked.until, &asked.reason).await)
}

async fn remote_close(State(admin): State<Admin>) -> Response {
    let closed = remote::close(&admin.app, "closed by somebody present").await;
    answer(closed.map(|was_open| serde_json::json!({ "was_open": was_open })))
}

async fn token(State(admin): State<Admin>, Json(request): Json<TokenRequest>) -> Response {
    match create_token(&admin.app.db, &admin.app.clock, &request).await {
        Ok(token) => (
            StatusCode::CREATED,
            Json(serde_json::json!({ "token": token })),
        )
            .into_response(),
        Err(error) => plain(error),
    }
}

async fn audit_export(State(admin): State<Admin>) -> Response {
    let stream = export(
        admin.app.db.clone(),
        admin.app.clock.clone(),
        admin.sealer.public_key(),
    );
    (
        [(header::CONTENT_TYPE, "application/x-ndjson")],
        Body::from_stream(stream),
    )
        .into_response()
}

async fn status(State(admin): State<Admin>) -> Response {
    let schema = admin.app.db.schema_is_current().await;
    let audit = admin.sealer.state().await.ok();
    Json(serde_json::json!({
        "version": crate::version::version(),
        "database": if schema.is_ok() { "ok" } else { "down" },
        "migrations": match schema { Ok(true) => "current", Ok(false) => "behind", Err(_) => "unknown" },
        "inference": &**admin.app.ai.load(),
        "audit": audit,
    }))
    .into_response()
}
