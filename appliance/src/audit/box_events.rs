//! What happened to the box itself, put into the log of every practice on it.

use super::store;
use crate::db::{Action, Actor, AuditEvent, PracticeTx};
use crate::error::{Error, Problems, Result};
use crate::web::{App, required_text};

/// Longest text of an event.
const LONGEST: usize = 500;

/// What `hadadactl` tells of: an update, an override, a restore. Never of a patient.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BoxEvent {
    /// A word or two, such as `update` or `restore`: small letters and hyphens.
    pub kind: String,
    /// What happened, in a sentence.
    pub text: String,
}

/// Records it. Gives how many practices' logs have it now: none before there is a practice.
///
/// # Errors
/// [`Error::Invalid`] when a part is missing or too long, or the database does not answer.
pub async fn record_told(app: &App, event: &BoxEvent) -> Result<usize> {
    let mut problems = Problems::new();
    let text = required_text(&mut problems, "text", &event.text, LONGEST);
    let kind = event.kind.as_str();
    if kind.is_empty()
        || kind.len() > 40
        || !kind.bytes().all(|b| b.is_ascii_lowercase() || b == b'-')
    {
        problems.add(
            "kind",
            "Use small letters and hyphens, at most 40 characters.",
        );
    }
    problems.check()?;
    record_box_event(app, "hadadactl", &format!("{kind}: {text}")).await
}

/// Records what a part of the box did, in every practice's log. Gives how many there are.
///
/// # Errors
/// When the database does not answer.
pub async fn record_box_event(app: &App, part: &'static str, text: &str) -> Result<usize> {
    record(app, (Action::Execute, "Device"), part, text).await
}

/// Records whom a part of the box turned away at the network, in every practice's log. Gives how many there are.
///
/// # Errors
/// When the database does not answer.
pub async fn record_box_refusal(app: &App, part: &'static str, text: &str) -> Result<usize> {
    record(app, (Action::Refuse, "Endpoint"), part, text).await
}

async fn record(
    app: &App,
    (action, entity): (Action, &'static str),
    part: &'static str,
    text: &str,
) -> Result<usize> {
    let mut connection = app.db.records.acquire().await?;
    let practices = store::practices(&mut connection).await?;
    drop(connection);
    let text: String = text.chars().take(LONGEST + 50).collect();
    let mut recorded = 0;
    for practice in practices {
        let actor = Actor::system(crate::ids::PracticeId(practice), part);
        let event = AuditEvent::new(action, entity).reason(text.clone());
        PracticeTx::open_with(&app.db, &actor, app.clock.now(), event)
            .await?
            .commit()
            .await?;
        recorded += 1;
    }
    Ok(recorded)
}

/// Somebody present says that a restored log is the log from now on.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AcceptHead {
    /// Who is present, by name.
    pub by: String,
    /// Why the log is another one.
    pub reason: String,
}

/// What became of the head.
#[derive(Debug, serde::Serialize)]
pub struct Accepted {
    /// The head before, in its short form; none where it could not be read.
    pub old: Option<String>,
    /// The head now.
    pub new: String,
}

/// Takes the newest seal in the database as the head, records the old and the new one, and lets sealing go on.
///
/// # Errors
/// [`Error::Conflict`] where there is nothing to accept: no seals, or a chain that does not hold together.
pub async fn accept_head(
    app: &App,
    sealer: &super::Sealer,
    request: &AcceptHead,
) -> Result<Accepted> {
    let mut problems = Problems::new();
    let by = required_text(&mut problems, "by", &request.by, 80);
    let reason = required_text(&mut problems, "reason", &request.reason, 200);
    problems.check()?;
    let accepted = sealer.accept_head().await?;
    let old = accepted.old.as_deref().unwrap_or("not readable");
    let said = format!(
        "audit head accepted by {by}: {reason}. Old head {old}, new head {}",
        accepted.new
    );
    if record_box_event(app, "hadadactl", &said).await? == 0 {
        return Err(Error::conflict("There is no practice on this box."));
    }
    tracing::warn!(old, new = accepted.new, "another audit head was accepted");
    Ok(accepted)
}
