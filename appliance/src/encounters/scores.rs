//! Adding an outcome score to the visit's trend: the form and its handlers.

use std::collections::BTreeMap;

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::Serialize;
use uuid::Uuid;

use super::measures::MEASURES;
use super::pages::{allow, trend_view};
use super::view::TrendsPart;
use super::visit::Visit;
use crate::db::Action;
use crate::error::{Error, Result};
use crate::ids::EncounterId;
use crate::web::{App, Form, FormId, Page, Permission, Session, claim, html};

/// A choice in a form.
#[derive(Debug, Serialize)]
pub(super) struct Choice {
    value: &'static str,
    label: String,
}

/// `encounters/score.html`: the form for a score, in the page's dialog.
#[derive(Debug, Serialize)]
pub(super) struct ScoreForm {
    pub(super) encounter: String,
    pub(super) measures: Vec<Choice>,
    pub(super) measure: String,
    pub(super) score: String,
    pub(super) taken_on: String,
    pub(super) idempotency_key: Uuid,
    pub(super) errors: BTreeMap<String, String>,
}

impl ScoreForm {
    pub(super) fn new(encounter: String, taken_on: String) -> Self {
        let measures = MEASURES
            .iter()
            .map(|m| Choice {
                value: m.code,
                label: format!("{}: {}", m.name, m.about),
            })
            .collect();
        Self {
            encounter,
            measures,
            measure: String::new(),
            score: String::new(),
            taken_on,
            idempotency_key: Uuid::now_v7(),
            errors: BTreeMap::new(),
        }
    }
}

impl Page for ScoreForm {
    const TEMPLATE: &'static str = "encounters/score.html";
    fn samples() -> Vec<Self> {
        let form = || Self::new(Uuid::nil().to_string(), "2026-11-24".into());
        let errors = BTreeMap::from([(
            "score".to_owned(),
            "A LEFS score lies between 0 and 80; 81 does not.".to_owned(),
        )]);
        vec![
            form(),
            Self {
                measure: "lefs".into(),
                score: "81".into(),
                errors,
                ..form()
            },
        ]
    }
}

/// `GET /encounters/{id}/scores/new`.
pub(super) async fn new_score(
    State(app): State<App>,
    session: Session,
    Path(id): Path<EncounterId>,
) -> Result<Response> {
    allow(&app, &session, Permission::WriteNotes, Some(id)).await?;
    let mut tx = app.begin(&session).await?;
    let visit = Visit::find(&mut tx, id).await?;
    tx.close_without_patient_data().await?;
    html(
        &app,
        &ScoreForm::new(visit.id.to_string(), app.clock.today().to_string()),
    )
}

#[derive(Debug, serde::Deserialize)]
pub(super) struct ScoreInput {
    #[serde(default)]
    measure: String,
    #[serde(default)]
    score: String,
    #[serde(default)]
    taken_on: String,
    idempotency_key: FormId,
}

/// `POST /encounters/{id}/scores`: the trend section again, or the form with what is wrong.
pub(super) async fn add_score(
    State(app): State<App>,
    session: Session,
    Path(id): Path<EncounterId>,
    Form(form): Form<ScoreInput>,
) -> Result<Response> {
    allow(&app, &session, Permission::WriteNotes, Some(id)).await?;
    let mut tx = app.begin(&session).await?;
    let visit = Visit::find(&mut tx, id).await?;
    let score = Uuid::now_v7();
    if claim(
        &mut tx,
        &session,
        form.idempotency_key,
        "outcome score",
        score,
    )
    .await?
    .is_none()
    {
        match visit
            .add_score(
                &mut tx,
                session.user_id,
                score,
                &form.measure,
                &form.score,
                &form.taken_on,
            )
            .await
        {
            Ok(()) => {}
            Err(Error::Invalid(fields)) => {
                let mut page = ScoreForm::new(visit.id.to_string(), form.taken_on);
                (page.measure, page.score, page.idempotency_key) =
                    (form.measure, form.score, form.idempotency_key);
                page.errors = fields
                    .into_iter()
                    .map(|f| (f.field.into_owned(), f.message.into_owned()))
                    .collect();
                return Ok((StatusCode::UNPROCESSABLE_ENTITY, html(&app, &page)?).into_response());
            }
            Err(other) => return Err(other),
        }
    }
    tx.record(visit.event(Action::Read, "Observation", "trend"))
        .await?;
    let trends = trend_view(&mut tx, &visit, true).await?;
    tx.commit().await?;
    html(&app, &TrendsPart { trends })
}
