//! A draft on its way out: as events with HTML for the page, as events with JSON for programs, or as one JSON answer.

use std::convert::Infallible;
use std::time::Duration;

use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use http::{HeaderMap, header};
use serde::Serialize;
use serde_json::json;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio_stream::wrappers::UnboundedReceiverStream;

use super::draft::Step;
use super::draft_store::Left;
use super::view::{
    SentencePart, SentenceView, StatementView, StatementsPart, UnusedPart, UnusedView, section_key,
};
use crate::drafting::{DraftSentence, Statement};
use crate::error::Result;
use crate::ids::DraftId;
use crate::web::App;

/// Whether whoever asks wants events.
pub(super) fn wants_events(headers: &HeaderMap) -> bool {
    headers
        .get(header::ACCEPT)
        .and_then(|v| v.to_str().ok())
        .is_some_and(|v| v.contains("text/event-stream"))
}

fn events(
    heard: UnboundedReceiver<Step>,
    form: impl Fn(Step) -> Result<(&'static str, String)> + Send + 'static,
) -> Response {
    let stream = UnboundedReceiverStream::new(heard).map(move |step| {
        let (name, data) = form(step).unwrap_or_else(|error| {
            tracing::error!(%error, "a step of a draft could not be shown");
            (
                "error",
                json!({ "detail": "A part of the draft could not be shown." }).to_string(),
            )
        });
        Ok::<_, Infallible>(Event::default().event(name).data(data))
    });
    Sse::new(stream)
        .keep_alive(KeepAlive::new().interval(Duration::from_secs(10)))
        .into_response()
}

/// For the page: parts in HTML.
pub(super) fn to_page(app: &App, heard: UnboundedReceiver<Step>) -> Response {
    let templates = app.templates.clone();
    events(heard, move |step| {
        Ok(match step {
            Step::Began(id) => ("draft", json!({ "id": id }).to_string()),
            Step::Statements(list) => (
                "sources",
                templates.render(&StatementsPart {
                    statements: list.iter().map(StatementView::new).collect(),
                })?,
            ),
            Step::Section(section) => (
                "section",
                json!({ "section": section_key(section) }).to_string(),
            ),
            Step::Sentence(number, sentence) => (
                "sentence",
                templates.render(&SentencePart {
                    sentence: SentenceView::new(number, &sentence, None),
                })?,
            ),
            Step::Unused(left, text) => (
                "unused",
                templates.render(&UnusedPart {
                    unused: UnusedView::new(&left, text),
                })?,
            ),
            Step::Done { text, head, .. } => {
                ("done", json!({ "text": text, "head": head }).to_string())
            }
            Step::Refused(detail) => ("refused", json!({ "detail": detail }).to_string()),
            Step::Failed(detail) => ("error", json!({ "detail": detail }).to_string()),
        })
    })
}

/// A statement of the source in the API.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct ApiStatement {
    /// From 1, in the order of the source.
    number: u32,
    /// Its words.
    text: String,
    /// In a transcript, who said it: `clinician`, `patient` or `other`.
    speaker: Option<String>,
}

/// Why a sentence needs a look.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct ApiFlag {
    /// `number`, `date`, `side`, `negation`, `drug`, `body_part`, `unsupported` or `unsourced`.
    kind: String,
    /// The words concerned.
    words: Vec<String>,
    /// A sentence for the clinician.
    message: String,
}

/// A drafted sentence in the API.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct ApiSentence {
    /// Its number in the draft, from 1; decisions name it.
    id: usize,
    /// `S`, `O`, `A` or `P`.
    section: String,
    /// Its words.
    text: String,
    /// Numbers of the statements it rests on.
    sources: Vec<u32>,
    /// Empty when the checks found nothing.
    flags: Vec<ApiFlag>,
    /// `model`, or `own_words` where the clinician's line stands as it was.
    origin: &'static str,
}

/// A statement that is not in the draft.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct ApiUnused {
    /// Its number.
    number: u32,
    /// Its words.
    text: String,
    /// Why, as a sentence.
    reason: &'static str,
}

/// A draft in the API. Nothing of it is in the note: a clinician takes sentences over, and signs.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct ApiDraft {
    /// The draft.
    draft_id: DraftId,
    /// `done`; `refused` when there was nothing to draft from; `failed` when the model went away in the middle.
    status: &'static str,
    /// Why, where it is not `done`.
    detail: Option<String>,
    /// In the order of the note.
    sentences: Vec<ApiSentence>,
    /// The source, as it was read.
    statements: Vec<ApiStatement>,
    /// Every statement that no sentence carries.
    unused: Vec<ApiUnused>,
    /// The model that wrote it.
    model: Option<String>,
    /// SHA-256 of the model's file.
    model_sha256: Option<String>,
    /// Version of the prompt.
    prompt_version: Option<String>,
    /// What it was asked with.
    parameters: Option<serde_json::Value>,
    /// How long it took, in milliseconds.
    timings: Option<serde_json::Value>,
}

fn statement(s: Statement) -> ApiStatement {
    let speaker = s
        .speaker
        .and_then(|who| serde_json::to_value(who).ok())
        .and_then(|v| v.as_str().map(str::to_owned));
    ApiStatement {
        number: s.number,
        text: s.text,
        speaker,
    }
}

fn sentence(id: usize, s: DraftSentence) -> ApiSentence {
    ApiSentence {
        id,
        section: s.section.letter().to_string(),
        text: s.text,
        sources: s.sources,
        flags: s
            .flags
            .into_iter()
            .map(|f| ApiFlag {
                kind: f.kind.name().to_owned(),
                words: f.words,
                message: f.message,
            })
            .collect(),
        origin: match s.origin {
            crate::drafting::Origin::Model => "model",
            crate::drafting::Origin::OwnWords => "own_words",
        },
    }
}

fn unused(left: &Left, text: String) -> ApiUnused {
    ApiUnused {
        number: left.number,
        text,
        reason: left.reason.message(),
    }
}

fn write(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(crate::error::Error::internal)
}

/// For programs that want each sentence as it is ready.
pub(super) fn to_program(heard: UnboundedReceiver<Step>) -> Response {
    events(heard, |step| {
        Ok(match step {
            Step::Began(id) => ("draft", json!({ "draft_id": id }).to_string()),
            Step::Statements(list) => ("statements", write(&list.into_iter().map(statement).collect::<Vec<_>>())?),
            Step::Section(section) => ("section", json!({ "section": section.letter() }).to_string()),
            Step::Sentence(number, s) => ("sentence", write(&sentence(number, s))?),
            Step::Unused(left, text) => ("unused", write(&unused(&left, text))?),
            Step::Done { text, model, timings, .. } => (
                "done",
                json!({
                    "text": text, "model": model.model, "model_sha256": model.model_sha256, "prompt_version": model.prompt_version,
                    "parameters": model.parameters, "timings": timings,
                })
                .to_string(),
            ),
            Step::Refused(detail) => ("refused", json!({ "detail": detail }).to_string()),
            Step::Failed(detail) => ("error", json!({ "detail": detail }).to_string()),
        })
    })
}

/// For programs that wait for the whole draft. When they go away, the model stops.
pub(super) async fn collect(id: DraftId, mut heard: UnboundedReceiver<Step>) -> ApiDraft {
    let mut draft = ApiDraft {
        draft_id: id,
        status: "failed",
        detail: None,
        sentences: Vec::new(),
        statements: Vec::new(),
        unused: Vec::new(),
        model: None,
        model_sha256: None,
        prompt_version: None,
        parameters: None,
        timings: None,
    };
    while let Some(step) = heard.recv().await {
        match step {
            Step::Began(_) | Step::Section(_) => {}
            Step::Statements(list) => draft.statements = list.into_iter().map(statement).collect(),
            Step::Sentence(number, s) => draft.sentences.push(sentence(number, s)),
            Step::Unused(left, text) => draft.unused.push(unused(&left, text)),
            Step::Done { model, timings, .. } => {
                draft.status = "done";
                draft.model = Some(model.model);
                draft.model_sha256 = Some(model.model_sha256);
                draft.prompt_version = Some(model.prompt_version.to_owned());
                draft.parameters = Some(model.parameters);
                draft.timings = Some(timings);
            }
            Step::Refused(detail) => {
                draft.status = "refused";
                draft.detail = Some(detail);
            }
            Step::Failed(detail) => draft.detail = Some(detail),
        }
    }
    draft
}
