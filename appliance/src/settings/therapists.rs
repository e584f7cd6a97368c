//! Therapists: who treats patients, in which room and when. One may get a log-in in the same step, or be somebody who signs in
//! already.

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;

use super::account_forms::{OneTime, OneTimePage};
use super::forms::{begin, both_sides, changes, done, errors, filled, finish, version};
use super::store::{self, RoomRow, TherapistRow};
use super::therapist_forms::{
    Fields, LoginFields, LoginLine, TherapistPage, checked, no_hours, pairs, stored,
};
use crate::accounts::{self, Account, NewUser};
use crate::db::{Action, AuditEvent, PracticeTx};
use crate::error::{Error, Result};
use crate::ids::{PractitionerId, UserId};
use crate::web::{App, Form, FormId, Permission, Query, Role, Session, Shell, claim, html};

#[derive(Debug, Default, serde::Deserialize)]
pub(super) struct NewQuery {
    user_id: Option<String>,
}

fn login_line(account: &Account) -> LoginLine {
    LoginLine {
        name: account.display_name.clone(),
        username: account.username.clone(),
        href: format!("/settings/accounts/{}", account.id),
    }
}

/// Somebody who signs in and treats nobody yet.
async fn unlinked(tx: &mut PracticeTx, text: &str) -> Result<Account, &'static str> {
    const NOBODY: &str = "This log-in is not there any more, or treats patients already.";
    let id: UserId = text.parse().map_err(|_| NOBODY)?;
    let account = accounts::account(tx, id).await.map_err(|_| NOBODY)?;
    if account.active && account.practitioner_id.is_none() {
        Ok(account)
    } else {
        Err(NOBODY)
    }
}

/// `GET /settings/therapists/new?user_id=`
pub(super) async fn new(
    State(app): State<App>,
    session: Session,
    Query(query): Query<NewQuery>,
) -> Result<Response> {
    session.require(Permission::ChangeSettings)?;
    let mut tx = app.begin(&session).await?;
    let rooms = store::rooms(tx.conn()).await?;
    let account = match query.user_id.as_deref() {
        Some(id) => unlinked(&mut tx, id).await.ok(),
        None => None,
    };
    let shell = Shell::load(&app, &session, &mut tx, "New therapist", "settings").await?;
    tx.close_without_patient_data().await?;
    let name = account.as_ref().map(|a| a.display_name.as_str());
    let page = TherapistPage {
        user_id: account
            .as_ref()
            .map(|a| a.id.to_string())
            .unwrap_or_default(),
        login: account.as_ref().map(login_line),
        ..TherapistPage::with(shell, Fields::new(name, &rooms), &rooms)
    };
    html(&app, &page)
}

/// The page of a therapist who is there, in the caller's transaction.
async fn page_of(
    app: &App,
    session: &Session,
    tx: &mut PracticeTx,
    t: &TherapistRow,
    form: Fields,
    rooms: &[RoomRow],
) -> Result<TherapistPage> {
    let login = accounts::accounts(tx)
        .await?
        .into_iter()
        .find(|a| a.practitioner_id == Some(t.id));
    let shell = Shell::load(app, session, tx, t.name(), "settings").await?;
    Ok(TherapistPage {
        heading: t.name(),
        action: format!("/settings/therapists/{}", t.id),
        version: Some(t.version),
        active: Some(t.active),
        login: login.as_ref().map(login_line),
        login_href: format!("/settings/accounts/new?practitioner_id={}", t.id),
        ..TherapistPage::with(shell, form, rooms)
    })
}

/// `GET /settings/therapists/{id}`
pub(super) async fn edit(
    State(app): State<App>,
    session: Session,
    Path(id): Path<PractitionerId>,
) -> Result<Response> {
    session.require(Permission::ChangeSettings)?;
    let mut tx = app.begin(&session).await?;
    let t = store::therapist(tx.conn(), id).await?;
    let rooms = store::rooms(tx.conn()).await?;
    let week = store::weeks(tx.conn()).await?.remove(&id);
    let form = Fields::of(&t, week.unwrap_or_else(no_hours));
    let page = page_of(&app, &session, &mut tx, &t, form, &rooms).await?;
    tx.close_without_patient_data().await?;
    html(&app, &page)
}

#[derive(Debug, serde::Deserialize)]
pub(super) struct NewForm {
    idempotency_key: FormId,
    #[serde(flatten)]
    login: LoginFields,
    #[serde(flatten)]
    fields: Fields,
}

/// `POST /settings/therapists`
pub(super) async fn create(
    State(app): State<App>,
    session: Session,
    Form(form): Form<NewForm>,
) -> Result<Response> {
    let mut tx = begin(&app, &session).await?;
    let (id, key) = (PractitionerId::random(), form.idempotency_key);
    if let Some(made) = claim(&mut tx, &session, key, "therapist", id.0).await? {
        let account = accounts::accounts(&mut tx)
            .await?
            .into_iter()
            .find(|a| a.practitioner_id == Some(PractitionerId(made)));
        let again = OneTime::again(&app, &session, &mut tx, key, account).await?;
        return again.map_or_else(|| Ok(done(made)), |page| html(&app, &page));
    }
    let rooms = store::rooms(tx.conn()).await?;
    let typed = form.login.username.trim().to_lowercase();
    let username = if typed.is_empty() {
        Ok(None)
    } else {
        super::accounts::free_username(&mut tx, &typed)
            .await?
            .map(Some)
    };
    let account = match form.login.user_id.trim() {
        "" => Ok(None),
        id => unlinked(&mut tx, id).await.map(Some),
    };
    let therapist = checked(&form.fields, &rooms, |problems| {
        if let Err(fault) = &username {
            problems.add("username", *fault);
        }
        if let Err(fault) = &account {
            problems.add("user_id", *fault);
        }
        if matches!((&username, &account), (Ok(Some(_)), Ok(Some(_)))) {
            problems.add("username", "This person has a log-in already.");
        }
    });
    let therapist = match therapist {
        Ok(therapist) => therapist,
        Err(Error::Invalid(fields)) => {
            let shell = Shell::load(&app, &session, &mut tx, "New therapist", "settings").await?;
            tx.close_without_patient_data().await?;
            let known = account.ok().flatten();
            let page = TherapistPage {
                errors: errors(&fields),
                idempotency_key: key.to_string(),
                username: form.login.username,
                user_id: known.as_ref().map(|a| a.id.to_string()).unwrap_or_default(),
                login: known.as_ref().map(login_line),
                ..TherapistPage::with(shell, form.fields, &rooms)
            };
            return Ok((StatusCode::UNPROCESSABLE_ENTITY, html(&app, &page)?).into_response());
        }
        Err(other) => return Err(other),
    };
    let practice = tx.practice();
    store::insert_therapist(tx.conn(), practice, id, &therapist).await?;
    tx.record(
        AuditEvent::new(Action::Create, "Practitioner")
            .id(id.0)
            .reason(filled(&pairs(&therapist, &rooms))),
    )
    .await?;
    if let Some(account) = account.ok().flatten() {
        let role = match account.role {
            Role::Admin => Role::Admin,
            _ => Role::Practitioner,
        };
        let name = account.display_name.clone();
        accounts::change_account(&mut tx, account.id, &name, role, Some(id)).await?;
        let reason = format!("treats patients; role {}", role.label());
        return finish(tx, Action::Update, "User", account.id.0, reason)
            .await
            .map(|_| done(id.0));
    }
    let Some(username) = username.ok().flatten() else {
        tx.commit().await?;
        return Ok(done(id.0));
    };
    let name = format!("{} {}", therapist.given_name, therapist.family_name);
    let user = NewUser {
        username: &username,
        display_name: &name,
        role: Role::Practitioner,
        practitioner: Some(id),
        password_hash: "",
    };
    let given = OneTime::create(&app, &session, &mut tx, key, UserId::random(), &user).await?;
    let page: OneTimePage = given.page(&app, &session, &mut tx, id.0).await?;
    tx.commit().await?;
    html(&app, &page)
}

#[derive(Debug, serde::Deserialize)]
pub(super) struct EditForm {
    #[serde(default)]
    version: String,
    #[serde(flatten)]
    fields: Fields,
}

/// `POST /settings/therapists/{id}`
pub(super) async fn save(
    State(app): State<App>,
    session: Session,
    Path(id): Path<PractitionerId>,
    Form(form): Form<EditForm>,
) -> Result<Response> {
    let mut tx = begin(&app, &session).await?;
    let old = store::therapist(tx.conn(), id).await?;
    let seen = version(&form.version)?;
    let rooms = store::rooms(tx.conn()).await?;
    let week = store::weeks(tx.conn()).await?.remove(&id);
    let before = stored(&old, &week.unwrap_or_else(no_hours), &rooms);
    let therapist = match checked(&form.fields, &rooms, |_| {}) {
        Ok(therapist) => therapist,
        Err(Error::Invalid(fields)) => {
            let page = page_of(&app, &session, &mut tx, &old, form.fields, &rooms).await?;
            tx.close_without_patient_data().await?;
            let page = TherapistPage {
                errors: errors(&fields),
                version: Some(seen),
                ..page
            };
            return Ok((StatusCode::UNPROCESSABLE_ENTITY, html(&app, &page)?).into_response());
        }
        Err(other) => return Err(other),
    };
    let after = pairs(&therapist, &rooms);
    if before == after {
        return Ok(done(id.0));
    }
    if old.version != seen {
        let page = page_of(&app, &session, &mut tx, &old, form.fields, &rooms).await?;
        tx.close_without_patient_data().await?;
        let page = TherapistPage {
            conflict: both_sides(&after, &before),
            ..page
        };
        return Ok((StatusCode::CONFLICT, html(&app, &page)?).into_response());
    }
    let practice = tx.practice();
    store::update_therapist(tx.conn(), practice, id, &therapist).await?;
    let name = format!("{} {}", therapist.given_name, therapist.family_name);
    if name != old.name() {
        rename_login(&mut tx, id, &old.name(), &name).await?;
    }
    finish(
        tx,
        Action::Update,
        "Practitioner",
        id.0,
        changes(&before, &after),
    )
    .await
}

/// The log-in of a therapist carries their name, unless it was given another one.
async fn rename_login(tx: &mut PracticeTx, id: PractitionerId, old: &str, new: &str) -> Result<()> {
    let all = accounts::accounts(tx).await?;
    for account in all
        .iter()
        .filter(|a| a.practitioner_id == Some(id) && a.display_name == old)
    {
        accounts::change_account(tx, account.id, new, account.role, Some(id)).await?;
        let reason = format!("Name: {old} → {new}");
        tx.record(
            AuditEvent::new(Action::Update, "User")
                .id(account.id.0)
                .reason(reason),
        )
        .await?;
    }
    Ok(())
}

/// `POST /settings/therapists/{id}/end`: no longer treats here. Not while something is booked with them. Their log-in ends too;
/// an admin stays an admin and no longer reads notes.
pub(super) async fn end(
    State(app): State<App>,
    session: Session,
    Path(id): Path<PractitionerId>,
) -> Result<Response> {
    let mut tx = begin(&app, &session).await?;
    let t = store::therapist(tx.conn(), id).await?;
    if !t.active {
        return Ok(done(id.0));
    }
    let now = tx.now();
    if let Some(coming) = store::coming(tx.conn(), id.0, now).await? {
        return Err(store::still_booked(&t.name(), coming));
    }
    store::set_therapist_active(tx.conn(), id, false).await?;
    for account in accounts::accounts(&mut tx).await? {
        if account.practitioner_id != Some(id) {
            continue;
        }
        let (action, reason) = if account.role == Role::Admin {
            let name = account.display_name.clone();
            accounts::change_account(&mut tx, account.id, &name, Role::Admin, None).await?;
            (Action::Update, "treats patients no longer")
        } else {
            accounts::set_account_active(&mut tx, account.id, false).await?;
            (Action::Delete, "ended with the therapist")
        };
        tx.record(
            AuditEvent::new(action, "User")
                .id(account.id.0)
                .reason(reason),
        )
        .await?;
    }
    finish(tx, Action::Delete, "Practitioner", id.0, t.name()).await
}

/// `POST /settings/therapists/{id}/back`: treats here again, and signs in again.
pub(super) async fn back(
    State(app): State<App>,
    session: Session,
    Path(id): Path<PractitionerId>,
) -> Result<Response> {
    let mut tx = begin(&app, &session).await?;
    let t = store::therapist(tx.conn(), id).await?;
    if t.active {
        return Ok(done(id.0));
    }
    let rooms = store::rooms(tx.conn()).await?;
    if t.room_id
        .is_some_and(|room| rooms.iter().any(|r| r.id == room && !r.active))
    {
        store::leave_room(tx.conn(), id).await?;
    }
    store::set_therapist_active(tx.conn(), id, true).await?;
    for account in accounts::accounts(&mut tx).await? {
        if account.practitioner_id == Some(id) && !account.active {
            accounts::set_account_active(&mut tx, account.id, true).await?;
            tx.record(
                AuditEvent::new(Action::Update, "User")
                    .id(account.id.0)
                    .reason("may sign in again, with the therapist"),
            )
            .await?;
        }
    }
    let reason = format!("{}: at work again", t.name());
    finish(tx, Action::Update, "Practitioner", id.0, reason).await
}
