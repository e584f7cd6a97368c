//! Asking for an erasure, and doing it.

use std::collections::BTreeMap;

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use http::StatusCode;
use sha2::{Digest, Sha256};

use super::rules::{self, Reason};
use super::store::{self, Candidate};
use super::{Entry, complete, register};
use crate::db::{Action, AuditEvent};
use crate::error::{Error, Problems, Result};
use crate::ids::PatientId;
use crate::web::{App, Form, Page, Permission, Session, Shell, html, single_line};

#[derive(serde::Serialize)]
struct Choice {
    value: &'static str,
    label: &'static str,
}

/// `erasure/erase.html`.
#[derive(serde::Serialize)]
pub(super) struct ErasePage {
    shell: Shell,
    patient: String,
    name: String,
    file_number: String,
    /// Why it can't be erased for the usual reasons.
    refused: Option<String>,
    reasons: Vec<Choice>,
    reason: String,
    reference: String,
    checked: bool,
    errors: BTreeMap<String, String>,
}

impl Page for ErasePage {
    const TEMPLATE: &'static str = "erasure/erase.html";
    fn samples() -> Vec<Self> {
        let page = |refused: Option<&str>, errors| Self {
            shell: Shell::sample(),
            patient: uuid::Uuid::nil().to_string(),
            name: "Khumalo, Thandiwe".into(),
            file_number: "H-00482".into(),
            refused: refused.map(str::to_owned),
            reasons: choices(),
            reason: String::new(),
            reference: String::new(),
            checked: false,
            errors,
        };
        let wrong = BTreeMap::from([
            ("reason".into(), "Choose why.".into()),
            ("file_number".into(), "Type H-00482.".into()),
            ("checked".into(), "Check this first.".into()),
        ]);
        vec![
            page(None, BTreeMap::new()),
            page(Some("This record has to be kept until 24-Nov-2030."), wrong),
        ]
    }
}

fn choices() -> Vec<Choice> {
    Reason::ALL
        .into_iter()
        .map(|r| Choice {
            value: r.text(),
            label: r.words(),
        })
        .collect()
}

fn page(app: &App, session: &Session, id: PatientId, who: &Candidate) -> ErasePage {
    let name = format!("{}, {}", who.family_name, who.given_name);
    let today = app.clock.today();
    let refused = rules::may_erase(who.kept, Reason::RetentionEnded, today).err();
    ErasePage {
        shell: Shell::plain(app, session, format!("Erase {name}"), "patients"),
        patient: id.to_string(),
        name,
        file_number: who.file_number.clone(),
        refused: refused.map(|r| r.words()),
        reasons: choices(),
        reason: String::new(),
        reference: String::new(),
        checked: false,
        errors: BTreeMap::new(),
    }
}

fn looked(id: PatientId) -> AuditEvent {
    AuditEvent::new(Action::Read, "Patient")
        .id(id.0)
        .patient(id)
        .reason("erasure considered")
}

/// `GET /patients/{id}/erase`
pub(super) async fn ask(
    State(app): State<App>,
    session: Session,
    Path(id): Path<PatientId>,
) -> Result<Response> {
    session.require(Permission::ErasePatients)?;
    let mut tx = app.begin_with(&session, looked(id)).await?;
    let now = tx.now();
    let who = store::candidate(tx.conn(), id, now)
        .await?
        .ok_or(Error::NotFound)?;
    tx.commit().await?;
    html(&app, &page(&app, &session, id, &who))
}

#[derive(Debug, serde::Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    reason: String,
    #[serde(default)]
    reference: String,
    /// That no longer period applies.
    #[serde(default)]
    checked: bool,
    #[serde(default)]
    file_number: String,
}

/// `POST /patients/{id}/erase`
pub(super) async fn erase(
    State(app): State<App>,
    session: Session,
    Path(id): Path<PatientId>,
    Form(asked): Form<Asked>,
) -> Result<Response> {
    session.require(Permission::ErasePatients)?;
    let mut tx = app.begin_with(&session, looked(id)).await?;
    let now = tx.now();
    let who = store::candidate(tx.conn(), id, now)
        .await?
        .ok_or(Error::NotFound)?;
    tx.commit().await?;
    let entry = match decide(&app, &session, id, &who, &asked) {
        Ok(entry) => entry,
        Err(Error::Invalid(fields)) => {
            let mut page = page(&app, &session, id, &who);
            page.errors = fields
                .into_iter()
                .map(|f| (f.field.into_owned(), f.message.into_owned()))
                .collect();
            (page.reason, page.reference, page.checked) =
                (asked.reason, asked.reference, asked.checked);
            return Ok((StatusCode::UNPROCESSABLE_ENTITY, html(&app, &page)?).into_response());
        }
        Err(other) => return Err(other),
    };
    let (path, line) = (app.config.erasure_register.clone(), entry.clone());
    tokio::task::spawn_blocking(move || register::append(&path, &line))
        .await
        .map_err(Error::internal)?
        .map_err(|error| {
            tracing::error!(%error, "nobody was erased");
            Error::Unavailable(
                "The register of erasures can't be written, so nothing was erased. Tell IT.".into(),
            )
        })?;
    complete(&app, &entry, &session.actor(), "erased").await?;
    Ok(Redirect::to("/patients").into_response())
}

/// The entry for the register, or what is wrong with what was asked.
fn decide(
    app: &App,
    session: &Session,
    id: PatientId,
    who: &Candidate,
    asked: &Asked,
) -> Result<Entry> {
    let mut problems = Problems::new();
    let reason = Reason::from_text(&asked.reason).ok_or("Choose why the record is erased.");
    let reason = problems.take("reason", reason);
    let reference = single_line(&mut problems, "reference", &asked.reference, 120);
    let names = [
        who.family_name.as_str(),
        &who.given_name,
        &who.preferred_name,
        &who.file_number,
    ];
    if rules::names(&reference, &names) {
        problems.add(
            "reference",
            "This names the patient, and it is kept. Write where the request is filed instead.",
        );
    }
    if matches!(reason, Some(Reason::PatientAsked | Reason::CourtOrder)) && reference.is_empty() {
        problems.add(
            "reference",
            "Write where the request or the order is filed.",
        );
    }
    if !asked.checked
        && !matches!(
            reason,
            Some(Reason::CourtOrder | Reason::RegisteredByMistake)
        )
    {
        problems.add("checked", "Check this first, and tick it.");
    }
    if asked.file_number.trim() != who.file_number {
        problems.add(
            "file_number",
            format!("Type {} to say that it is this patient.", who.file_number),
        );
    }
    if let Some(reason) = reason
        && let Err(refusal) = rules::may_erase(who.kept, reason, app.clock.today())
    {
        problems.add("reason", refusal.words());
    }
    problems.check()?;
    let reason = reason.ok_or_else(|| Error::field("reason", "Choose why."))?;
    let said = format!("{}: {reference}", reason.words());
    Ok(Entry {
        practice_id: session.practice_id,
        patient_id: id,
        at: clock_now(app),
        by: session.user_id.to_string(),
        reason,
        reason_hash: hex::encode(Sha256::digest(said.as_bytes())),
    })
}

/// To the second, as the register writes it.
fn clock_now(app: &App) -> time::OffsetDateTime {
    let now = app.clock.now();
    now.replace_nanosecond(0)
        .unwrap_or(now)
        .to_offset(time::UtcOffset::UTC)
}
