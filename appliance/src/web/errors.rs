//! The one place where an error becomes a response: RFC 9457 problem JSON for programs, a page for people.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::{App, Page};
use crate::error::{Error, FieldError};

/// What an error response carries to [`render_errors`].
#[derive(Clone, Debug)]
struct Carried {
    status: StatusCode,
    detail: String,
    fields: Vec<FieldError>,
    theirs: Option<serde_json::Value>,
    retry_after: Option<u64>,
    /// A refusal that the audit log does not have yet.
    unlogged: bool,
}

/// Whether a response refuses somebody, and the audit log does not have it yet.
#[must_use]
pub fn is_unlogged_refusal(response: &Response) -> bool {
    response
        .extensions()
        .get::<Carried>()
        .is_some_and(|carried| carried.unlogged)
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        if let Self::Internal(cause) = &self {
            tracing::error!(error = %cause, "request failed");
        }
        let status = self.status();
        let detail = self.to_string();
        let mut carried = Carried {
            status,
            detail,
            fields: Vec::new(),
            theirs: None,
            retry_after: None,
            unlogged: matches!(self, Self::Forbidden(_)),
        };
        match self {
            Self::Invalid(fields) => carried.fields = fields,
            Self::Conflict { theirs, .. } => carried.theirs = theirs,
            Self::TooMany { retry_after } => carried.retry_after = Some(retry_after),
            _ => {}
        }
        let mut response = status.into_response();
        response.extensions_mut().insert(carried);
        response
    }
}

/// Whether whoever asked is a program, or a script of one of our pages.
fn is_api(path: &str, headers: &HeaderMap) -> bool {
    let accept = headers
        .get(header::ACCEPT)
        .and_then(|v| v.to_str().ok())
        .unwrap_or_default();
    headers.contains_key("hx-request")
        || path.starts_with("/api/")
        || path.starts_with("/fhir/")
        || path == "/metrics"
        || (accept.contains("json") && !accept.contains("text/html"))
        || (headers
            .get(header::CONTENT_TYPE)
            .is_some_and(|v| v == "application/json"))
}

/// Renders errors of every route, and bare 404s and 405s of the router, in one form.
pub async fn render_errors(State(app): State<App>, request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let asked = request
        .uri()
        .path_and_query()
        .map_or_else(|| path.clone(), |p| p.as_str().to_owned());
    let api = is_api(&path, request.headers());
    let fragment = request
        .headers()
        .get("sec-fetch-dest")
        .is_some_and(|v| v == "empty");
    let get = request.method() == http::Method::GET;
    let mut response = next.run(request).await;
    let status = response.status();
    let carried = match response.extensions_mut().remove::<Carried>() {
        Some(carried) => carried,
        // The router's and the layers' own refusals come bare or as plain text.
        None if (status.is_client_error() || status.is_server_error())
            && !is_rendered(&response) =>
        {
            // An id in the address that is none: nothing is there.
            let status = if status == StatusCode::BAD_REQUEST {
                StatusCode::NOT_FOUND
            } else {
                status
            };
            Carried {
                status,
                detail: plain_words(status).into(),
                fields: Vec::new(),
                theirs: None,
                retry_after: None,
                unlogged: false,
            }
        }
        None => return response,
    };
    let mut rendered = if api {
        problem(&carried, &path)
    } else if carried.status == StatusCode::UNAUTHORIZED && get && !fragment {
        axum::response::Redirect::to(&format!("/login?next={}", encode(&asked))).into_response()
    } else {
        page(&app, &carried)
    };
    for name in [header::RETRY_AFTER, header::ALLOW] {
        if let Some(value) = response.headers().get(&name) {
            rendered.headers_mut().insert(name, value.clone());
        }
    }
    if let Some(seconds) = carried.retry_after {
        rendered
            .headers_mut()
            .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    rendered
}

fn is_rendered(response: &Response) -> bool {
    let kind = response
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|v| v.to_str().ok())
        .unwrap_or_default();
    kind.starts_with("text/html") || kind.contains("json")
}

fn encode(path: &str) -> String {
    path.bytes()
        .map(|b| match b {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => {
                char::from(b).to_string()
            }
            other => format!("%{other:02X}"),
        })
        .collect()
}

fn plain_words(status: StatusCode) -> &'static str {
    match status {
        StatusCode::NOT_FOUND => "This does not exist, or it is not in your practice.",
        StatusCode::METHOD_NOT_ALLOWED => "This address does not take that kind of request.",
        StatusCode::FORBIDDEN => "The request came from another site and was refused.",
        StatusCode::PAYLOAD_TOO_LARGE => "What was sent is too large.",
        StatusCode::TOO_MANY_REQUESTS => "Too many requests. Wait a moment and try again.",
        StatusCode::REQUEST_TIMEOUT => {
            "The request took too long and was stopped. Nothing was changed."
        }
        _ => "Something went wrong on the clinic server. Nothing was changed.",
    }
}

/// What whoever reads the page can do now; empty where the message itself says it.
fn what_to_do(status: StatusCode) -> &'static str {
    match status {
        StatusCode::NOT_FOUND => {
            "Check the address, or find the patient, visit or invoice again from today's diary."
        }
        StatusCode::UNAUTHORIZED => {
            "Sign in in another tab, then load this page again: what you filled in is sent once more."
        }
        StatusCode::CONFLICT => "Go back and open the page again to see what changed.",
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::REQUEST_TIMEOUT => {
            "If it stays like this for some minutes, tell the practice's admin."
        }
        status if status.is_server_error() => {
            "Go back and try again. If it happens again, tell the practice's admin when and where."
        }
        _ => "",
    }
}

fn title(status: StatusCode) -> &'static str {
    match status {
        StatusCode::NOT_FOUND => "Not found",
        StatusCode::FORBIDDEN => "Not allowed",
        StatusCode::UNAUTHORIZED => "You are signed out",
        StatusCode::GONE => "Erased",
        StatusCode::CONFLICT => "Changed or taken meanwhile",
        StatusCode::UNPROCESSABLE_ENTITY => "Some details need attention",
        StatusCode::PAYLOAD_TOO_LARGE => "Too large",
        StatusCode::TOO_MANY_REQUESTS => "Too many attempts",
        StatusCode::SERVICE_UNAVAILABLE => "Not available just now",
        StatusCode::METHOD_NOT_ALLOWED => "Not possible here",
        _ => "Something went wrong",
    }
}

fn problem(carried: &Carried, path: &str) -> Response {
    let mut body = serde_json::json!({
        "type": "about:blank",
        "title": title(carried.status),
        "status": carried.status.as_u16(),
        "detail": carried.detail,
        "instance": path,
    });
    if !carried.fields.is_empty() {
        body["errors"] = serde_json::json!(carried.fields);
    }
    if let Some(theirs) = &carried.theirs {
        body["theirs"] = theirs.clone();
    }
    let headers = [(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/problem+json"),
    )];
    (carried.status, headers, body.to_string()).into_response()
}

/// The page for an error. It stands alone, so that it can be shown whatever failed.
fn page(app: &App, carried: &Carried) -> Response {
    let help = if carried.fields.is_empty() {
        what_to_do(carried.status).to_owned()
    } else {
        carried
            .fields
            .iter()
            .map(|f| f.message.as_ref())
            .collect::<Vec<_>>()
            .join(" ")
    };
    let page = ErrorPage {
        title: title(carried.status),
        detail: carried.detail.clone(),
        help,
        reference: None,
        signed_out: carried.status == StatusCode::UNAUTHORIZED,
    };
    match super::html(app, &page) {
        Ok(response) => (carried.status, response).into_response(),
        Err(_) => (carried.status, carried.detail.clone()).into_response(),
    }
}

/// `web/error.html`.
#[derive(serde::Serialize)]
struct ErrorPage {
    title: &'static str,
    detail: String,
    help: String,
    reference: Option<String>,
    /// Signing in is what helps, without leaving this page: it holds what was sent.
    signed_out: bool,
}

impl Page for ErrorPage {
    const TEMPLATE: &'static str = "web/error.html";
    fn samples() -> Vec<Self> {
        vec![
            Self {
                title: "Not found",
                detail: "This does not exist, or it is not in your practice.".into(),
                help: String::new(),
                reference: None,
                signed_out: false,
            },
            Self {
                title: "Something went wrong",
                detail: "Nothing was changed.".into(),
                help: "Try again.".into(),
                reference: Some("0193".into()),
                signed_out: false,
            },
        ]
    }
}

#[cfg(test)]
super::page_samples!(ErrorPage);
