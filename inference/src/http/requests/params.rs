//! The parameters that chat and plain completions share, checked.

use super::ApiError;
use axum::http::HeaderMap;
use hadada_inference_protocol::{Format, Generate, Priority, Prompt, RequestId, Sampling};
use serde::Deserialize;
use serde_json::Value;
use std::ops::RangeInclusive;
use std::time::Duration;

/// Stop texts a request may have, and their length in bytes.
const MAX_STOPS: usize = 16;
const MAX_STOP_BYTES: usize = 256;
/// The most alternatives to a token that are reported.
const MAX_LOGPROBS: u8 = 20;
/// The longest deadline, in seconds.
const LONGEST_DEADLINE: f64 = 3600.0;
/// The longest name of a client, in bytes.
const MAX_CLIENT: usize = 64;

/// As they come.
#[derive(Deserialize)]
pub struct Params {
    model: Option<String>,
    #[serde(default)]
    stream: bool,
    stream_options: Option<StreamOptions>,
    max_tokens: Option<u32>,
    max_completion_tokens: Option<u32>,
    temperature: Option<f32>,
    top_p: Option<f32>,
    top_k: Option<i64>,
    min_p: Option<f32>,
    frequency_penalty: Option<f32>,
    presence_penalty: Option<f32>,
    repetition_penalty: Option<f32>,
    seed: Option<i64>,
    stop: Option<OneOrMany>,
    response_format: Option<ResponseFormat>,
    priority: Option<String>,
    n: Option<u32>,
    #[serde(default)]
    ignore_eos: bool,
    #[serde(default)]
    return_token_ids: bool,
    tools: Option<Value>,
    timeout: Option<f64>,
    user: Option<String>,
}

#[derive(Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: bool,
}

/// Who asks, how urgently, and for how long: what every request may say.
#[derive(Debug, Clone, PartialEq)]
pub struct Terms {
    /// Who waits.
    pub priority: Priority,
    /// The client's own name for itself.
    pub client: Option<String>,
    /// How long an answer is wanted.
    pub limit: Option<Duration>,
}

impl Terms {
    /// Reads them from fields of the body, or else from headers: `x-hadada-priority`, `x-hadada-client`,
    /// `x-hadada-deadline-ms`.
    ///
    /// # Errors
    /// Names the field that is wrong.
    pub fn read(
        headers: &HeaderMap,
        priority: Option<&str>,
        user: Option<&str>,
        timeout: Option<f64>,
    ) -> Result<Terms, ApiError> {
        let header = |name: &str| {
            headers
                .get(name)
                .map(|value| value.to_str().unwrap_or("\u{fffd}"))
        };
        let client = user.or(header("x-hadada-client")).map(str::to_owned);
        if client
            .as_ref()
            .is_some_and(|c| c.is_empty() || c.len() > MAX_CLIENT)
        {
            return Err(ApiError::invalid(
                Some("user"),
                format!("user: it must have 1 to {MAX_CLIENT} bytes"),
            ));
        }
        let seconds = match (timeout, header("x-hadada-deadline-ms")) {
            (Some(seconds), _) => Some(seconds),
            (None, Some(text)) => Some(text.parse::<u32>().map_or(f64::NAN, f64::from) / 1000.0),
            (None, None) => None,
        };
        let limit = match seconds {
            None => None,
            Some(s) if s > 0.0 && s <= LONGEST_DEADLINE => Some(Duration::from_secs_f64(s)),
            Some(_) => {
                return Err(ApiError::invalid(
                    Some("timeout"),
                    format!(
                        "timeout: it must be more than 0 and at most {LONGEST_DEADLINE} seconds"
                    ),
                ));
            }
        };
        Ok(Terms {
            priority: self::priority(priority.or(header("x-hadada-priority")))?,
            client,
            limit,
        })
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

#[derive(Deserialize)]
struct ResponseFormat {
    r#type: String,
    json_schema: Option<JsonSchema>,
}

#[derive(Deserialize)]
struct JsonSchema {
    schema: Option<Value>,
}

/// Checked; what is left is the prompt.
#[derive(Debug, PartialEq)]
pub struct Checked {
    /// The model wanted.
    pub model: Option<String>,
    /// Who asks.
    pub terms: Terms,
    /// Send the answer as it grows.
    pub stream: bool,
    /// With a last chunk that has the usage.
    pub with_usage: bool,
    /// Report the tokens' numbers.
    pub with_ids: bool,
    max_tokens: Option<u32>,
    sampling: Sampling,
    stop: Vec<String>,
    format: Format,
    ignore_eos: bool,
}

impl Checked {
    /// The message to the worker.
    pub fn generate(self, id: RequestId, prompt: Prompt, logprobs: Option<u8>) -> Generate {
        let Checked {
            terms,
            max_tokens,
            sampling,
            stop,
            format,
            ignore_eos,
            stream,
            ..
        } = self;
        Generate {
            id,
            prompt,
            max_tokens,
            priority: terms.priority,
            sampling,
            stop,
            format,
            logprobs,
            ignore_eos,
            stream,
        }
    }
}

fn within(
    name: &str,
    value: Option<f32>,
    default: f32,
    range: RangeInclusive<f32>,
) -> Result<f32, ApiError> {
    let value = value.unwrap_or(default);
    if range.contains(&value) {
        Ok(value)
    } else {
        let (least, most) = range.into_inner();
        Err(ApiError::invalid(
            Some(name),
            format!("{name}: it must be between {least} and {most}"),
        ))
    }
}

impl Params {
    /// Checks them.
    ///
    /// # Errors
    /// Names the first field that is wrong.
    pub fn check(&self, headers: &HeaderMap) -> Result<Checked, ApiError> {
        let invalid = |field: &str, rule: &str| {
            Err(ApiError::invalid(Some(field), format!("{field}: {rule}")))
        };
        if self.n.is_some_and(|n| n != 1) {
            return invalid("n", "only one answer a request is supported");
        }
        if self
            .tools
            .as_ref()
            .is_some_and(|t| !t.is_null() && *t != Value::Array(Vec::new()))
        {
            return invalid("tools", "this model uses no tools");
        }
        let max_tokens = self.max_completion_tokens.or(self.max_tokens);
        if max_tokens == Some(0) {
            return invalid("max_tokens", "it must be at least 1");
        }
        let top_k = match self.top_k {
            None | Some(-1) => 0,
            Some(k) => u32::try_from(k)
                .map_err(|_| ApiError::invalid(Some("top_k"), "top_k: it must be 0 or more"))?,
        };
        let top_p = within("top_p", self.top_p, 1.0, 0.0..=1.0)?;
        let stop = match &self.stop {
            None => Vec::new(),
            Some(OneOrMany::One(one)) => vec![one.clone()],
            Some(OneOrMany::Many(many)) => many.clone(),
        };
        if stop.len() > MAX_STOPS
            || stop
                .iter()
                .any(|s| s.is_empty() || s.len() > MAX_STOP_BYTES)
        {
            return invalid("stop", "at most 16 texts of 1 to 256 bytes are supported");
        }
        Ok(Checked {
            model: self.model.clone(),
            terms: Terms::read(
                headers,
                self.priority.as_deref(),
                self.user.as_deref(),
                self.timeout,
            )?,
            stream: self.stream,
            with_usage: self
                .stream_options
                .as_ref()
                .is_some_and(|o| o.include_usage),
            with_ids: self.return_token_ids,
            max_tokens,
            sampling: Sampling {
                temperature: within("temperature", self.temperature, 1.0, 0.0..=2.0)?,
                top_p,
                top_k,
                min_p: within("min_p", self.min_p, 0.0, 0.0..=1.0)?,
                frequency: within("frequency_penalty", self.frequency_penalty, 0.0, -2.0..=2.0)?,
                presence: within("presence_penalty", self.presence_penalty, 0.0, -2.0..=2.0)?,
                repetition: within(
                    "repetition_penalty",
                    self.repetition_penalty,
                    1.0,
                    0.5..=2.0,
                )?,
                seed: self.seed.map_or_else(rand::random, i64::cast_unsigned),
            },
            stop,
            format: self.format()?,
            ignore_eos: self.ignore_eos,
        })
    }

    fn format(&self) -> Result<Format, ApiError> {
        let Some(format) = &self.response_format else {
            return Ok(Format::Text);
        };
        match format.r#type.as_str() {
            "text" => Ok(Format::Text),
            "json_object" => Ok(Format::JsonSchema(r#"{"type":"object"}"#.into())),
            "json_schema" => match format.json_schema.as_ref().and_then(|s| s.schema.as_ref()) {
                Some(schema) => Ok(Format::JsonSchema(schema.to_string())),
                None => Err(ApiError::invalid(
                    Some("response_format"),
                    "response_format: json_schema.schema is missing",
                )),
            },
            other => {
                let rule = format!(
                    "response_format: '{other}' is not known; text, json_object and json_schema are"
                );
                Err(ApiError::invalid(Some("response_format"), rule))
            }
        }
    }
}

fn priority(word: Option<&str>) -> Result<Priority, ApiError> {
    match word {
        None | Some("interactive") => Ok(Priority::Interactive),
        Some("background") => Ok(Priority::Background),
        Some(_) => Err(ApiError::invalid(
            Some("priority"),
            "priority: it must be 'interactive' or 'background'",
        )),
    }
}

/// How many alternatives to report.
///
/// # Errors
/// When it is too many.
pub fn logprob_count(field: &str, count: Option<u8>) -> Result<u8, ApiError> {
    match count.unwrap_or(0) {
        n if n <= MAX_LOGPROBS => Ok(n),
        _ => Err(ApiError::invalid(
            Some(field),
            format!("{field}: it must be between 0 and {MAX_LOGPROBS}"),
        )),
    }
}
