//! Errors in the form OpenAI's clients expect: `{"error": {message, type, param, code}}`.

use axum::http::{HeaderValue, StatusCode, header::RETRY_AFTER};
use axum::response::{IntoResponse, Response};
use hadada_inference_protocol::RefusalKind;
use serde_json::{Value, json};

/// An error as a client sees it.
#[derive(Debug)]
pub struct ApiError {
    status: StatusCode,
    kind: &'static str,
    code: Option<&'static str>,
    param: Option<String>,
    message: String,
    retry_after: Option<u64>,
}

impl ApiError {
    fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> ApiError {
        ApiError {
            status,
            kind,
            code: None,
            param: None,
            message: message.into(),
            retry_after: None,
        }
    }

    /// The request is wrong, in this field.
    pub fn invalid(param: Option<&str>, message: impl Into<String>) -> ApiError {
        let mut error = ApiError::new(StatusCode::BAD_REQUEST, "invalid_request_error", message);
        error.param = param.map(str::to_owned);
        error
    }

    /// There is nothing of that name.
    pub fn not_found(message: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::NOT_FOUND, "invalid_request_error", message)
    }

    /// The model asked for is not the one that is loaded.
    pub fn no_such_model(asked: &str, loaded: &str) -> ApiError {
        let mut error = ApiError::not_found(format!(
            "model: '{asked}' is not loaded here; '{loaded}' is"
        ));
        (error.code, error.param) = (Some("model_not_found"), Some("model".into()));
        error
    }

    /// The path knows other methods only.
    pub fn method() -> ApiError {
        ApiError::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "invalid_request_error",
            "this path doesn't take that method",
        )
    }

    /// The body is too long.
    pub fn too_large(limit: usize) -> ApiError {
        ApiError::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "invalid_request_error",
            format!("the body is longer than {limit} bytes"),
        )
    }

    /// It can't be done now.
    pub fn unavailable(reason: impl Into<String>) -> ApiError {
        let mut error = ApiError::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "service_unavailable",
            reason,
        );
        error.retry_after = Some(1);
        error
    }

    /// Its deadline passed.
    pub fn late(message: impl Into<String>) -> ApiError {
        let mut error = ApiError::new(StatusCode::GATEWAY_TIMEOUT, "timeout", message);
        error.code = Some("deadline_exceeded");
        error
    }

    /// Too many wait; try again after so many seconds.
    pub fn busy(seconds: u64) -> ApiError {
        let message = "too many requests are waiting; try again later";
        let mut error = ApiError::new(StatusCode::TOO_MANY_REQUESTS, "rate_limit_error", message);
        (error.code, error.retry_after) = (Some("queue_full"), Some(seconds));
        error
    }

    /// A fault of ours.
    pub fn internal(message: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", message)
    }

    /// The worker refused it.
    pub fn refused(kind: RefusalKind, message: String) -> ApiError {
        match kind {
            RefusalKind::NoModel => ApiError::unavailable(message),
            RefusalKind::Internal => ApiError::internal(message),
            RefusalKind::Invalid | RefusalKind::ContextLength => {
                // Workers begin their sentences with the field, where it is one field's fault.
                let field = message
                    .split_once(": ")
                    .map(|(field, _)| field.to_owned())
                    .filter(|f| !f.contains(' '));
                let mut error = ApiError::invalid(field.as_deref(), message);
                if kind == RefusalKind::ContextLength {
                    error.code = Some("context_length_exceeded");
                }
                error
            }
        }
    }

    /// The body.
    pub fn json(&self) -> Value {
        json!({"error": {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}})
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, axum::Json(self.json())).into_response();
        if let Some(seconds) = self.retry_after {
            response
                .headers_mut()
                .insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
