//! `POST /v1/embeddings`.

use super::error::ApiError;
use super::params;
use super::{App, Json};
use crate::front::Event;
use axum::extract::State;
use axum::http::HeaderMap;
use base64::Engine;
use hadada_inference_protocol::{FromWorker, ToWorker};
use serde::Deserialize;
use serde_json::{Value, json};

/// Texts a request may have.
const MAX_TEXTS: usize = 1024;

#[derive(Deserialize)]
pub struct EmbeddingRequest {
    input: Input,
    model: Option<String>,
    encoding_format: Option<String>,
    priority: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Input {
    One(String),
    Many(Vec<String>),
}

pub async fn embed(
    State(app): State<App>,
    headers: HeaderMap,
    Json(request): Json<EmbeddingRequest>,
) -> Result<axum::Json<Value>, ApiError> {
    let model = params::check_model(&app, request.model.as_deref(), true)?;
    let priority = params::priority(&headers, request.priority.as_deref())?;
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
    let mut ticket = app
        .front
        .submit(priority, false, |id| ToWorker::Embed { id, texts });
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
