//! A text to go on with.

use super::params::{self, Checked, Params};
use super::{ApiError, Read, json};
use axum::http::HeaderMap;
use hadada_inference_protocol::{Prompt, Token};
use serde::Deserialize;

#[derive(Deserialize)]
struct CompletionRequest {
    prompt: PromptField,
    logprobs: Option<u8>,
    #[serde(default)]
    echo: bool,
    parse_special: Option<bool>,
    #[serde(flatten)]
    params: Params,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum PromptField {
    Text(String),
    Tokens(Vec<Token>),
    Texts(Vec<String>),
    Many(Vec<Vec<Token>>),
}

impl PromptField {
    fn check(self, parse_special: bool) -> Result<Prompt, ApiError> {
        let text = |text| Prompt::Text {
            text,
            parse_special,
        };
        match self {
            PromptField::Text(one) => Ok(text(one)),
            PromptField::Tokens(tokens) => Ok(Prompt::Tokens(tokens)),
            PromptField::Texts(mut many) if many.len() == 1 => Ok(text(many.remove(0))),
            PromptField::Many(mut many) if many.len() == 1 => Ok(Prompt::Tokens(many.remove(0))),
            _ => Err(ApiError::invalid(
                Some("prompt"),
                "prompt: only one prompt a request is supported",
            )),
        }
    }
}

/// A text to go on with.
#[derive(Debug, PartialEq)]
pub struct Completion {
    /// The text, or its tokens.
    pub prompt: Prompt,
    /// How many alternatives to each token to report.
    pub logprobs: Option<u8>,
    /// The rest.
    pub checked: Checked,
}

impl Read for Completion {
    fn read(headers: &HeaderMap, body: &[u8]) -> Result<Completion, ApiError> {
        let request: CompletionRequest = json(body)?;
        let checked = request.params.check(headers)?;
        if request.echo {
            return Err(ApiError::invalid(Some("echo"), "echo: it is not supported"));
        }
        let logprobs = request
            .logprobs
            .map(|n| params::logprob_count("logprobs", Some(n)))
            .transpose()?;
        let prompt = request
            .prompt
            .check(request.parse_special.unwrap_or(true))?;
        Ok(Completion {
            prompt,
            logprobs,
            checked,
        })
    }
}
