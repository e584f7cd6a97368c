//! Who looked at what about a patient.

use axum::extract::{Path, State};
use axum::response::Response;
use time::OffsetDateTime;
use uuid::Uuid;

use super::store;
use crate::clock;
use crate::db::{Action, AuditEvent};
use crate::error::{Error, Result};
use crate::ids::PatientId;
use crate::web::{App, Page, Permission, Query, Session, Shell, html};

const PAGE: i64 = 100;

#[derive(Debug, serde::Deserialize)]
pub(super) struct Cursor {
    /// `MICROS.UUID` of the last line of the page before.
    before: Option<String>,
}

/// `audit/patient.html`.
#[derive(serde::Serialize)]
struct PatientAudit {
    shell: Shell,
    patient: Uuid,
    name: String,
    rows: Vec<Row>,
    next: Option<String>,
}

#[derive(serde::Serialize)]
struct Row {
    at: String,
    who: String,
    what: String,
    reason: String,
    sealed: Option<i64>,
}

impl Page for PatientAudit {
    const TEMPLATE: &'static str = "audit/patient.html";
    fn samples() -> Vec<Self> {
        let row = |sealed| Row { at: "24-Nov-2026 10:41".into(), who: "Naledi Mokoena".into(), what: "Opened patient".into(), reason: "banner".into(), sealed };
        let page = |rows| Self { shell: Shell::sample(), patient: Uuid::nil(), name: "KHUMALO, Thandiwe".into(), rows, next: None };
        vec![page(vec![row(Some(12)), row(None)]), page(Vec::new())]
    }
}

fn words(action: &str, entity: &str, listed: bool) -> String {
    if listed {
        return "Saw in a list".into();
    }
    let verb = match action {
        "create" => "Added",
        "read" => "Opened",
        "update" => "Changed",
        "delete" => "Ended",
        "refuse" => "Was refused",
        _ => "Did",
    };
    format!("{verb} {}", entity.to_lowercase())
}

pub(super) async fn patient(
    State(app): State<App>, session: Session, Path(id): Path<PatientId>, Query(cursor): Query<Cursor>,
) -> Result<Response> {
    session.require(Permission::ViewAudit)?;
    let before = cursor.before.as_deref().map(parse).transpose()?;
    let event = AuditEvent::new(Action::Read, "AuditEvent").patient(id);
    let mut tx = app.begin_with(&session, event).await?;
    let name = sqlx::query_scalar!(
        r#"SELECT upper(family_name) || ', ' || given_name AS "name!" FROM patients WHERE id = $1"#,
        id.0
    )
    .fetch_optional(tx.conn())
    .await?
    .ok_or(Error::NotFound)?;
    let entries = store::about_patient(tx.conn(), id, before, PAGE).await?;
    tx.commit().await?;
    let next = (entries.len() == usize::try_from(PAGE).unwrap_or_default())
        .then(|| entries.last())
        .flatten()
        .map(|e| format!("/patients/{id}/audit?before={}.{}", store::micros(e.at), e.id));
    let rows = entries
        .into_iter()
        .map(|e| Row { at: clock::stamp_text(e.at), who: e.who, what: words(&e.action, &e.entity, e.listed), reason: e.reason, sealed: e.seal })
        .collect();
    html(&app, &PatientAudit { shell: Shell::plain(&app, &session, format!("Who looked at {name}"), "patients"), patient: id.0, name, rows, next })
}

fn parse(cursor: &str) -> Result<(OffsetDateTime, Uuid)> {
    let wrong = || Error::field("before", "This is not a place in the list. Open the page again from its start.");
    let (micros, id) = cursor.split_once('.').ok_or_else(wrong)?;
    let micros: i64 = micros.parse().map_err(|_| wrong())?;
    let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1_000).map_err(|_| wrong())?;
    Ok((at, id.parse().map_err(|_| wrong())?))
}
