//! Texts and tokens to turn into each other.

use super::params::Terms;
use super::{ApiError, Read, json};
use axum::http::HeaderMap;
use hadada_inference_protocol::Token;
use serde::Deserialize;

/// A text to turn into tokens.
#[derive(Debug, PartialEq)]
pub struct Text {
    /// It.
    pub request: TokenizeRequest,
    /// Who asks.
    pub terms: Terms,
}

#[derive(Debug, PartialEq, Deserialize)]
/// A text.
pub struct TokenizeRequest {
    /// The text.
    pub content: String,
    /// Add the token that opens a text.
    #[serde(default)]
    pub add_special: bool,
    /// Read the names of special tokens as those tokens.
    #[serde(default)]
    pub parse_special: bool,
}

/// Tokens to turn into text.
#[derive(Debug, PartialEq)]
pub struct Tokens {
    /// They.
    pub request: DetokenizeRequest,
    /// Who asks.
    pub terms: Terms,
}

#[derive(Debug, PartialEq, Deserialize)]
/// Tokens.
pub struct DetokenizeRequest {
    /// The tokens.
    pub tokens: Vec<Token>,
}

impl Read for Text {
    fn read(headers: &HeaderMap, body: &[u8]) -> Result<Text, ApiError> {
        Ok(Text {
            request: json(body)?,
            terms: Terms::read(headers, None, None, None)?,
        })
    }
}

impl Read for Tokens {
    fn read(headers: &HeaderMap, body: &[u8]) -> Result<Tokens, ApiError> {
        Ok(Tokens {
            request: json(body)?,
            terms: Terms::read(headers, None, None, None)?,
        })
    }
}
