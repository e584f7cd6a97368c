//! `POST /tokenize` and `POST /detokenize`, as llama.cpp has them. Unlike there, the names of special tokens are text
//! unless `parse_special` is true.

use super::error::ApiError;
use super::params::Terms;
use super::{App, Body, Connection, Read};
use crate::front::Event;
use axum::extract::{Extension, State};
use axum::http::HeaderMap;
use hadada_inference_protocol::{FromWorker, ToWorker, Token};
use serde::Deserialize;
use serde_json::{Value, json};

/// A text to turn into tokens.
#[derive(Debug, PartialEq)]
pub struct Text {
    request: TokenizeRequest,
    terms: Terms,
}

#[derive(Debug, PartialEq, Deserialize)]
struct TokenizeRequest {
    content: String,
    #[serde(default)]
    add_special: bool,
    #[serde(default)]
    parse_special: bool,
}

/// Tokens to turn into text.
#[derive(Debug, PartialEq)]
pub struct Tokens {
    request: DetokenizeRequest,
    terms: Terms,
}

#[derive(Debug, PartialEq, Deserialize)]
struct DetokenizeRequest {
    tokens: Vec<Token>,
}

impl Read for Text {
    fn read(headers: &HeaderMap, body: &[u8]) -> Result<Text, ApiError> {
        Ok(Text {
            request: super::json(body)?,
            terms: Terms::read(headers, None, None, None)?,
        })
    }
}

impl Read for Tokens {
    fn read(headers: &HeaderMap, body: &[u8]) -> Result<Tokens, ApiError> {
        Ok(Tokens {
            request: super::json(body)?,
            terms: Terms::read(headers, None, None, None)?,
        })
    }
}

pub async fn tokenize(
    State(app): State<App>,
    Extension(connection): Extension<Connection>,
    Body(Text { request, terms }): Body<Text>,
) -> Result<axum::Json<Value>, ApiError> {
    let TokenizeRequest {
        content,
        add_special,
        parse_special,
    } = request;
    let make = |id| ToWorker::Tokenize {
        id,
        content,
        add_special,
        parse_special,
    };
    let submission = terms.submission(connection, false);
    match app.front.submit(submission, make).next().await {
        Event::Worker(FromWorker::Tokens { tokens, .. }) => {
            Ok(axum::Json(json!({"tokens": tokens})))
        }
        other => Err(ApiError::from_event(other)),
    }
}

pub async fn detokenize(
    State(app): State<App>,
    Extension(connection): Extension<Connection>,
    Body(Tokens { request, terms }): Body<Tokens>,
) -> Result<axum::Json<Value>, ApiError> {
    let make = |id| ToWorker::Detokenize {
        id,
        tokens: request.tokens,
    };
    let submission = terms.submission(connection, false);
    match app.front.submit(submission, make).next().await {
        Event::Worker(FromWorker::Text { text, .. }) => Ok(axum::Json(json!({"content": text}))),
        other => Err(ApiError::from_event(other)),
    }
}
