//! `POST /v1/chat/completions`.

use super::answer::{self, Part, collect, now, reason_name, timings_json, token_text, usage_json};
use super::error::ApiError;
use super::params::{self, Checked, Params};
use super::{App, Body, Connection, Read};
use axum::extract::{Extension, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use hadada_inference_protocol::{Message, Prompt, ScoredToken, ToWorker, TokenOut};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
struct ChatRequest {
    messages: Vec<ChatMessage>,
    #[serde(default)]
    logprobs: bool,
    top_logprobs: Option<u8>,
    #[serde(flatten)]
    params: Params,
}

#[derive(Deserialize)]
struct ChatMessage {
    role: String,
    content: Content,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<ContentPart>),
}

#[derive(Deserialize)]
struct ContentPart {
    r#type: String,
    text: Option<String>,
}

impl ChatMessage {
    fn check(self, place: usize) -> Result<Message, ApiError> {
        let invalid = |rule: &str| {
            Err(ApiError::invalid(
                Some("messages"),
                format!("messages: message {place}: {rule}"),
            ))
        };
        if !matches!(self.role.as_str(), "system" | "user" | "assistant") {
            return invalid("its role must be system, user or assistant");
        }
        let content = match self.content {
            Content::Text(text) => text,
            Content::Parts(parts) => {
                let texts: Option<Vec<String>> = parts
                    .into_iter()
                    .map(|p| p.text.filter(|_| p.r#type == "text"))
                    .collect();
                match texts {
                    Some(texts) => texts.concat(),
                    None => return invalid("only text can be read"),
                }
            }
        };
        Ok(Message {
            role: self.role,
            content,
        })
    }
}

/// A conversation to go on with.
#[derive(Debug, PartialEq)]
pub struct Chat {
    messages: Vec<Message>,
    logprobs: Option<u8>,
    checked: Checked,
}

impl Read for Chat {
    fn read(headers: &HeaderMap, body: &[u8]) -> Result<Chat, ApiError> {
        let request: ChatRequest = super::json(body)?;
        let checked = request.params.check(headers)?;
        if request.messages.is_empty() {
            return Err(ApiError::invalid(
                Some("messages"),
                "messages: at least one is needed",
            ));
        }
        let messages = request
            .messages
            .into_iter()
            .enumerate()
            .map(|(i, m)| m.check(i))
            .collect::<Result<_, _>>()?;
        let count = params::logprob_count("top_logprobs", request.top_logprobs)?;
        Ok(Chat {
            messages,
            logprobs: request.logprobs.then_some(count),
            checked,
        })
    }
}

pub async fn complete(
    State(app): State<App>,
    Extension(connection): Extension<Connection>,
    Body(chat): Body<Chat>,
) -> Result<Response, ApiError> {
    let Chat {
        messages,
        logprobs,
        checked,
    } = chat;
    let model = params::check_model(&app, checked.model.as_deref(), false)?;
    let (stream, with_usage, with_ids) = (checked.stream, checked.with_usage, checked.with_ids);
    let submission = checked.terms.submission(connection, stream);
    let ticket = app.front.submit(submission, |id| {
        ToWorker::Generate(Box::new(checked.generate(
            id,
            Prompt::Chat(messages),
            logprobs,
        )))
    });
    let (id, created) = (format!("chatcmpl-{}", ticket.id), now());
    if stream {
        return answer::stream(ticket, move |part| {
            let chunk = |delta: Value, reason: Value, tokens: &[TokenOut]| {
                let mut choice = json!({"index": 0, "delta": delta, "finish_reason": reason});
                if logprobs.is_some() && !tokens.is_empty() {
                    choice["logprobs"] = logprobs_json(tokens);
                }
                if with_ids && !tokens.is_empty() {
                    choice["token_ids"] = tokens.iter().map(|t| t.token).collect();
                }
                json!({"id": id, "object": "chat.completion.chunk", "created": created, "model": model, "choices": [choice]})
            };
            match part {
                Part::Start => vec![chunk(json!({"role": "assistant", "content": ""}), Value::Null, &[])],
                Part::Delta(text, _) if text.is_empty() && logprobs.is_none() && !with_ids => vec![],
                Part::Delta(text, tokens) => vec![chunk(json!({"content": text}), Value::Null, &tokens)],
                Part::End(reason, usage) => {
                    let mut last = chunk(json!({}), reason_name(reason).into(), &[]);
                    last["timings"] = timings_json(&usage);
                    let mut chunks = vec![last];
                    if with_usage {
                        chunks.push(json!({"id": id, "object": "chat.completion.chunk", "created": created, "model": model, "choices": [], "usage": usage_json(&usage)}));
                    }
                    chunks
                }
            }
        })
        .await;
    }
    let answer = collect(ticket).await?;
    let mut choice = json!({
        "index": 0,
        "message": {"role": "assistant", "content": answer.text},
        "finish_reason": reason_name(answer.reason),
        "logprobs": if logprobs.is_some() { logprobs_json(&answer.tokens) } else { Value::Null },
    });
    if with_ids {
        choice["token_ids"] = answer.token_ids().into();
    }
    let body = json!({
        "id": id, "object": "chat.completion", "created": created, "model": model, "choices": [choice],
        "usage": usage_json(&answer.usage), "timings": timings_json(&answer.usage),
    });
    Ok(axum::Json(body).into_response())
}

fn logprobs_json(tokens: &[TokenOut]) -> Value {
    let one =
        |t: &ScoredToken| json!({"token": token_text(t), "logprob": t.logprob, "bytes": t.bytes});
    let content: Vec<Value> = answer::reports(tokens)
        .map(|report| {
            let mut entry = one(&report.chosen);
            entry["top_logprobs"] = report.top.iter().map(one).collect();
            entry
        })
        .collect();
    json!({"content": content})
}
