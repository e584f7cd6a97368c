//! `GET /health`, `GET /v1/models` and `GET /metrics`.

use super::App;
use super::error::ApiError;
use crate::front::State as FrontState;
use axum::extract::State;
use axum::http::StatusCode;
use hadada_inference_protocol::ModelInfo;
use serde_json::{Value, json};
use std::sync::atomic::Ordering::Relaxed;

/// 200 while requests are served, 503 while not; the body is the same.
pub async fn health(State(app): State<App>) -> (StatusCode, axum::Json<Value>) {
    let status = app.front.status();
    let serving = matches!(status.state, FrontState::Ready | FrontState::Degraded);
    let info = status.info.as_deref();
    let body = json!({
        "state": status.state,
        "reason": status.reason,
        "device": info.map(|i| &i.device),
        "kernels": info.map(|i| &i.kernels),
        "threads": info.map(|i| i.threads),
        "model": info.and_then(|i| i.model.as_ref()),
        "embedding_model": info.and_then(|i| i.embedding.as_ref()),
        "cache_tokens": info.map(|i| i.cache_tokens),
        "queue_depth": app.metrics.queued.load(Relaxed),
        "running": app.metrics.running.load(Relaxed),
        "worker_pid": status.pid,
        "restarts": app.metrics.restarts.load(Relaxed),
        "writing": status.no_writer.is_none(),
        "gpu": status.gpu,
        "recent": app.metrics.summary(),
    });
    (
        if serving {
            StatusCode::OK
        } else {
            StatusCode::SERVICE_UNAVAILABLE
        },
        axum::Json(body),
    )
}

pub async fn models(State(app): State<App>) -> Result<axum::Json<Value>, ApiError> {
    let status = app.front.status();
    let Some(info) = status.info else {
        return Err(ApiError::unavailable(
            status
                .reason
                .unwrap_or_else(|| "no model is loaded yet".into()),
        ));
    };
    let entry = |model: &ModelInfo, purpose: &str| {
        json!({
            "id": model.id, "object": "model", "owned_by": "local", "purpose": purpose, "sha256": model.sha256, "bytes": model.bytes,
            "description": model.description, "context_length": model.context_length, "width": model.width,
        })
    };
    let mut data: Vec<Value> = info.model.iter().map(|m| entry(m, "text")).collect();
    data.extend(info.embedding.as_ref().map(|m| entry(m, "embedding")));
    Ok(axum::Json(json!({"object": "list", "data": data})))
}

pub async fn metrics(State(app): State<App>) -> ([(&'static str, &'static str); 1], String) {
    (
        [("content-type", "text/plain; version=0.0.4")],
        app.metrics.print(),
    )
}
