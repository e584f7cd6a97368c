//! Session types: what can be booked, how long it takes and what it costs.

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde_json::{Map, Value};

use super::forms::{
    Choice, Side, begin, both_sides, changes, done, errors, filled, finish, sample_errors, version,
};
use super::type_forms::{Fields, code, pairs, stored};
use super::types_store::{self as store, TypeRow};
use crate::db::Action;
use crate::error::{Error, Result};
use crate::ids::SessionTypeId;
use crate::practices::Discipline;
use crate::web::{App, Form, FormId, Page, Permission, Session, Shell, claim, html};

/// `settings/session_type.html`.
#[derive(serde::Serialize)]
pub(super) struct SessionTypePage {
    shell: Shell,
    heading: String,
    action: String,
    errors: Map<String, Value>,
    conflict: Vec<Side>,
    idempotency_key: String,
    version: Option<i32>,
    /// Whether it is in use, for a session type that is there.
    active: Option<bool>,
    code: String,
    form: Fields,
    professions: Vec<Choice>,
}

impl SessionTypePage {
    fn with(shell: Shell, form: Fields) -> Self {
        Self {
            shell,
            heading: "New session type".into(),
            action: "/settings/session-types".into(),
            errors: Map::new(),
            conflict: Vec::new(),
            idempotency_key: FormId::now_v7().to_string(),
            version: None,
            active: None,
            code: String::new(),
            form,
            professions: Discipline::ALL
                .into_iter()
                .map(|d| Choice::new(d.text(), d.person()))
                .collect(),
        }
    }

    async fn new(app: &App, session: &Session, form: Fields) -> Result<Self> {
        let shell = Shell::open(app, session, "New session type", "settings").await?;
        Ok(Self::with(shell, form))
    }

    async fn of(app: &App, session: &Session, t: &TypeRow, form: Fields) -> Result<Self> {
        let shell = Shell::open(app, session, t.name.clone(), "settings").await?;
        Ok(Self {
            heading: t.name.clone(),
            action: format!("/settings/session-types/{}", t.id),
            version: Some(t.version),
            active: Some(t.active),
            code: t.code.clone(),
            ..Self::with(shell, form)
        })
    }
}

impl Page for SessionTypePage {
    const TEMPLATE: &'static str = "settings/session_type.html";
    fn samples() -> Vec<Self> {
        let new = || Self::with(Shell::sample(), Fields::new());
        let there = |active| Self {
            version: Some(2),
            active: Some(active),
            code: "physio-45".into(),
            action: "/settings/session-types/1".into(),
            ..new()
        };
        let wrong = Self {
            errors: sample_errors("price"),
            ..new()
        };
        let conflict = Self {
            conflict: vec![Side::sample()],
            ..there(true)
        };
        vec![new(), wrong, there(true), there(false), conflict]
    }
}

/// `GET /settings/session-types/new`
pub(super) async fn new(State(app): State<App>, session: Session) -> Result<Response> {
    session.require(Permission::ChangeSettings)?;
    let page = SessionTypePage::new(&app, &session, Fields::new()).await?;
    html(&app, &page)
}

/// `GET /settings/session-types/{id}`
pub(super) async fn edit(
    State(app): State<App>,
    session: Session,
    Path(id): Path<SessionTypeId>,
) -> Result<Response> {
    session.require(Permission::ChangeSettings)?;
    let mut tx = app.begin(&session).await?;
    let t = store::session_type(tx.conn(), id).await?;
    tx.close_without_patient_data().await?;
    let page = SessionTypePage::of(&app, &session, &t, Fields::of(&t)).await?;
    html(&app, &page)
}

#[derive(Debug, serde::Deserialize)]
pub(super) struct NewForm {
    idempotency_key: FormId,
    #[serde(flatten)]
    fields: Fields,
}

#[derive(Debug, serde::Deserialize)]
pub(super) struct EditForm {
    #[serde(default)]
    version: String,
    #[serde(flatten)]
    fields: Fields,
}

/// `POST /settings/session-types`
pub(super) async fn create(
    State(app): State<App>,
    session: Session,
    Form(form): Form<NewForm>,
) -> Result<Response> {
    let mut tx = begin(&app, &session).await?;
    let id = SessionTypeId::random();
    if let Some(made) = claim(
        &mut tx,
        &session,
        form.idempotency_key,
        "session type",
        id.0,
    )
    .await?
    {
        return Ok(done(made));
    }
    let others = store::types(tx.conn()).await?;
    match form.fields.check(&others, None, false) {
        Ok(t) => {
            let practice = tx.practice();
            store::insert_type(tx.conn(), practice, id, &code(&t, &others), &t).await?;
            let reason = filled(&pairs(&t));
            finish(tx, Action::Create, "HealthcareService", id.0, reason).await
        }
        Err(Error::Invalid(fields)) => {
            tx.close_without_patient_data().await?;
            let page = SessionTypePage {
                errors: errors(&fields),
                idempotency_key: form.idempotency_key.to_string(),
                ..SessionTypePage::new(&app, &session, form.fields).await?
            };
            Ok((StatusCode::UNPROCESSABLE_ENTITY, html(&app, &page)?).into_response())
        }
        Err(other) => Err(other),
    }
}

/// `POST /settings/session-types/{id}`. What is booked keeps its length; what is not invoiced yet gets the new price.
pub(super) async fn save(
    State(app): State<App>,
    session: Session,
    Path(id): Path<SessionTypeId>,
    Form(form): Form<EditForm>,
) -> Result<Response> {
    let mut tx = begin(&app, &session).await?;
    let others = store::types(tx.conn()).await?;
    let old = others
        .iter()
        .find(|t| t.id == id)
        .ok_or(Error::NotFound)?
        .clone();
    let seen = version(&form.version)?;
    let is_used = store::is_used(tx.conn(), id).await?;
    match form.fields.check(&others, Some(&old), is_used) {
        Ok(t) if pairs(&t) == stored(&old) => Ok(done(id.0)),
        Ok(t) if old.version == seen => {
            store::update_type(tx.conn(), id, &t).await?;
            let reason = changes(&stored(&old), &pairs(&t));
            finish(tx, Action::Update, "HealthcareService", id.0, reason).await
        }
        Ok(t) => {
            tx.close_without_patient_data().await?;
            let page = SessionTypePage {
                conflict: both_sides(&pairs(&t), &stored(&old)),
                ..SessionTypePage::of(&app, &session, &old, form.fields).await?
            };
            Ok((StatusCode::CONFLICT, html(&app, &page)?).into_response())
        }
        Err(Error::Invalid(fields)) => {
            tx.close_without_patient_data().await?;
            let page = SessionTypePage {
                errors: errors(&fields),
                version: Some(seen),
                ..SessionTypePage::of(&app, &session, &old, form.fields).await?
            };
            Ok((StatusCode::UNPROCESSABLE_ENTITY, html(&app, &page)?).into_response())
        }
        Err(other) => Err(other),
    }
}

async fn set_active(
    app: &App,
    session: &Session,
    id: SessionTypeId,
    active: bool,
) -> Result<Response> {
    let mut tx = begin(app, session).await?;
    let others = store::types(tx.conn()).await?;
    let t = others.iter().find(|t| t.id == id).ok_or(Error::NotFound)?;
    if t.active == active {
        return Ok(done(id.0));
    }
    let name = t.name.to_lowercase();
    if active
        && others
            .iter()
            .any(|o| o.active && o.name.to_lowercase() == name)
    {
        return Err(Error::conflict(format!(
            "There is another session type called {} now. Rename one of them first.",
            t.name
        )));
    }
    store::set_type_active(tx.conn(), id, active).await?;
    let (action, reason) = if active {
        (Action::Update, format!("{}: in use again", t.name))
    } else {
        (Action::Delete, t.name.clone())
    };
    finish(tx, action, "HealthcareService", id.0, reason).await
}

/// `POST /settings/session-types/{id}/end`: no longer offered; what is booked as it stays booked.
pub(super) async fn end(
    State(app): State<App>,
    session: Session,
    Path(id): Path<SessionTypeId>,
) -> Result<Response> {
    set_active(&app, &session, id, false).await
}

/// `POST /settings/session-types/{id}/back`
pub(super) async fn back(
    State(app): State<App>,
    session: Session,
    Path(id): Path<SessionTypeId>,
) -> Result<Response> {
    set_active(&app, &session, id, true).await
}
