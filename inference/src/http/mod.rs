//! HTTP/1.1 on a Unix socket, in the forms OpenAI's clients know.

mod answer;
mod chat;
mod completions;
mod embeddings;
pub mod error;
pub mod requests;
mod status;
mod tokens;

use self::requests::Read;
use self::requests::params::Terms;
use crate::front::{Handle, Submission};
use crate::metrics::Metrics;
use anyhow::{Context, bail};
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::HeaderValue;
use axum::http::header::{CONNECTION, CONTENT_LENGTH};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Router, body::Bytes};
use error::ApiError;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use std::collections::VecDeque;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::UnixListener;
use tokio::task::AbortHandle;

/// The longest request body, in bytes.
const MAX_BODY: usize = 4 << 20;
/// Connections at the same time.
const MAX_CONNECTIONS: usize = 512;
/// Time a client has to send a request's head. Clients are on this machine: whoever needs longer only takes a place.
const HEAD_TIME: Duration = Duration::from_secs(3);
/// Time a client has to send a request's body.
const BODY_TIME: Duration = Duration::from_secs(4);
/// Further connections, which may only ask how things stand: that must be answered whatever takes the places.
const NARROW_CONNECTIONS: usize = 64;
/// Time a client has there to send a request's head.
const NARROW_HEAD_TIME: Duration = Duration::from_secs(1);
/// Time open requests have to end when the service stops.
const GRACE: Duration = Duration::from_secs(5);

/// The number of a connection: clients without a name are told apart by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connection(u64);

/// Marks requests on a connection that found no place.
#[derive(Debug, Clone, Copy)]
struct Narrow;

/// What handlers have.
#[derive(Clone)]
struct App {
    front: Handle,
    metrics: Arc<Metrics>,
}

/// Opens the socket, replacing one that a dead daemon left behind.
///
/// # Errors
/// When the path is too long, in use, or something other than a socket.
pub fn listen(path: &Path) -> anyhow::Result<UnixListener> {
    let length = path.as_os_str().len();
    if length > 107 {
        bail!(
            "the socket's path {} has {length} bytes; the system allows 107",
            path.display()
        );
    }
    if let Ok(found) = std::fs::symlink_metadata(path) {
        if !found.file_type().is_socket() {
            bail!("{} is there and is not a socket", path.display());
        }
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            bail!("another daemon is listening on {}", path.display());
        }
        std::fs::remove_file(path)
            .with_context(|| format!("removing the old socket {}", path.display()))?;
    }
    // The group may connect, others not; set before the socket exists, so that there is no moment when they can.
    let before = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o117));
    let listener =
        UnixListener::bind(path).with_context(|| format!("listening on {}", path.display()));
    rustix::process::umask(before);
    listener
}

/// Serves until `stop`, then gives open requests a moment.
pub async fn serve(
    listener: UnixListener,
    front: Handle,
    metrics: Arc<Metrics>,
    stop: impl Future<Output = ()>,
) {
    let service = TowerToHyperService::new(router(App { front, metrics }));
    let graceful = GracefulShutdown::new();
    let places = Arc::new(tokio::sync::Semaphore::new(MAX_CONNECTIONS));
    tokio::pin!(stop);
    let mut number = 0;
    let mut narrow: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        let accepted = tokio::select! {
            () = &mut stop => break,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else {
            // Out of file handles, most likely: they come back when a request ends.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let place = Arc::clone(&places).try_acquire_owned().ok();
        let crowded = place.is_none();
        let mut builder = hyper::server::conn::http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(if crowded { NARROW_HEAD_TIME } else { HEAD_TIME });
        number += 1;
        let (connection, service) = (Connection(number), service.clone());
        let service = hyper::service::service_fn(move |mut request: hyper::Request<_>| {
            request.extensions_mut().insert(connection);
            if crowded {
                request.extensions_mut().insert(Narrow);
            }
            service.call(request)
        });
        let connection = graceful.watch(builder.serve_connection(TokioIo::new(stream), service));
        let task = tokio::spawn(async move {
            // A connection's error is the client's affair: it went away or didn't speak HTTP.
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended early");
            }
            drop(place);
        });
        if crowded {
            narrow.retain(|task| !task.is_finished());
            if narrow.len() >= NARROW_CONNECTIONS
                && let Some(oldest) = narrow.pop_front()
            {
                // Answers come at once there: whoever is still open has asked nothing.
                oldest.abort();
            }
            narrow.push_back(task.abort_handle());
        }
    }
    drop(listener);
    // Requests that don't end in time are cut off by the end of the process.
    let _ = tokio::time::timeout(GRACE, graceful.shutdown()).await;
}

fn router(app: App) -> Router {
    Router::new()
        .route("/v1/chat/completions", post(chat::complete))
        .route("/v1/completions", post(completions::complete))
        .route("/v1/embeddings", post(embeddings::embed))
        .route("/v1/models", get(status::models))
        .route("/tokenize", post(tokens::tokenize))
        .route("/detokenize", post(tokens::detokenize))
        .route("/health", get(status::health))
        .route("/metrics", get(status::metrics))
        .fallback(async |request: Request| {
            ApiError::not_found(format!("there is no {}", request.uri().path()))
        })
        .method_not_allowed_fallback(async || ApiError::method())
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn(keep_narrow))
        .layer(middleware::from_fn_with_state(app.clone(), count))
        .with_state(app)
}

/// Refuses what a connection without a place may not ask, and ends it after its first answer.
async fn keep_narrow(request: Request, next: Next) -> Response {
    if request.extensions().get::<Narrow>().is_none() {
        return next.run(request).await;
    }
    let mut response = match request.uri().path() {
        "/health" | "/metrics" => next.run(request).await,
        _ => {
            ApiError::unavailable("too many connections are open; try again later").into_response()
        }
    };
    response
        .headers_mut()
        .insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

/// Counts answers by route and status.
async fn count(
    State(app): State<App>,
    path: Option<MatchedPath>,
    request: Request,
    next: Next,
) -> Response {
    let response = next.run(request).await;
    const ROUTES: [&str; 8] = [
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/embeddings",
        "/v1/models",
        "/tokenize",
        "/detokenize",
        "/health",
        "/metrics",
    ];
    let route = ROUTES
        .into_iter()
        .find(|r| path.as_ref().is_some_and(|p| p.as_str() == *r))
        .unwrap_or("other");
    app.metrics.answered(route, response.status().as_u16());
    response
}

/// A route's body.
struct Body<T>(T);

impl<T: Read> axum::extract::FromRequest<App> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &App) -> Result<Self, ApiError> {
        let headers = request.headers().clone();
        let announced = headers
            .get(CONTENT_LENGTH)
            .and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        if announced.is_some_and(|length| length > MAX_BODY as u64) {
            // Nothing of it is waited for.
            return Err(ApiError::too_large(MAX_BODY));
        }
        let body = tokio::time::timeout(BODY_TIME, Bytes::from_request(request, state)).await;
        let body = body.map_err(|_| ApiError::invalid(None, "the body did not arrive in time"))?;
        let body = body.map_err(
            |rejection| match rejection.into_response().status().as_u16() {
                413 => ApiError::too_large(MAX_BODY),
                _ => ApiError::invalid(None, "the body did not arrive whole"),
            },
        )?;
        T::read(&headers, &body).map(Body)
    }
}

/// The terms for the front. A client without a name is known by its connection.
fn submission(terms: &Terms, connection: Connection, streaming: bool) -> Submission {
    Submission {
        priority: terms.priority,
        streaming,
        client: match &terms.client {
            Some(name) => format!("name {name}"),
            None => format!("connection {}", connection.0),
        },
        deadline: terms.limit.map(|limit| Instant::now() + limit),
    }
}

/// Checks that the model asked for is the one that is loaded. Nothing, an empty name and `default` ask for any.
///
/// # Errors
/// When it is another, or nothing writes.
fn check_model(app: &App, asked: Option<&str>, embedding: bool) -> Result<String, ApiError> {
    let status = app.front.status();
    let loaded = if embedding {
        let model = status.info.as_ref().and_then(|i| i.embedding.as_ref());
        model.map_or_else(String::new, |m| m.id.clone())
    } else {
        if let Some(reason) = status.no_writer {
            return Err(ApiError::unavailable(reason));
        }
        let model = status.info.as_ref().and_then(|i| i.model.as_ref());
        model.map_or_else(|| status.model_name.to_string(), |m| m.id.clone())
    };
    match asked {
        Some(asked)
            if !asked.is_empty()
                && asked != "default"
                && asked != loaded
                && !(embedding && loaded.is_empty()) =>
        {
            Err(ApiError::no_such_model(asked, &loaded))
        }
        _ => Ok(loaded),
    }
}
