//! `POST /v1/embeddings`.

use super::error::ApiError;
use super::params::{self, Terms};
use super::{App, Body, Connection, Read};
use crate::front::Event;
use axum::extract::{Extension, State};
use axum::http::HeaderMap;
use base64::Engine;
use hadada_inference_protocol::{FromWorker, ToWorker};
use serde::Deserialize;
use serde_json::{Value, json};

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
    texts: Vec<String>,
    model: Option<String>,
    base64: bool,
    terms: Terms,
}

impl Read for Texts {
    fn read(headers: &HeaderMap, body: &[u8]) -> Result<Texts, ApiError> {
        let request: EmbeddingRequest = super::json(body)?;
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

pub async fn embed(
    State(app): State<App>,
    Extension(connection): Extension<Connection>,
    Body(request): Body<Texts>,
) -> Result<axum::Json<Value>, ApiError> {
    let Texts {
        texts,
        model,
        base64,
        terms,
    } = request;
    let model = params::check_model(&app, model.as_deref(), true)?;
    let mut ticket = app
        .front
        .submit(terms.submission(connection, false), |id| ToWorker::Embed {
            id,
            texts,
        });
    match ticket.next().await {
        Event::Worker(FromWorker::Embeddings {
            vectors, tokens, ..
        }) => {
            let data: Vec<Value> = vectors
                .into_iter()
                .enumerate()
                .map(|(index, vector)| {
                    let embedding = if base64 {
                        let bytes: Vec<u8> = vector.iter().flat_map(|x| x.to_le_bytes()).collect();
                        base64::engine::general_purpose::STANDARD
                            .encode(bytes)
                            .into()
                    } else {
                        json!(vector)
                    };
                    json!({"object": "embedding", "index": index, "embedding": embedding})
                })
                .collect();
            let usage = json!({"prompt_tokens": tokens, "total_tokens": tokens});
            Ok(axum::Json(
                json!({"object": "list", "data": data, "model": model, "usage": usage}),
            ))
        }
        other => Err(ApiError::from_event(other)),
    }
}
