//! What the routes are asked: read from the body and headers and checked, by functions that need nothing else, so that they
//! can be tried with any bytes.

pub mod chat;
pub mod completions;
pub mod embeddings;
pub mod params;
pub mod tokens;

use super::error::ApiError;
use axum::http::HeaderMap;
use serde::de::DeserializeOwned;

/// What a route is asked.
pub trait Read: Sized {
    /// Reads it.
    ///
    /// # Errors
    /// Names the field that is wrong.
    fn read(headers: &HeaderMap, body: &[u8]) -> Result<Self, ApiError>;
}

fn json<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    serde_json::from_slice(body)
        .map_err(|e| ApiError::invalid(None, format!("the body is not what is expected here: {e}")))
}

/// Reads a body as the route of this path would, and throws the result away. For tests with arbitrary bytes.
///
/// # Errors
/// As the route would answer.
pub fn try_body(path: &str, headers: &HeaderMap, body: &[u8]) -> Result<(), ApiError> {
    match path {
        "/v1/chat/completions" => chat::Chat::read(headers, body).map(drop),
        "/v1/completions" => completions::Completion::read(headers, body).map(drop),
        "/v1/embeddings" => embeddings::Texts::read(headers, body).map(drop),
        "/tokenize" => tokens::Text::read(headers, body).map(drop),
        "/detokenize" => tokens::Tokens::read(headers, body).map(drop),
        other => Err(ApiError::not_found(format!("there is no {other}"))),
    }
}
