//! `POST /v1/completions`: goes on from a raw prompt, text or tokens. In a text prompt the names of special tokens are
//! those tokens, as in vLLM and llama.cpp, unless `parse_special` is false.

use super::answer::{self, Part, collect, now, reason_name, timings_json, token_text, usage_json};
use super::error::ApiError;
use super::requests::completions::Completion;
use super::{App, Body, Connection, check_model, submission};
use axum::extract::{Extension, State};
use axum::response::{IntoResponse, Response};
use hadada_inference_protocol::{ToWorker, TokenOut};
use serde_json::{Map, Value, json};

pub async fn complete(
    State(app): State<App>,
    Extension(connection): Extension<Connection>,
    Body(completion): Body<Completion>,
) -> Result<Response, ApiError> {
    let Completion {
        prompt,
        logprobs,
        checked,
    } = completion;
    let model = check_model(&app, checked.model.as_deref(), false)?;
    let (stream, with_usage, with_ids) = (checked.stream, checked.with_usage, checked.with_ids);
    let submission = submission(&checked.terms, connection, stream);
    let ticket = app.front.submit(submission, |id| {
        ToWorker::Generate(Box::new(checked.generate(id, prompt, logprobs)))
    });
    let (id, created) = (format!("cmpl-{}", ticket.id), now());
    let choice = move |text: &str, tokens: &[TokenOut], reason: Value| {
        let mut choice = json!({
            "index": 0, "text": text, "finish_reason": reason,
            "logprobs": if logprobs.is_some() { logprobs_json(tokens) } else { Value::Null },
        });
        if with_ids {
            choice["token_ids"] = tokens.iter().map(|t| t.token).collect();
        }
        choice
    };
    if stream {
        return answer::stream(ticket, move |part| {
            let chunk = |choices: Value| json!({"id": id, "object": "text_completion", "created": created, "model": model, "choices": choices});
            match part {
                Part::Start => vec![],
                Part::Delta(text, _) if text.is_empty() && logprobs.is_none() && !with_ids => vec![],
                Part::Delta(text, tokens) => vec![chunk(json!([choice(&text, &tokens, Value::Null)]))],
                Part::End(reason, usage) => {
                    let mut last = chunk(json!([choice("", &[], reason_name(reason).into())]));
                    last["timings"] = timings_json(&usage);
                    let mut chunks = vec![last];
                    if with_usage {
                        let mut extra = chunk(json!([]));
                        extra["usage"] = usage_json(&usage);
                        chunks.push(extra);
                    }
                    chunks
                }
            }
        })
        .await;
    }
    let answer = collect(ticket).await?;
    let body = json!({
        "id": id, "object": "text_completion", "created": created, "model": model,
        "choices": [choice(&answer.text, &answer.tokens, reason_name(answer.reason).into())],
        "usage": usage_json(&answer.usage), "timings": timings_json(&answer.usage),
    });
    Ok(axum::Json(body).into_response())
}

/// The old form of log-probabilities.
fn logprobs_json(tokens: &[TokenOut]) -> Value {
    let (mut texts, mut scores, mut tops) = (Vec::new(), Vec::new(), Vec::new());
    for report in answer::reports(tokens) {
        texts.push(token_text(&report.chosen));
        scores.push(report.chosen.logprob);
        tops.push(
            report
                .top
                .iter()
                .map(|t| (token_text(t), t.logprob.into()))
                .collect::<Map<String, Value>>(),
        );
    }
    json!({"tokens": texts, "token_logprobs": scores, "top_logprobs": tops})
}
