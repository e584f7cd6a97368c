//! Allergies and alerts: what to mind about a patient.

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use serde_json::{Value, json};
use uuid::Uuid;

use super::actions::sealed_change;
use super::details::NewAllergy;
use super::record::{Typed, show_again};
use super::search::parse_date;
use super::store::{self, Writing};
use crate::db::{Action, AuditEvent, PracticeTx};
use crate::error::{Error, Problems, Result};
use crate::ids::PatientId;
use crate::web::{App, Form, FormId, Permission, Session, claim, required_text};

fn back(id: PatientId) -> Response {
    Redirect::to(&format!("/patients/{id}")).into_response()
}

fn writing(tx: &PracticeTx, session: &Session) -> Writing {
    Writing {
        practice: tx.practice(),
        user: session.user_id,
        now: tx.now(),
    }
}

/// Records the event of a change with its old and new values, tells open pages, and commits.
async fn finish(
    app: &App,
    mut tx: PracticeTx,
    patient: PatientId,
    action: Action,
    entity: (&'static str, Uuid),
    old: Value,
    new: Value,
) -> Result<Response> {
    let key = app.keys.patient(tx.practice(), patient).await?;
    let change = sealed_change(&key, entity.1, &old, &new)?;
    tx.record(
        AuditEvent::new(action, entity.0)
            .id(entity.1)
            .patient(patient)
            .change(change),
    )
    .await?;
    tx.announce("patient", patient.0).await?;
    tx.commit().await?;
    Ok(back(patient))
}

#[derive(Debug, serde::Deserialize)]
pub(super) struct AllergyForm {
    idempotency_key: FormId,
    #[serde(default)]
    substance: String,
    #[serde(default)]
    reaction: String,
}

/// `POST /patients/{id}/allergies`
pub(super) async fn add_allergy(
    State(app): State<App>,
    session: Session,
    Path(id): Path<PatientId>,
    Form(form): Form<AllergyForm>,
) -> Result<Response> {
    session.require(Permission::EditPatients)?;
    let mut problems = Problems::new();
    let allergy = NewAllergy::check(&mut problems, &form.substance, &form.reaction);
    if let Err(Error::Invalid(fields)) = problems.check() {
        let typed = Typed {
            substance: form.substance,
            reaction: form.reaction,
            ..Typed::default()
        };
        return show_again(&app, &session, id, &fields, typed).await;
    }
    let mut tx = app.begin(&session).await?;
    let state = store::lock(tx.conn(), id).await?.ok_or(Error::NotFound)?;
    let new = Uuid::now_v7();
    if claim(&mut tx, &session, form.idempotency_key, "allergy", new)
        .await?
        .is_some()
    {
        return Ok(back(id));
    }
    let w = writing(&tx, &session);
    store::insert_allergy(tx.conn(), w, new, id, &allergy).await?;
    store::set_allergy_state(tx.conn(), id, "known").await?;
    finish(
        &app,
        tx,
        id,
        Action::Create,
        ("AllergyIntolerance", new),
        json!({ "allergy_state": state }),
        json!({ "allergy_state": "known", "allergy": allergy }),
    )
    .await
}

/// `POST /patients/{id}/allergies/none`: asked, and there are none.
pub(super) async fn no_known_allergies(
    State(app): State<App>,
    session: Session,
    Path(id): Path<PatientId>,
) -> Result<Response> {
    session.require(Permission::EditPatients)?;
    let mut tx = app.begin(&session).await?;
    let state = store::lock(tx.conn(), id).await?.ok_or(Error::NotFound)?;
    if store::count_allergies(tx.conn(), id).await? > 0 {
        return Err(Error::conflict(
            "This patient has allergies on file. End each of them first, if they were recorded by mistake.",
        ));
    }
    store::set_allergy_state(tx.conn(), id, "none-known").await?;
    finish(
        &app,
        tx,
        id,
        Action::Update,
        ("Patient", id.0),
        json!({ "allergy_state": state }),
        json!({ "allergy_state": "none-known" }),
    )
    .await
}

/// `POST /patients/{id}/allergies/{allergy}/end`: no longer holds. After the last one nobody has said that there are none, so
/// the state is "not recorded" until somebody asks.
pub(super) async fn end_allergy(
    State(app): State<App>,
    session: Session,
    Path((id, allergy)): Path<(PatientId, Uuid)>,
) -> Result<Response> {
    session.require(Permission::EditPatients)?;
    let mut tx = app.begin(&session).await?;
    store::lock(tx.conn(), id).await?.ok_or(Error::NotFound)?;
    let now = tx.now();
    let Some(ended) = store::end_allergy(tx.conn(), id, allergy, now).await? else {
        return Ok(back(id));
    };
    if store::count_allergies(tx.conn(), id).await? == 0 {
        store::set_allergy_state(tx.conn(), id, "not-recorded").await?;
    }
    finish(
        &app,
        tx,
        id,
        Action::Delete,
        ("AllergyIntolerance", allergy),
        json!({ "allergy": ended }),
        Value::Null,
    )
    .await
}

#[derive(Debug, serde::Deserialize)]
pub(super) struct AlertForm {
    idempotency_key: FormId,
    #[serde(default)]
    alert: String,
    #[serde(default)]
    until: String,
}

/// `POST /patients/{id}/alerts`
pub(super) async fn add_alert(
    State(app): State<App>,
    session: Session,
    Path(id): Path<PatientId>,
    Form(form): Form<AlertForm>,
) -> Result<Response> {
    session.require(Permission::EditPatients)?;
    let mut problems = Problems::new();
    let text = required_text(&mut problems, "alert", &form.alert, 200);
    let until = if form.until.trim().is_empty() {
        None
    } else {
        problems.take("until", parse_date(&form.until))
    };
    if until.is_some_and(|day| day < app.clock.today()) {
        problems.add("until", "This day has passed.");
    }
    if let Err(Error::Invalid(fields)) = problems.check() {
        return show_again(
            &app,
            &session,
            id,
            &fields,
            Typed {
                alert: form.alert,
                until: form.until,
                ..Typed::default()
            },
        )
        .await;
    }
    let mut tx = app.begin(&session).await?;
    store::lock(tx.conn(), id).await?.ok_or(Error::NotFound)?;
    let new = Uuid::now_v7();
    if claim(&mut tx, &session, form.idempotency_key, "alert", new)
        .await?
        .is_some()
    {
        return Ok(back(id));
    }
    let w = writing(&tx, &session);
    store::insert_alert(tx.conn(), w, new, id, &text, until).await?;
    finish(
        &app,
        tx,
        id,
        Action::Create,
        ("Flag", new),
        Value::Null,
        json!({ "alert": text, "until": until.map(|d| d.to_string()) }),
    )
    .await
}

/// `POST /patients/{id}/alerts/{alert}/end`
pub(super) async fn end_alert(
    State(app): State<App>,
    session: Session,
    Path((id, alert)): Path<(PatientId, Uuid)>,
) -> Result<Response> {
    session.require(Permission::EditPatients)?;
    let mut tx = app.begin(&session).await?;
    store::lock(tx.conn(), id).await?.ok_or(Error::NotFound)?;
    let now = tx.now();
    let Some(ended) = store::end_alert(tx.conn(), id, alert, now).await? else {
        return Ok(back(id));
    };
    finish(
        &app,
        tx,
        id,
        Action::Delete,
        ("Flag", alert),
        json!({ "alert": ended }),
        Value::Null,
    )
    .await
}
