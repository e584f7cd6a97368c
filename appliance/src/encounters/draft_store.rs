//! SQL of drafts: what the model wrote, with what, and how it ended.

use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use time::OffsetDateTime;

use crate::drafting::{DraftSentence, Statement, Unused};
use crate::error::Result;
use crate::ids::{DraftId, EncounterId, PracticeId, UserId};
use crate::keys::{PatientKey, Place};

/// A statement that no sentence of the draft carries.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Left {
    pub(super) number: u32,
    pub(super) reason: Unused,
}

/// What is kept of a draft, sealed under the patient's key.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct DraftBody {
    pub(super) source_text: String,
    pub(super) statements: Vec<Statement>,
    pub(super) sentences: Vec<DraftSentence>,
    pub(super) unused: Vec<Left>,
    /// Why nothing was drafted, or why it ended early, in words for the page.
    #[serde(default)]
    pub(super) why: Option<String>,
}

/// How a draft ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Done,
    /// Whoever asked went away or pressed Stop.
    Stopped,
    /// The model went away.
    Failed,
    /// Nothing to draft from.
    Refused,
}

impl Ending {
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
            Self::Refused => "refused",
        }
    }
}

/// What drafts with what.
#[derive(Clone, Debug)]
pub(super) struct With {
    pub(super) model: String,
    pub(super) model_sha256: String,
    pub(super) prompt_version: &'static str,
    pub(super) parameters: serde_json::Value,
}

/// The place of a draft's words.
pub(super) fn place(id: DraftId) -> Place {
    Place::new("drafts.body", id.0)
}

/// Notes that a draft begins; false while another draft of the visit runs.
pub(super) async fn begin(
    conn: &mut PgConnection,
    practice: PracticeId,
    id: DraftId,
    encounter: EncounterId,
    by: UserId,
    now: OffsetDateTime,
    with: &With,
) -> Result<bool> {
    let done = sqlx::query!(
        "INSERT INTO drafts (practice_id, id, encounter_id, requested_by, requested_at, status, model, model_sha256, prompt_version, parameters)
         VALUES ($1, $2, $3, $4, $5, 'running', $6, $7, $8, $9)
         ON CONFLICT (practice_id, encounter_id) WHERE status = 'running' DO NOTHING",
        practice.0, id.0, encounter.0, by.0, now, with.model, with.model_sha256, with.prompt_version, with.parameters
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Closes drafts of a visit that run in no program any more: it ended under them.
pub(super) async fn close_lost(
    conn: &mut PgConnection,
    encounter: EncounterId,
    alive: &[uuid::Uuid],
    now: OffsetDateTime,
) -> Result<()> {
    sqlx::query!(
        "UPDATE drafts SET status = 'failed', finished_at = $3 WHERE encounter_id = $1 AND status = 'running' AND NOT (id = ANY ($2))",
        encounter.0,
        alive,
        now
    )
    .execute(conn)
    .await?;
    Ok(())
}

pub(super) async fn end(
    conn: &mut PgConnection,
    id: DraftId,
    now: OffsetDateTime,
    ending: Ending,
    timings: &serde_json::Value,
    body: &[u8],
) -> Result<()> {
    sqlx::query!(
        "UPDATE drafts SET status = $2, finished_at = $3, timings = $4, body = $5 WHERE id = $1 AND status = 'running'",
        id.0, ending.text(), now, timings, body
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// A draft that ended, open.
pub(super) struct Draft {
    pub(super) id: DraftId,
    pub(super) status: String,
    pub(super) seconds: i64,
    pub(super) body: DraftBody,
}

/// The visit's newest draft that has ended with something to show.
pub(super) async fn newest(
    conn: &mut PgConnection,
    encounter: EncounterId,
    key: &PatientKey,
) -> Result<Option<Draft>> {
    let row = sqlx::query!(
        r#"SELECT id AS "id: DraftId", status, body AS "body!",
                  extract(epoch FROM finished_at - requested_at)::bigint AS "seconds!"
           FROM drafts WHERE encounter_id = $1 AND body IS NOT NULL ORDER BY requested_at DESC, id DESC LIMIT 1"#,
        encounter.0
    )
    .fetch_optional(conn)
    .await?;
    row.map(|r| {
        Ok(Draft {
            id: r.id,
            status: r.status,
            seconds: r.seconds,
            body: key.open_json(place(r.id), &r.body)?,
        })
    })
    .transpose()
}
