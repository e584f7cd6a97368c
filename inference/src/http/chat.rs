//! `POST /v1/chat/completions`.

use super::answer::{self, Part, collect, now, reason_name, timings_json, token_text, usage_json};
use super::error::ApiError;
use super::requests::chat::Chat;
use super::{App, Body, Connection, check_model, submission};
use axum::extract::{Extension, State};
use axum::response::{IntoResponse, Response};
use hadada_inference_protocol::{Prompt, ScoredToken, ToWorker, TokenOut};
use serde_json::{Value, json};

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
    let model = check_model(&app, checked.model.as_deref(), false)?;
    let (stream, with_usage, with_ids) = (checked.stream, checked.with_usage, checked.with_ids);
    let submission = submission(&checked.terms, connection, stream);
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
