//! `POST /tokenize` and `POST /detokenize`, as llama.cpp has them. Unlike there, the names of special tokens are text
//! unless `parse_special` is true.

use super::error::ApiError;
use super::{App, Json};
use crate::front::Event;
use axum::extract::State;
use hadada_inference_protocol::{FromWorker, Priority, ToWorker, Token};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
pub struct TokenizeRequest {
    content: String,
    #[serde(default)]
    add_special: bool,
    #[serde(default)]
    parse_special: bool,
}

pub async fn tokenize(
    State(app): State<App>,
    Json(request): Json<TokenizeRequest>,
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
    match app
        .front
        .submit(Priority::Interactive, false, make)
        .next()
        .await
    {
        Event::Worker(FromWorker::Tokens { tokens, .. }) => {
            Ok(axum::Json(json!({"tokens": tokens})))
        }
        other => Err(ApiError::from_event(other)),
    }
}

#[derive(Deserialize)]
pub struct DetokenizeRequest {
    tokens: Vec<Token>,
}

pub async fn detokenize(
    State(app): State<App>,
    Json(request): Json<DetokenizeRequest>,
) -> Result<axum::Json<Value>, ApiError> {
    let make = |id| ToWorker::Detokenize {
        id,
        tokens: request.tokens,
    };
    match app
        .front
        .submit(Priority::Interactive, false, make)
        .next()
        .await
    {
        Event::Worker(FromWorker::Text { text, .. }) => Ok(axum::Json(json!({"content": text}))),
        other => Err(ApiError::from_event(other)),
    }
}
