//! A conversation to go on with.

use super::params::{self, Checked, Params};
use super::{ApiError, Read, json};
use axum::http::HeaderMap;
use hadada_inference_protocol::Message;
use serde::Deserialize;

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
    /// The conversation.
    pub messages: Vec<Message>,
    /// How many alternatives to each token to report.
    pub logprobs: Option<u8>,
    /// The rest.
    pub checked: Checked,
}

impl Read for Chat {
    fn read(headers: &HeaderMap, body: &[u8]) -> Result<Chat, ApiError> {
        let request: ChatRequest = json(body)?;
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
