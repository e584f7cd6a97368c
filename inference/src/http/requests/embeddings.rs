//! Texts to embed.

use super::params::Terms;
use super::{ApiError, Read, json};
use axum::http::HeaderMap;
use serde::Deserialize;

/// Texts a request may have.
const MAX_TEXTS: usize = 1024;

#[derive(Deserialize)]
struct EmbeddingRequest {
    input: Input,
    model: Option<String>,
    encoding_format: Option<String>,
    priority: Option<String>,
    user: Option<String>,
    timeout: Option<f64>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Input {
    One(String),
    Many(Vec<String>),
}

/// Texts to embed.
#[derive(Debug, PartialEq)]
pub struct Texts {
    /// The texts.
    pub texts: Vec<String>,
    /// The model wanted.
    pub model: Option<String>,
    /// Vectors as Base64 of little-endian numbers.
    pub base64: bool,
    /// Who asks.
    pub terms: Terms,
}

impl Read for Texts {
    fn read(headers: &HeaderMap, body: &[u8]) -> Result<Texts, ApiError> {
        let request: EmbeddingRequest = json(body)?;
        let terms = Terms::read(
            headers,
            request.priority.as_deref(),
            request.user.as_deref(),
            request.timeout,
        )?;
        let texts = match request.input {
            Input::One(one) => vec![one],
            Input::Many(many) => many,
        };
        if texts.is_empty() || texts.len() > MAX_TEXTS {
            return Err(ApiError::invalid(
                Some("input"),
                format!("input: 1 to {MAX_TEXTS} texts are supported"),
            ));
        }
        let base64 = match request.encoding_format.as_deref() {
            None | Some("float") => false,
            Some("base64") => true,
            Some(_) => {
                return Err(ApiError::invalid(
                    Some("encoding_format"),
                    "encoding_format: it must be 'float' or 'base64'",
                ));
            }
        };
        Ok(Texts {
            texts,
            model: request.model,
            base64,
            terms,
        })
    }
}
