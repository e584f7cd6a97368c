//! What the inference front and its workers say to each other: messages over a Unix socket, each a length (four bytes,
//! little-endian) and that many bytes of JSON.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io::{self, Read, Write};

/// The longest frame either side accepts, in bytes.
pub const MAX_FRAME: usize = 64 << 20;

/// Names a request between front and worker; the front never reuses one.
pub type RequestId = u64;

/// A token of the model's vocabulary.
pub type Token = u32;

/// From the front to a worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToWorker {
    /// Write text.
    Generate(Box<Generate>),
    /// Turn texts into vectors.
    Embed {
        /// The request.
        id: RequestId,
        /// What to embed.
        texts: Vec<String>,
    },
    /// Turn text into tokens.
    Tokenize {
        /// The request.
        id: RequestId,
        /// The text.
        content: String,
        /// Add the tokens that open and close a text, where the model wants them.
        add_special: bool,
        /// Read the names of special tokens as those tokens; otherwise they are ordinary text.
        parse_special: bool,
    },
    /// Turn tokens into text.
    Detokenize {
        /// The request.
        id: RequestId,
        /// The tokens.
        tokens: Vec<Token>,
    },
    /// Stop working on a request; nothing more is sent for it.
    Cancel {
        /// The request.
        id: RequestId,
    },
}

/// A request to write text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Generate {
    /// The request.
    pub id: RequestId,
    /// Where to go on from.
    pub prompt: Prompt,
    /// The most tokens to write; the worker's default where it is missing.
    pub max_tokens: Option<u32>,
    /// Who waits for it.
    pub priority: Priority,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// Texts that end the answer; they are not part of it.
    pub stop: Vec<String>,
    /// What the text must look like.
    pub format: Format,
    /// Report each token's log-probability, and those of this many most likely ones beside it.
    pub logprobs: Option<u8>,
    /// Go on past the model's end-of-text tokens.
    pub ignore_eos: bool,
    /// Send the answer as it grows, some tokens at a time. Otherwise it goes out whole: nobody reads along, and every message
    /// costs a processor that computes.
    pub stream: bool,
}

/// Where generation starts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Prompt {
    /// A conversation, laid out by the model's own template. Names of special tokens in it stay text.
    Chat(Vec<Message>),
    /// Text as it is.
    Text {
        /// The text.
        text: String,
        /// Read the names of special tokens as those tokens.
        parse_special: bool,
    },
    /// Tokens as they are.
    Tokens(Vec<Token>),
}

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user` or `assistant`.
    pub role: String,
    /// Its text.
    pub content: String,
}

/// Who waits for a request.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// A person.
    #[default]
    Interactive,
    /// Nobody in particular; it gets what is left.
    Background,
}

/// How the next token is chosen from the model's probabilities.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Sampling {
    /// 0 takes the most likely token; 1 the model's own probabilities; more is wilder.
    pub temperature: f32,
    /// Keep the most likely tokens that together have this probability.
    pub top_p: f32,
    /// Keep this many of the most likely tokens; 0 keeps all.
    pub top_k: u32,
    /// Keep tokens at least this fraction as likely as the most likely one.
    pub min_p: f32,
    /// Taken off a token's logit for each time the answer has it; 0 for no effect.
    pub frequency: f32,
    /// Taken off the logit of every token the answer has; 0 for no effect.
    pub presence: f32,
    /// What the logits of the last tokens of prompt and answer are made smaller by; 1 for no effect.
    pub repetition: f32,
    /// The same seed gives the same text, whatever else runs beside it.
    pub seed: u64,
}

impl Default for Sampling {
    /// The model's own probabilities.
    fn default() -> Sampling {
        Sampling {
            temperature: 1.0,
            top_p: 1.0,
            top_k: 0,
            min_p: 0.0,
            frequency: 0.0,
            presence: 0.0,
            repetition: 1.0,
            seed: 0,
        }
    }
}

/// What a generated text must look like.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// Anything.
    #[default]
    Text,
    /// JSON that fits this schema (a JSON text).
    JsonSchema(String),
}

/// From a worker to the front.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FromWorker {
    /// The models are loaded and gave the known answers.
    Ready(Box<WorkerInfo>),
    /// The worker can't run and ends; a sentence for people.
    Failed {
        /// Why.
        reason: String,
        /// What helps.
        #[serde(default)]
        kind: FaultKind,
    },
    /// Sent twice a second, by a thread of its own: a sign of life, and how far the engine is.
    Alive {
        /// Steps of the engine so far: layers computed, turns made.
        steps: u64,
        /// Whether it has work; without work there are no steps.
        busy: bool,
    },
    /// A request to write was taken up.
    Started {
        /// The request.
        id: RequestId,
        /// Tokens of the prompt.
        prompt_tokens: u32,
        /// Of these, how many were in the cache.
        cached_tokens: u32,
    },
    /// More of the answer.
    Delta {
        /// The request.
        id: RequestId,
        /// Text that is final; may be empty while a character or a stop text is incomplete.
        text: String,
        /// The tokens behind it.
        tokens: Vec<TokenOut>,
    },
    /// The answer is complete.
    Finished {
        /// The request.
        id: RequestId,
        /// Why it ended.
        reason: FinishReason,
        /// What it took.
        usage: Usage,
    },
    /// The request can't be done; nothing more is sent for it.
    Refused {
        /// The request.
        id: RequestId,
        /// What kind of reason.
        kind: RefusalKind,
        /// Why, for people.
        message: String,
    },
    /// Answer to [`ToWorker::Embed`], in the order of the texts.
    Embeddings {
        /// The request.
        id: RequestId,
        /// Vectors of length one.
        vectors: Vec<Vec<f32>>,
        /// Tokens read.
        tokens: u32,
    },
    /// Answer to [`ToWorker::Tokenize`].
    Tokens {
        /// The request.
        id: RequestId,
        /// The tokens.
        tokens: Vec<Token>,
    },
    /// Answer to [`ToWorker::Detokenize`].
    Text {
        /// The request.
        id: RequestId,
        /// The text.
        text: String,
    },
}

impl FromWorker {
    /// The request it belongs to, if any.
    pub fn request(&self) -> Option<RequestId> {
        match self {
            FromWorker::Started { id, .. }
            | FromWorker::Delta { id, .. }
            | FromWorker::Finished { id, .. }
            | FromWorker::Refused { id, .. }
            | FromWorker::Embeddings { id, .. }
            | FromWorker::Tokens { id, .. }
            | FromWorker::Text { id, .. } => Some(*id),
            FromWorker::Ready(_) | FromWorker::Failed { .. } | FromWorker::Alive { .. } => None,
        }
    }

    /// Whether nothing more follows for its request.
    pub fn is_last(&self) -> bool {
        !matches!(self, FromWorker::Started { .. } | FromWorker::Delta { .. })
    }
}

/// One generated token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TokenOut {
    /// Its number.
    pub token: Token,
    /// Its log-probability before grammar and temperature; missing unless asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logprob: Option<TokenLogprob>,
}

/// A token's probability and its most likely alternatives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TokenLogprob {
    /// The token itself.
    pub chosen: ScoredToken,
    /// The most likely tokens in its place, most likely first.
    pub top: Vec<ScoredToken>,
}

/// A token with its bytes and log-probability.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScoredToken {
    /// Its number.
    pub token: Token,
    /// Its bytes; a part of a character is possible.
    pub bytes: Vec<u8>,
    /// Natural logarithm of its probability.
    pub logprob: f32,
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// The model ended it, a stop text came, or the grammar is complete.
    Stop,
    /// The limit on tokens was reached. Where the text has to fit a schema it was brought to an end in time: it is whole,
    /// but not as the model would have ended it.
    Length,
}

/// What an answer took.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt_tokens: u32,
    /// Of these, how many were in the cache.
    pub cached_tokens: u32,
    /// Tokens written.
    pub completion_tokens: u32,
    /// Of these, how many the grammar forced, at no pass of their own.
    pub forced_tokens: u32,
    /// Tokens guessed from the prompt and computed beside those that were due.
    pub speculated_tokens: u32,
    /// Of these, how many turned out right: that many passes were saved.
    pub accepted_tokens: u32,
    /// From arrival at the worker to the first token, in milliseconds.
    pub first_token_ms: f32,
    /// From arrival at the worker to the end, in milliseconds.
    pub total_ms: f32,
}

/// What helps against a worker's failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// The same again, now: something was short for a moment.
    Retry,
    /// A new process.
    #[default]
    Restart,
    /// Another device: this one can't be used, or computes wrongly.
    LeaveGpu,
    /// Less beside it, or a smaller model: it does not fit.
    NoRoom,
}

/// What kind of reason a request was refused for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusalKind {
    /// The request is wrong.
    Invalid,
    /// Prompt and answer don't fit the model's context.
    ContextLength,
    /// The worker has no model for it.
    NoModel,
    /// A fault of ours.
    Internal,
}

/// What a worker runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorkerInfo {
    /// Its process.
    pub pid: u32,
    /// The model that writes, unless the worker only embeds.
    pub model: Option<ModelInfo>,
    /// The model that embeds, if it is there.
    pub embedding: Option<ModelInfo>,
    /// Why it is not, where it was asked for.
    pub embedding_error: Option<String>,
    /// `cpu`, or the GPU's name.
    pub device: String,
    /// The instruction set or compute capability in use.
    pub kernels: String,
    /// Threads that compute.
    pub threads: u32,
    /// Requests it works on at the same time.
    pub max_sequences: u32,
    /// Tokens its cache of keys and values holds.
    pub cache_tokens: u32,
}

/// A model a worker has loaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelInfo {
    /// Its name on the API: the file's name without its ending.
    pub id: String,
    /// SHA-256 of its file, in hexadecimal.
    pub sha256: String,
    /// Size of its file in bytes.
    pub bytes: u64,
    /// Architecture and size, for people.
    pub description: String,
    /// The most tokens a request can have, prompt and answer together.
    pub context_length: u32,
    /// The length of its vectors: of the embedding for an embedding model, of a row for others.
    pub width: u32,
}

/// A frame with the message, ready to send.
///
/// # Errors
/// When the message is longer than [`MAX_FRAME`].
pub fn encode<T: Serialize>(message: &T) -> io::Result<Vec<u8>> {
    let mut frame = vec![0; 4];
    serde_json::to_writer(&mut frame, message)?;
    let length = frame.len() - 4;
    if length > MAX_FRAME {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("a frame of {length} bytes is too long"),
        ));
    }
    frame[..4].copy_from_slice(&(length as u32).to_le_bytes());
    Ok(frame)
}

/// The length a frame's first four bytes announce.
///
/// # Errors
/// When it is more than [`MAX_FRAME`].
pub fn frame_length(header: [u8; 4]) -> io::Result<usize> {
    let length = u32::from_le_bytes(header) as usize;
    if length > MAX_FRAME {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("a frame of {length} bytes is too long"),
        ));
    }
    Ok(length)
}

/// The message in a frame, its length taken off.
///
/// # Errors
/// When it is not a message of this type.
pub fn decode<T: DeserializeOwned>(body: &[u8]) -> io::Result<T> {
    Ok(serde_json::from_slice(body)?)
}

/// Writes one message.
///
/// # Errors
/// When the other side is gone, or the message is too long.
pub fn write<T: Serialize>(to: &mut impl Write, message: &T) -> io::Result<()> {
    to.write_all(&encode(message)?)
}

/// Reads one message; `None` at the end of the stream.
///
/// # Errors
/// When the stream breaks inside a message, or it is not a message of this type.
pub fn read<T: DeserializeOwned>(from: &mut impl Read) -> io::Result<Option<T>> {
    let mut header = [0; 4];
    match from.read_exact(&mut header) {
        Ok(()) => {}
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(e) => return Err(e),
    }
    let mut body = vec![0; frame_length(header)?];
    from.read_exact(&mut body)?;
    decode(&body).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_the_wire() {
        let message = ToWorker::Tokenize {
            id: 7,
            content: "ṱhogomelo \u{0} 😀".into(),
            add_special: true,
            parse_special: false,
        };
        let mut wire = Vec::new();
        write(&mut wire, &message).unwrap();
        write(&mut wire, &ToWorker::Cancel { id: 8 }).unwrap();
        let mut from = wire.as_slice();
        assert_eq!(read(&mut from).unwrap(), Some(message));
        assert_eq!(read(&mut from).unwrap(), Some(ToWorker::Cancel { id: 8 }));
        assert_eq!(read::<ToWorker>(&mut from).unwrap(), None);
    }

    #[test]
    fn a_frame_that_is_cut_or_too_long_is_an_error() {
        let frame = encode(&ToWorker::Cancel { id: 8 }).unwrap();
        assert!(read::<ToWorker>(&mut &frame[..frame.len() - 1]).is_err());
        assert!(read::<ToWorker>(&mut &[255u8; 8][..]).is_err());
    }
}
