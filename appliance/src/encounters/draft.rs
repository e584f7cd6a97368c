//! Drafting a visit's note: who may, what is recorded before and after, and the run itself, which holds no transaction.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::draft_store::{self, DraftBody, Ending, Left, With};
use super::model::Model;
use super::note::{SOURCE_LIMIT, check_text};
use super::visit::{Visit, Writer};
use crate::db::{Action, Actor, AuditEvent, PracticeTx};
use crate::drafting::{
    self, DraftEvent, DraftSentence, Options, PROMPT_VERSION, Refusal, Section, Statement, Summary,
};
use crate::error::{Error, Problems, Result};
use crate::ids::{DraftId, EncounterId};
use crate::inference::Health;
use crate::keys::PatientKey;
use crate::web::{App, Session};

/// Longest a draft may take; then it ends as failed, with what was written so far.
const LONGEST: Duration = Duration::from_secs(8 * 60);
/// How long a new draft waits for one that was just stopped to end.
const PATIENCE: Duration = Duration::from_millis(1500);

/// How long a draft waits for a model that is starting.
const STARTING: Duration = Duration::from_secs(10);

/// The drafts that run in this program.
#[derive(Clone, Debug, Default)]
pub struct Running(Arc<Mutex<HashSet<uuid::Uuid>>>);

impl Running {
    fn alive(&self) -> Vec<uuid::Uuid> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .copied()
            .collect()
    }

    fn enter(&self, id: DraftId) -> Guard {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(id.0);
        Guard(self.clone(), id)
    }
}

/// Takes its draft off the list when the run ends, however it ends.
struct Guard(Running, DraftId);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.1.0);
    }
}

/// What whoever asked hears while a draft is made, in order. The last is one of `Done`, `Refused` and `Failed`.
#[derive(Debug)]
pub(super) enum Step {
    Began(DraftId),
    Statements(Vec<Statement>),
    Section(Section),
    /// With the sentence's number in the draft, from 1.
    Sentence(usize, DraftSentence),
    Unused(Left, String),
    Done {
        text: String,
        head: String,
        model: With,
        timings: serde_json::Value,
    },
    Refused(String),
    Failed(String),
}

/// A draft that was allowed and noted, ready to run.
struct Job {
    app: App,
    actor: Actor,
    visit: Visit,
    draft: DraftId,
    key: Arc<PatientKey>,
    source: String,
    options: Options,
    with: With,
    model: Model,
    /// Whether a model may write at the moment; without one, lines are sorted only.
    writes: bool,
    _running: Guard,
}

/// In the prompt's words.
fn discipline(stored: &str) -> &'static str {
    match stored {
        "physiotherapy" => "physiotherapist",
        "occupational-therapy" => "occupational therapist",
        "biokinetics" => "biokineticist",
        "speech-therapy" => "speech therapist",
        "general-practice" => "general practitioner",
        _ => "clinician",
    }
}

/// Starts a draft from the text given, or from the note's own lines. The audit log has it before the model sees a word.
/// Dropping the receiver stops the model.
///
/// # Errors
/// [`Error::NotFound`] for a visit of another practice, [`Error::Forbidden`] for another practitioner's,
/// [`Error::Conflict`] when the note is signed or a draft of it runs, [`Error::Unavailable`] when the model is away,
/// [`Error::Invalid`] for text that can't be read.
pub(super) async fn start(
    app: &App,
    running: &Running,
    session: &Session,
    writer: Writer,
    id: EncounterId,
    given: Option<String>,
) -> Result<(DraftId, mpsc::UnboundedReceiver<Step>)> {
    let mut problems = Problems::new();
    if let Some(text) = &given {
        check_text(
            &mut problems,
            "source_text",
            "The text of your lines",
            text,
            SOURCE_LIMIT,
        );
    }
    let health = serving(app).await;
    let draft = DraftId::random();
    let guard = running.enter(draft);
    let gives_up = Instant::now() + PATIENCE;
    let job = loop {
        let mut tx = app.begin(session).await?;
        let visit = Visit::find(&mut tx, id).await?;
        visit.written_by(writer)?;
        std::mem::take(&mut problems).check()?;
        if visit.signature.is_some() {
            return Err(Error::conflict(
                "This note is signed, so nothing is drafted for it. You can add an addendum.",
            ));
        }
        if !health.is_serving() {
            return Err(Error::Unavailable(match health.state.as_str() {
                "starting" => "The drafting model is starting. Try again in a moment, or write the note yourself.".into(),
                _ => "The drafting model is not running. Everything else works: write the note yourself.".into(),
            }));
        }
        let key = app.keys.patient(tx.practice(), visit.patient).await?;
        let options = Options {
            discipline: discipline(&visit.discipline).into(),
            ..Options::default()
        };
        let with = With {
            model: health.model.clone().unwrap_or_default().id,
            model_sha256: health.model.clone().unwrap_or_default().sha256,
            prompt_version: PROMPT_VERSION,
            parameters: serde_json::json!({
                "discipline": options.discipline,
                "statements_per_request": options.statements_per_request,
                "words_per_request": options.words_per_request,
                "device": health.device,
                "embedding_model": health.embedding_model.as_ref().map(|m| &m.id),
                "embedding_model_sha256": health.embedding_model.as_ref().map(|m| &m.sha256),
            }),
        };
        let (practice, now) = (tx.practice(), tx.now());
        draft_store::close_lost(tx.conn(), id, &running.alive(), now).await?;
        if !draft_store::begin(tx.conn(), practice, draft, id, session.user_id, now, &with).await? {
            drop(tx);
            if Instant::now() >= gives_up {
                return Err(Error::conflict(
                    "A draft of this visit is being written already, perhaps in another tab. Stop that one, or wait for it.",
                ));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        }
        let source = match given {
            Some(text) => text,
            None => visit.newest(&mut tx, &key).await?.note.source_text,
        };
        tx.record(
            AuditEvent::new(Action::Execute, "Draft")
                .id(draft.0)
                .patient(visit.patient)
                .reason("draft: the model reads the visit's lines"),
        )
        .await?;
        tx.commit().await?;
        break Job {
            app: app.clone(),
            actor: session.actor(),
            model: Model::new(app.inference.clone(), &health, session.user_id.to_string()),
            writes: health.writing,
            visit,
            draft,
            key,
            source,
            options,
            with,
            _running: guard,
        };
    };
    let (steps, heard) = mpsc::unbounded_channel();
    tokio::spawn(run(job, steps));
    Ok((draft, heard))
}

/// How the daemon is; while it starts (a worker that died is replaced in seconds) a draft waits for it.
async fn serving(app: &App) -> Health {
    let gives_up = Instant::now() + STARTING;
    loop {
        let health = app.inference.health().await;
        if health.state != "starting" || Instant::now() >= gives_up {
            return health;
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

/// How the model's part came out.
enum Outcome {
    Drafted(Summary),
    Refused(Refusal),
    Stopped,
    TookTooLong,
}

async fn run(mut job: Job, steps: mpsc::UnboundedSender<Step>) {
    let began = Instant::now();
    let mut body = DraftBody {
        source_text: job.source.clone(),
        ..DraftBody::default()
    };
    let mut first_sentence = None;
    // A step that nobody hears any more is noticed by `closed` below.
    let tell = |step| {
        let _heard = steps.send(step);
    };
    tell(Step::Began(job.draft));
    let outcome = {
        let on_event = |event| match event {
            DraftEvent::Started { statements } => {
                body.statements.clone_from(&statements);
                tell(Step::Statements(statements));
            }
            DraftEvent::Section { section } => tell(Step::Section(section)),
            DraftEvent::Sentence { sentence } => {
                first_sentence.get_or_insert_with(|| began.elapsed());
                body.sentences.push(sentence.clone());
                tell(Step::Sentence(body.sentences.len(), sentence));
            }
            DraftEvent::Unused { number, reason } => {
                let text = body
                    .statements
                    .iter()
                    .find(|s| s.number == number)
                    .map(|s| s.text.clone())
                    .unwrap_or_default();
                let left = Left { number, reason };
                body.unused.push(left.clone());
                tell(Step::Unused(left, text));
            }
            DraftEvent::WritingFailed { .. } | DraftEvent::Done { .. } => {}
        };
        tokio::select! {
            result = drafting::draft(&job.source, &job.options, &mut job.model, on_event) => match result {
                Ok(summary) => Outcome::Drafted(summary),
                Err(refusal) => Outcome::Refused(refusal),
            },
            () = steps.closed() => Outcome::Stopped,
            () = tokio::time::sleep(LONGEST) => Outcome::TookTooLong,
        }
    };
    let (ending, why) = match &outcome {
        Outcome::Drafted(summary) if summary.model_available => (Ending::Done, None),
        Outcome::Drafted(_) if !job.writes => (
            Ending::Failed,
            Some("No drafting model may write at the moment, so your lines are sorted and stand in your own words.".to_owned()),
        ),
        Outcome::Drafted(_) => (
            Ending::Failed,
            Some("The drafting model stopped while it was writing. What it wrote is kept, and the lines it had not reached stand in the draft in your own words.".to_owned()),
        ),
        Outcome::TookTooLong => (Ending::Failed, Some("The draft took longer than eight minutes and was stopped. What was written is kept.".to_owned())),
        Outcome::Refused(refusal) => (Ending::Refused, Some(refusal.to_string())),
        Outcome::Stopped => (Ending::Stopped, None),
    };
    body.why.clone_from(&why);
    let timings = serde_json::json!({
        "total_ms": u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        "first_sentence_ms": first_sentence.map(|d: Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX)),
        "model": job.model.timings,
    });
    let last = match store(&job, ending, &timings, &body).await {
        Err(error) => {
            tracing::error!(%error, draft = %job.draft, "a draft could not be stored");
            Step::Failed("The draft could not be stored on the clinic server. What is on the page stays; use what you need and draft again later.".into())
        }
        Ok(()) => match (ending, why) {
            (Ending::Refused, Some(why)) => Step::Refused(why),
            (Ending::Done, _) => Step::Done {
                text: count(&body),
                head: head(began.elapsed().as_secs()),
                model: job.with.clone(),
                timings,
            },
            (_, why) => Step::Failed(why.unwrap_or_default()),
        },
    };
    // Off the list before the last word, so that the next draft can begin as soon as it is heard.
    drop(job);
    let _heard = steps.send(last);
}

async fn store(
    job: &Job,
    ending: Ending,
    timings: &serde_json::Value,
    body: &DraftBody,
) -> Result<()> {
    let sealed = job.key.seal_json(draft_store::place(job.draft), body)?;
    let event = AuditEvent::new(Action::Execute, "Draft")
        .id(job.draft.0)
        .patient(job.visit.patient)
        .reason(format!("draft: {}", ending.text()));
    let mut tx = PracticeTx::open_with(&job.app.db, &job.actor, job.app.clock.now(), event).await?;
    let now = tx.now();
    draft_store::end(tx.conn(), job.draft, now, ending, timings, &sealed).await?;
    tx.commit().await
}

/// `11 sentences. 10 have a source, 1 needs a look.`
pub(super) fn count(body: &DraftBody) -> String {
    let all = body.sentences.len();
    let flagged = body
        .sentences
        .iter()
        .filter(|s| !s.flags.is_empty())
        .count();
    let sentences = if all == 1 {
        "1 sentence".into()
    } else {
        format!("{all} sentences")
    };
    match (all - flagged, flagged) {
        (_, 0) => format!("{sentences}. Each has a source."),
        (good, 1) => format!("{sentences}. {good} with a source, 1 needs a look."),
        (good, bad) => format!("{sentences}. {good} with a source, {bad} need a look."),
    }
}

/// Above a finished draft.
pub(super) fn head(seconds: u64) -> String {
    format!(
        "Written on this server in {} s from your lines. Check every line.",
        seconds.max(1)
    )
}
