//! `POST /tokenize` and `POST /detokenize`, as llama.cpp has them. Unlike there, the names of special tokens are text
//! unless `parse_special` is true.

use super::answer::error_of;
use super::error::ApiError;
use super::requests::tokens::{Text, TokenizeRequest, Tokens};
use super::{App, Body, Connection, submission};
use crate::front::Event;
use axum::extract::{Extension, State};
use hadada_inference_protocol::{FromWorker, ToWorker};
use serde_json::{Value, json};

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
    let submission = submission(&terms, connection, false);
    match app.front.submit(submission, make).next().await {
        Event::Worker(FromWorker::Tokens { tokens, .. }) => {
            Ok(axum::Json(json!({"tokens": tokens})))
        }
        other => Err(error_of(other)),
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
    let submission = submission(&terms, connection, false);
    match app.front.submit(submission, make).next().await {
        Event::Worker(FromWorker::Text { text, .. }) => Ok(axum::Json(json!({"content": text}))),
        other => Err(error_of(other)),
    }
}
