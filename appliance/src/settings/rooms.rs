//! Rooms: one name each.

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde_json::{Map, Value};

use super::forms::{
    Pairs, Side, begin, both_sides, changes, done, errors, filled, finish, sample_errors, version,
};
use super::store::{self, RoomRow};
use crate::db::Action;
use crate::error::{Error, Problems, Result};
use crate::ids::RoomId;
use crate::web::{App, Form, FormId, Page, Permission, Session, Shell, claim, html, required_text};

/// `settings/room.html`.
#[derive(serde::Serialize)]
pub(super) struct RoomPage {
    shell: Shell,
    heading: String,
    action: String,
    errors: Map<String, Value>,
    conflict: Vec<Side>,
    idempotency_key: String,
    version: Option<i32>,
    /// Whether it is in use, for a room that is there.
    active: Option<bool>,
    name: String,
}

impl Page for RoomPage {
    const TEMPLATE: &'static str = "settings/room.html";
    fn samples() -> Vec<Self> {
        let new = || Self {
            shell: Shell::sample(),
            heading: "New room".into(),
            action: "/settings/rooms".into(),
            errors: Map::new(),
            conflict: Vec::new(),
            idempotency_key: "1".into(),
            version: None,
            active: None,
            name: String::new(),
        };
        let wrong = Self {
            errors: sample_errors("name"),
            ..new()
        };
        let there = |active| Self {
            action: "/settings/rooms/1".into(),
            version: Some(2),
            active: Some(active),
            name: "Room 1".into(),
            ..new()
        };
        let conflict = Self {
            conflict: vec![Side::sample()],
            ..there(true)
        };
        vec![new(), wrong, there(true), there(false), conflict]
    }
}

impl RoomPage {
    async fn new(app: &App, session: &Session, name: String) -> Result<Self> {
        Ok(Self {
            shell: Shell::open(app, session, "New room", "settings").await?,
            heading: "New room".into(),
            action: "/settings/rooms".into(),
            errors: Map::new(),
            conflict: Vec::new(),
            idempotency_key: FormId::now_v7().to_string(),
            version: None,
            active: None,
            name,
        })
    }

    async fn of(app: &App, session: &Session, room: &RoomRow, name: String) -> Result<Self> {
        Ok(Self {
            shell: Shell::open(app, session, room.name.clone(), "settings").await?,
            heading: room.name.clone(),
            action: format!("/settings/rooms/{}", room.id),
            version: Some(room.version),
            active: Some(room.active),
            ..Self::new(app, session, name).await?
        })
    }
}

/// `GET /settings/rooms/new`
pub(super) async fn new(State(app): State<App>, session: Session) -> Result<Response> {
    session.require(Permission::ChangeSettings)?;
    html(&app, &RoomPage::new(&app, &session, String::new()).await?)
}

/// `GET /settings/rooms/{id}`
pub(super) async fn edit(
    State(app): State<App>,
    session: Session,
    Path(id): Path<RoomId>,
) -> Result<Response> {
    session.require(Permission::ChangeSettings)?;
    let mut tx = app.begin(&session).await?;
    let room = store::room(tx.conn(), id).await?;
    tx.close_without_patient_data().await?;
    html(
        &app,
        &RoomPage::of(&app, &session, &room, room.name.clone()).await?,
    )
}

#[derive(Debug, serde::Deserialize)]
pub(super) struct NewForm {
    idempotency_key: FormId,
    #[serde(default)]
    name: String,
}

#[derive(Debug, serde::Deserialize)]
pub(super) struct EditForm {
    #[serde(default)]
    version: String,
    #[serde(default)]
    name: String,
}

fn check(typed: &str, others: &[RoomRow], own: Option<RoomId>) -> Result<String> {
    let mut problems = Problems::new();
    let name = required_text(&mut problems, "name", typed, 80);
    let same = |r: &&RoomRow| r.name.to_lowercase() == name.to_lowercase() && Some(r.id) != own;
    match others.iter().find(same) {
        Some(there) if there.active => {
            problems.add("name", "There is already a room of this name.")
        }
        Some(_) => problems.add(
            "name",
            "A room of this name was ended. Bring that one back, or choose another name.",
        ),
        None => {}
    }
    problems.check()?;
    Ok(name)
}

fn pairs(name: &str) -> Pairs {
    vec![("name", name.to_owned())]
}

/// `POST /settings/rooms`
pub(super) async fn create(
    State(app): State<App>,
    session: Session,
    Form(form): Form<NewForm>,
) -> Result<Response> {
    let mut tx = begin(&app, &session).await?;
    let id = RoomId::random();
    if let Some(made) = claim(&mut tx, &session, form.idempotency_key, "room", id.0).await? {
        return Ok(done(made));
    }
    let others = store::rooms(tx.conn()).await?;
    match check(&form.name, &others, None) {
        Ok(name) => {
            let practice = tx.practice();
            store::insert_room(tx.conn(), practice, id, &name).await?;
            let reason = filled(&pairs(&name));
            finish(tx, Action::Create, "Location", id.0, reason).await
        }
        Err(Error::Invalid(fields)) => {
            tx.close_without_patient_data().await?;
            let page = RoomPage {
                errors: errors(&fields),
                idempotency_key: form.idempotency_key.to_string(),
                ..RoomPage::new(&app, &session, form.name).await?
            };
            Ok((StatusCode::UNPROCESSABLE_ENTITY, html(&app, &page)?).into_response())
        }
        Err(other) => Err(other),
    }
}

/// `POST /settings/rooms/{id}`
pub(super) async fn save(
    State(app): State<App>,
    session: Session,
    Path(id): Path<RoomId>,
    Form(form): Form<EditForm>,
) -> Result<Response> {
    let mut tx = begin(&app, &session).await?;
    let others = store::rooms(tx.conn()).await?;
    let room = others
        .iter()
        .find(|r| r.id == id)
        .ok_or(Error::NotFound)?
        .clone();
    let seen = version(&form.version)?;
    match check(&form.name, &others, Some(id)) {
        Ok(name) if room.name == name => Ok(done(id.0)),
        Ok(name) if room.version == seen => {
            store::update_room(tx.conn(), id, &name, room.active).await?;
            let reason = changes(&pairs(&room.name), &pairs(&name));
            finish(tx, Action::Update, "Location", id.0, reason).await
        }
        Ok(name) => {
            tx.close_without_patient_data().await?;
            let page = RoomPage {
                conflict: both_sides(&pairs(&name), &pairs(&room.name)),
                ..RoomPage::of(&app, &session, &room, name.clone()).await?
            };
            Ok((StatusCode::CONFLICT, html(&app, &page)?).into_response())
        }
        Err(Error::Invalid(fields)) => {
            tx.close_without_patient_data().await?;
            let page = RoomPage {
                errors: errors(&fields),
                version: Some(seen),
                ..RoomPage::of(&app, &session, &room, form.name).await?
            };
            Ok((StatusCode::UNPROCESSABLE_ENTITY, html(&app, &page)?).into_response())
        }
        Err(other) => Err(other),
    }
}

/// `POST /settings/rooms/{id}/end`: no longer offered. Not while somebody works in it or something is booked there.
pub(super) async fn end(
    State(app): State<App>,
    session: Session,
    Path(id): Path<RoomId>,
) -> Result<Response> {
    let mut tx = begin(&app, &session).await?;
    let room = store::room(tx.conn(), id).await?;
    if !room.active {
        return Ok(done(id.0));
    }
    let now = tx.now();
    let therapists = store::therapists(tx.conn()).await?;
    let inside: Vec<String> = therapists
        .iter()
        .filter(|t| t.active && t.room_id == Some(id))
        .map(store::TherapistRow::name)
        .collect();
    if !inside.is_empty() {
        return Err(Error::conflict(format!(
            "{} works in {}. Give them another room first, under Staff.",
            inside.join(" and "),
            room.name
        )));
    }
    if let Some(coming) = store::coming(tx.conn(), id.0, now).await? {
        return Err(store::still_booked(&room.name, coming));
    }
    store::update_room(tx.conn(), id, &room.name, false).await?;
    finish(tx, Action::Delete, "Location", id.0, room.name).await
}

/// `POST /settings/rooms/{id}/back`
pub(super) async fn back(
    State(app): State<App>,
    session: Session,
    Path(id): Path<RoomId>,
) -> Result<Response> {
    let mut tx = begin(&app, &session).await?;
    let room = store::room(tx.conn(), id).await?;
    if room.active {
        return Ok(done(id.0));
    }
    store::update_room(tx.conn(), id, &room.name, true).await?;
    let reason = format!("{}: in use again", room.name);
    finish(tx, Action::Update, "Location", id.0, reason).await
}
