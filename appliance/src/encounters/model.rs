//! The drafting model behind the inference daemon's socket, and the watch over it while it writes.

use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::json;

use crate::drafting::{Embedder, ModelError, WriteRequest, Writer};
use crate::inference::{Health, Inference, InferenceError};

/// Longest wait for one answer. A request is a few sentences; a slow processor needs seconds for it, a full queue more.
const ANSWER: Duration = Duration::from_secs(60);
/// How often the daemon is asked whether its worker still lives, so that a page hears of a dead one within 5 s.
const WATCH: Duration = Duration::from_millis(1000);

/// What one draft asked of the model.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub(super) struct Timings {
    /// Requests for sentences.
    pub(super) requests: u32,
    /// Milliseconds for the embeddings.
    pub(super) embed_ms: u64,
    /// Milliseconds of all requests for sentences.
    pub(super) write_ms: u64,
    /// Tokens of the prompts.
    pub(super) prompt_tokens: u64,
    /// Tokens written.
    pub(super) completion_tokens: u64,
}

/// The model, for one draft. Dropping it drops the connection, and with it the daemon drops the work.
#[derive(Debug)]
pub struct Model {
    inference: Inference,
    /// Restarts of the worker when the draft began: one more means that it died meanwhile.
    restarts: u64,
    name: String,
    /// Whose the requests are: clients of the daemon take turns.
    client: String,
    pub(super) timings: Timings,
}

#[derive(Deserialize)]
struct Completion {
    choices: Vec<Choice>,
    #[serde(default)]
    usage: Usage,
}

#[derive(Deserialize)]
struct Choice {
    message: Message,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Message {
    content: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Usage {
    prompt_tokens: u64,
    completion_tokens: u64,
}

#[derive(Deserialize)]
struct Embeddings {
    data: Vec<Embedding>,
}

#[derive(Deserialize)]
struct Embedding {
    index: usize,
    embedding: Vec<f32>,
}

fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

fn model_error(error: InferenceError) -> ModelError {
    match error {
        InferenceError::Down | InferenceError::Timeout => {
            ModelError::Unavailable(error.to_string())
        }
        InferenceError::Refused {
            status: 429 | 500..=599,
            message,
        } => ModelError::Unavailable(message),
        InferenceError::Refused { .. } | InferenceError::Answer => {
            ModelError::Failed(error.to_string())
        }
    }
}

impl Model {
    /// The model that the daemon has now. `client` names who asks, so that one can't keep others waiting.
    #[must_use]
    pub fn new(inference: Inference, health: &Health, client: String) -> Self {
        Self {
            inference,
            restarts: health.restarts,
            name: health.model.clone().unwrap_or_default().id,
            client,
            timings: Timings::default(),
        }
    }

    /// Ends when the worker that was there at the start is gone.
    async fn worker_gone(&self) -> ModelError {
        let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + WATCH, WATCH);
        loop {
            ticks.tick().await;
            let health = self.inference.health().await;
            if health.restarts != self.restarts || !health.is_serving() {
                return ModelError::Unavailable("its worker ended while it was writing".into());
            }
        }
    }

    async fn ask<T: serde::de::DeserializeOwned>(
        &self,
        path: &str,
        body: &serde_json::Value,
    ) -> Result<T, ModelError> {
        tokio::select! {
            answer = self.inference.post_json(path, body, ANSWER) => answer.map_err(model_error),
            gone = self.worker_gone() => Err(gone),
        }
    }
}

impl Writer for Model {
    async fn write(&mut self, request: &WriteRequest) -> Result<String, ModelError> {
        let body = json!({
            "model": self.name,
            "user": self.client,
            "messages": [
                { "role": "system", "content": request.system },
                { "role": "user", "content": request.user },
            ],
            "response_format": { "type": "json_schema", "json_schema": { "name": "sentences", "strict": true, "schema": request.schema } },
            "max_tokens": request.max_tokens,
            "temperature": request.temperature,
            "seed": request.seed,
        });
        let began = Instant::now();
        let answer = self.ask::<Completion>("/v1/chat/completions", &body).await;
        self.timings.requests += 1;
        self.timings.write_ms += millis(began);
        let answer = answer?;
        self.timings.prompt_tokens += answer.usage.prompt_tokens;
        self.timings.completion_tokens += answer.usage.completion_tokens;
        match answer.choices.into_iter().next() {
            None => Err(ModelError::Failed("it answered nothing".into())),
            // The inference daemon closes the JSON in time, but a sentence in it may have lost its end.
            Some(choice) if choice.finish_reason.as_deref() == Some("length") => {
                Err(ModelError::Failed("its answer was cut off".into()))
            }
            Some(choice) => Ok(choice.message.content),
        }
    }
}

impl Embedder for Model {
    async fn embed(&mut self, texts: &[&str]) -> Result<Vec<Vec<f32>>, ModelError> {
        let began = Instant::now();
        let answer = self
            .ask::<Embeddings>(
                "/v1/embeddings",
                &json!({ "input": texts, "user": self.client }),
            )
            .await;
        self.timings.embed_ms += millis(began);
        let mut data = answer?.data;
        data.sort_by_key(|e| e.index);
        Ok(data.into_iter().map(|e| e.embedding).collect())
    }
}
