//! `POST /v1/embeddings`.

use super::answer::error_of;
use super::error::ApiError;
use super::requests::embeddings::Texts;
use super::{App, Body, Connection, check_model, submission};
use crate::front::Event;
use axum::extract::{Extension, State};
use base64::Engine;
use hadada_inference_protocol::{FromWorker, ToWorker};
use serde_json::{Value, json};

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
    let model = check_model(&app, model.as_deref(), true)?;
    let mut ticket = app
        .front
        .submit(submission(&terms, connection, false), |id| {
            ToWorker::Embed { id, texts }
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
        other => Err(error_of(other)),
    }
}
