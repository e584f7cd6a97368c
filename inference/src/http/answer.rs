//! Collects or streams what the worker writes, for chat and plain completions.

use super::error::ApiError;
use crate::front::{Event, Ticket};
use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use hadada_inference_protocol::{
    FinishReason, FromWorker, ScoredToken, Token, TokenLogprob, TokenOut, Usage,
};
use serde_json::{Value, json};
use std::time::{SystemTime, UNIX_EPOCH};

/// What an event means that is not the answer hoped for.
pub fn error_of(event: Event) -> ApiError {
    match event {
        Event::Busy(seconds) => ApiError::busy(seconds),
        Event::Unavailable(reason) => ApiError::unavailable(reason),
        Event::Late(reason) => ApiError::late(reason),
        Event::Worker(FromWorker::Refused { kind, message, .. }) => {
            ApiError::refused(kind, message)
        }
        Event::Worker(_) => ApiError::internal("the worker gave an answer of another kind"),
    }
}

/// A whole answer.
pub struct Answer {
    /// Its text.
    pub text: String,
    /// Its tokens.
    pub tokens: Vec<TokenOut>,
    /// Why it ended.
    pub reason: FinishReason,
    /// What it took.
    pub usage: Usage,
}

impl Answer {
    /// The tokens' numbers.
    pub fn token_ids(&self) -> Vec<Token> {
        self.tokens.iter().map(|t| t.token).collect()
    }
}

/// Waits for the whole answer.
///
/// # Errors
/// When the request is turned away, refused, or lost with its worker.
pub async fn collect(mut ticket: Ticket) -> Result<Answer, ApiError> {
    let (mut text, mut tokens) = (String::new(), Vec::new());
    loop {
        match ticket.next().await {
            Event::Worker(FromWorker::Started { .. }) => {
                // A second start means that the first worker died: what it wrote is void.
                text.clear();
                tokens.clear();
            }
            Event::Worker(FromWorker::Delta {
                text: more,
                tokens: further,
                ..
            }) => {
                text.push_str(&more);
                tokens.extend(further);
            }
            Event::Worker(FromWorker::Finished { reason, usage, .. }) => {
                return Ok(Answer {
                    text,
                    tokens,
                    reason,
                    usage,
                });
            }
            other => return Err(error_of(other)),
        }
    }
}

/// What a stream is made of.
pub enum Part {
    /// The first, once the request is taken up.
    Start,
    /// More text.
    Delta(String, Vec<TokenOut>),
    /// The last.
    End(FinishReason, Usage),
}

/// Streams the answer as server-sent events. `chunk` makes the JSON of a part; it may make several, or none. Errors
/// before the first part are ordinary responses, later ones an event named `error`.
///
/// # Errors
/// When the request is turned away or refused before it was taken up.
pub async fn stream(
    mut ticket: Ticket,
    mut chunk: impl FnMut(Part) -> Vec<Value> + Send + 'static,
) -> Result<Response, ApiError> {
    match ticket.next().await {
        Event::Worker(FromWorker::Started { .. }) => {}
        other => return Err(error_of(other)),
    }
    let first: String = chunk(Part::Start).iter().map(data).collect();
    let state = Some((ticket, chunk, first));
    let events = stream::unfold(state, async |state| {
        let (mut ticket, mut chunk, mut frame) = state?;
        let mut last = false;
        while frame.is_empty() {
            match ticket.next().await {
                // The worker died before it wrote anything, and another one took over.
                Event::Worker(FromWorker::Started { .. }) => {}
                Event::Worker(FromWorker::Delta { text, tokens, .. }) => {
                    frame.extend(chunk(Part::Delta(text, tokens)).iter().map(data))
                }
                Event::Worker(FromWorker::Finished { reason, usage, .. }) => {
                    frame.extend(chunk(Part::End(reason, usage)).iter().map(data));
                    frame.push_str("data: [DONE]\n\n");
                    last = true;
                }
                other => {
                    frame = format!("event: error\n{}", data(&error_of(other).json()));
                    last = true;
                }
            }
        }
        let next = if last {
            None
        } else {
            Some((ticket, chunk, String::new()))
        };
        Some((Ok::<_, std::convert::Infallible>(frame), next))
    });
    let headers = [
        (CONTENT_TYPE, "text/event-stream"),
        (CACHE_CONTROL, "no-cache"),
    ];
    Ok((headers, Body::from_stream(events)).into_response())
}

fn data(value: &Value) -> String {
    format!("data: {value}\n\n")
}

/// Seconds since 1970, as OpenAI's `created`.
pub fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_secs())
}

/// As OpenAI names it.
pub fn reason_name(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::Stop => "stop",
        FinishReason::Length => "length",
    }
}

/// OpenAI's `usage`.
pub fn usage_json(usage: &Usage) -> Value {
    json!({
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
        "completion_tokens_details": {
            "forced_tokens": usage.forced_tokens,
            "speculated_tokens": usage.speculated_tokens,
            "accepted_tokens": usage.accepted_tokens,
        },
    })
}

/// How long the parts took, beside OpenAI's fields.
pub fn timings_json(usage: &Usage) -> Value {
    json!({"first_token_ms": usage.first_token_ms, "total_ms": usage.total_ms})
}

/// A token's text, broken characters as U+FFFD.
pub fn token_text(token: &ScoredToken) -> String {
    String::from_utf8_lossy(&token.bytes).into_owned()
}

/// The reports of tokens that have one.
pub fn reports(tokens: &[TokenOut]) -> impl Iterator<Item = &TokenLogprob> {
    tokens.iter().filter_map(|t| t.logprob.as_ref())
}
