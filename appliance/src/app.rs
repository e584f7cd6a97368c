//! The router: every room's routes, and what wraps them all.

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::middleware;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use http::StatusCode;
use tower_http::CompressionLevel;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{NotForContentType, Predicate, SizeAbove};
use tower_http::csrf::CsrfLayer;
use tower_http::timeout::TimeoutLayer;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;

use crate::web::{App, Templates};
use crate::{
    accounts, appointments, audit, billing, encounters, erasure, patients, practices, settings,
    setup, status, trust, web,
};

/// Largest body of a request: a note of 256 KB as JSON fits, with room.
const BODY_LIMIT: usize = 2 * 1024 * 1024;

/// Every template of the product.
///
/// # Errors
/// The first template that does not parse.
pub fn templates() -> Result<Templates, minijinja::Error> {
    Templates::new(&[
        audit::TEMPLATES,
        accounts::TEMPLATES,
        practices::TEMPLATES,
        settings::TEMPLATES,
        patients::TEMPLATES,
        appointments::TEMPLATES,
        encounters::TEMPLATES,
        billing::TEMPLATES,
        erasure::TEMPLATES,
        status::TEMPLATES,
        trust::TEMPLATES,
        setup::TEMPLATES,
    ])
}

#[derive(OpenApi)]
#[openapi(info(
    title = "Hadada",
    description = "The practice's JSON API. Times are RFC 3339 with offset, ids are UUIDs, errors are RFC 9457 problem documents, lists are `{items, next}`."
))]
struct ApiDocument;

fn api() -> (Router<App>, utoipa::openapi::OpenApi) {
    OpenApiRouter::with_openapi(ApiDocument::openapi())
        .merge(practices::api_routes())
        .merge(patients::api_routes())
        .merge(appointments::api_routes())
        .merge(encounters::api_routes())
        .merge(billing::api_routes())
        .split_for_parts()
}

/// The OpenAPI 3.1 document.
#[must_use]
pub fn openapi() -> utoipa::openapi::OpenApi {
    api().1
}

/// Pages travel compressed; event streams, PDFs and what is small do not.
fn compression() -> CompressionLayer<impl Predicate> {
    let worth_it = SizeAbove::new(2048)
        .and(NotForContentType::SSE)
        .and(NotForContentType::IMAGES)
        .and(NotForContentType::const_new("application/pdf"));
    CompressionLayer::new()
        .quality(CompressionLevel::Fastest)
        .compress_when(worth_it)
}

/// All routes, ready to serve.
pub fn router(app: App) -> Router {
    let (api, document) = api();
    let document = axum::Json(document);
    Router::new()
        .route("/", get(|| async { Redirect::to("/day") }))
        .merge(accounts::routes(&app.limits))
        .merge(audit::routes())
        .merge(settings::routes())
        .merge(patients::routes())
        .merge(appointments::routes())
        .merge(encounters::routes())
        .merge(billing::routes())
        .merge(erasure::routes())
        .merge(status::routes())
        .merge(trust::routes())
        .merge(setup::routes(&app.limits))
        .route("/events", get(web::event_stream))
        .merge(api)
        .route("/api/openapi.json", get(move || async move { document }))
        .layer(app.limits.session())
        .layer(middleware::from_fn_with_state(app.clone(), web::recognise))
        .layer(TimeoutLayer::with_status_code(
            StatusCode::REQUEST_TIMEOUT,
            std::time::Duration::from_secs(120),
        ))
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .layer(compression())
        .layer(CsrfLayer::new())
        .route("/a/{file}", get(web::serve_asset))
        .route("/sw.js", get(web::serve_asset))
        .route("/healthz", get(|| async { "ok" }))
        .route("/readyz", get(ready))
        .layer(axum::Extension(accounts::Passwords::default()))
        .layer(axum::Extension(encounters::Running::default()))
        .layer(CatchPanicLayer::custom(|_| {
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }))
        .layer(middleware::from_fn_with_state(
            app.clone(),
            web::refuse_writes,
        ))
        .layer(middleware::from_fn_with_state(app.clone(), setup::gate))
        .layer(middleware::from_fn_with_state(
            app.clone(),
            audit::record_refusals,
        ))
        .layer(middleware::from_fn_with_state(
            app.clone(),
            web::render_errors,
        ))
        .layer(middleware::from_fn_with_state(
            app.clone(),
            web::security_headers,
        ))
        .layer(middleware::from_fn(status::measure))
        .with_state(app)
}

/// What [`ready`] answers.
#[derive(serde::Serialize)]
struct Ready {
    ready: bool,
    version: &'static str,
    database: &'static str,
    migrations: &'static str,
    inference: crate::inference::Health,
}

/// `GET /readyz`: 200 when the clinic can work. The model may be away: the clinic works on.
async fn ready(State(app): State<App>) -> Response {
    let schema = app.db.schema_is_current().await;
    let ready = matches!(schema, Ok(true));
    let body = Ready {
        ready,
        version: crate::version::version(),
        database: if schema.is_ok() { "ok" } else { "down" },
        migrations: match schema {
            Ok(true) => "current",
            Ok(false) => "behind: run `hadada migrate`",
            Err(_) => "unknown",
        },
        inference: crate::inference::Health::clone(&app.ai.load()),
    };
    (
        if ready {
            StatusCode::OK
        } else {
            StatusCode::SERVICE_UNAVAILABLE
        },
        axum::Json(body),
    )
        .into_response()
}
