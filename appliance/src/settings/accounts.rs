//! Log-ins: who may sign in, as what, and with which one-time password they begin.

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;

use super::account_forms::{AccountPage, Fields, NewAccount, OneTime, pairs};
use super::forms::{Choice, begin, both_sides, changes, done, errors, finish, version};
use super::store::{self, TherapistRow};
use crate::accounts::{self, Account, NewUser};
use crate::clock;
use crate::db::{Action, PracticeTx};
use crate::error::{Error, Problems, Result};
use crate::ids::{PractitionerId, UserId};
use crate::web::{
    App, Form, FormId, Permission, Query, Role, Session, Shell, claim, html, required_text,
};

/// A log-in name that nobody has, or why it will not do.
pub(super) async fn free_username(
    tx: &mut PracticeTx,
    typed: &str,
) -> Result<Result<String, &'static str>> {
    let Some(name) = accounts::username(typed) else {
        return Ok(Err(
            "Use 2 to 40 small letters, digits, dots or hyphens, beginning with a letter, such as anneke.",
        ));
    };
    Ok(if accounts::username_taken(tx, &name).await? {
        Err("This name is taken on this server. Choose another one, such as with an initial.")
    } else {
        Ok(name)
    })
}

/// Who could be the therapist behind a log-in: whoever is at work here and has none.
fn free<'a>(
    therapists: &'a [TherapistRow],
    accounts: &'a [Account],
    own: Option<UserId>,
) -> impl Iterator<Item = &'a TherapistRow> {
    therapists.iter().filter(move |t| {
        let of = accounts.iter().find(|a| a.practitioner_id == Some(t.id));
        match of {
            Some(account) => Some(account.id) == own,
            None => t.active,
        }
    })
}

fn choices(therapists: &[TherapistRow], accounts: &[Account], own: Option<UserId>) -> Vec<Choice> {
    free(therapists, accounts, own)
        .map(|t| Choice::new(t.id, t.name()))
        .collect()
}

fn check(
    form: &Fields,
    therapists: &[TherapistRow],
    accounts: &[Account],
    own: Option<UserId>,
    problems: &mut Problems,
) -> Option<NewAccount> {
    let display_name = required_text(problems, "display_name", &form.display_name, 120);
    let role = Role::from_text(form.role.trim());
    if role.is_none() {
        problems.add("role", "Choose a role from the list.");
    }
    let practitioner = match form.practitioner_id.trim() {
        "" => None,
        text => {
            let id = text.parse::<PractitionerId>().ok();
            let there = id.filter(|id| free(therapists, accounts, own).any(|t| t.id == *id));
            problems.take(
                "practitioner_id",
                there.ok_or("Choose a therapist from the list who has no log-in yet."),
            )
        }
    };
    match (role, practitioner) {
        (Some(Role::Practitioner), None) if form.practitioner_id.trim().is_empty() => {
            problems.add(
                "practitioner_id",
                "Choose which therapist this is. Somebody new is added as a therapist first.",
            );
        }
        (Some(Role::Receptionist | Role::Billing), Some(_)) => {
            problems.add(
                "role",
                "Whoever treats patients is a therapist or the practice's admin.",
            );
        }
        _ => {}
    }
    Some(NewAccount {
        display_name,
        role: role?,
        practitioner,
    })
}

#[derive(Debug, Default, serde::Deserialize)]
pub(super) struct NewQuery {
    practitioner_id: Option<String>,
}

/// `GET /settings/accounts/new?practitioner_id=`
pub(super) async fn new(
    State(app): State<App>,
    session: Session,
    Query(query): Query<NewQuery>,
) -> Result<Response> {
    session.require(Permission::ChangeSettings)?;
    let mut tx = app.begin(&session).await?;
    let all = accounts::accounts(&mut tx).await?;
    let therapists = store::therapists(tx.conn()).await?;
    let shell = Shell::load(&app, &session, &mut tx, "New log-in", "settings").await?;
    tx.close_without_patient_data().await?;
    let asked = query.practitioner_id.unwrap_or_default();
    let form = free(&therapists, &all, None)
        .find(|t| t.id.to_string() == asked)
        .map(|t| Fields {
            display_name: t.name(),
            role: Role::Practitioner.text().into(),
            practitioner_id: t.id.to_string(),
        });
    let list = choices(&therapists, &all, None);
    html(
        &app,
        &AccountPage::with(shell, form.unwrap_or_default(), list),
    )
}

/// The page of a log-in that is there, in the caller's transaction.
async fn page_of(
    app: &App,
    session: &Session,
    tx: &mut PracticeTx,
    account: &Account,
    form: Fields,
) -> Result<AccountPage> {
    let all = accounts::accounts(tx).await?;
    let therapists = store::therapists(tx.conn()).await?;
    let shell = Shell::load(app, session, tx, account.display_name.clone(), "settings").await?;
    let list = choices(&therapists, &all, Some(account.id));
    Ok(AccountPage {
        heading: account.display_name.clone(),
        action: format!("/settings/accounts/{}", account.id),
        version: Some(account.version),
        active: Some(account.active),
        own: account.id == session.user_id,
        username: account.username.clone(),
        waits: account.one_time_until.map(clock::stamp_text),
        ..AccountPage::with(shell, form, list)
    })
}

/// `GET /settings/accounts/{id}`
pub(super) async fn edit(
    State(app): State<App>,
    session: Session,
    Path(id): Path<UserId>,
) -> Result<Response> {
    session.require(Permission::ChangeSettings)?;
    let mut tx = app.begin(&session).await?;
    let account = accounts::account(&mut tx, id).await?;
    let form = Fields::of(&account);
    let page = page_of(&app, &session, &mut tx, &account, form).await?;
    tx.close_without_patient_data().await?;
    html(&app, &page)
}

#[derive(Debug, serde::Deserialize)]
pub(super) struct NewForm {
    idempotency_key: FormId,
    #[serde(default)]
    username: String,
    #[serde(flatten)]
    fields: Fields,
}

/// `POST /settings/accounts`
pub(super) async fn create(
    State(app): State<App>,
    session: Session,
    Form(form): Form<NewForm>,
) -> Result<Response> {
    let mut tx = begin(&app, &session).await?;
    let (id, key) = (UserId::random(), form.idempotency_key);
    let all = accounts::accounts(&mut tx).await?;
    if let Some(made) = claim(&mut tx, &session, key, "log-in", id.0).await? {
        let account = accounts::account(&mut tx, UserId(made)).await.ok();
        let again = OneTime::again(&app, &session, &mut tx, key, account).await?;
        return again.map_or_else(|| Ok(done(made)), |page| html(&app, &page));
    }
    let therapists = store::therapists(tx.conn()).await?;
    let mut problems = Problems::new();
    let username = free_username(&mut tx, &form.username).await?;
    let username = problems.take("username", username);
    let checked = check(&form.fields, &therapists, &all, None, &mut problems);
    let (Some(username), Some(new), true) = (username, checked, problems.is_empty()) else {
        let shell = Shell::load(&app, &session, &mut tx, "New log-in", "settings").await?;
        tx.close_without_patient_data().await?;
        let page = AccountPage {
            errors: errors(&problems.into_fields()),
            idempotency_key: key.to_string(),
            username: form.username,
            ..AccountPage::with(shell, form.fields, choices(&therapists, &all, None))
        };
        return Ok((StatusCode::UNPROCESSABLE_ENTITY, html(&app, &page)?).into_response());
    };
    let user = NewUser {
        username: &username,
        display_name: &new.display_name,
        role: new.role,
        practitioner: new.practitioner,
        password_hash: "",
    };
    let given = OneTime::create(&app, &session, &mut tx, key, id, &user).await?;
    let page = given.page(&app, &session, &mut tx, id.0).await?;
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

/// `POST /settings/accounts/{id}`
pub(super) async fn save(
    State(app): State<App>,
    session: Session,
    Path(id): Path<UserId>,
    Form(form): Form<EditForm>,
) -> Result<Response> {
    let mut tx = begin(&app, &session).await?;
    let all = accounts::accounts(&mut tx).await?;
    let old = all.iter().find(|a| a.id == id).ok_or(Error::NotFound)?;
    let seen = version(&form.version)?;
    let therapists = store::therapists(tx.conn()).await?;
    let mut problems = Problems::new();
    let checked = check(&form.fields, &therapists, &all, Some(id), &mut problems);
    if let Some(new) = &checked
        && new.role != old.role
        && id == session.user_id
    {
        problems.add(
            "role",
            "Your own role is changed by another admin, so that the practice is never without one.",
        );
    }
    let page = page_of(&app, &session, &mut tx, old, form.fields).await?;
    let (Some(new), true) = (checked, problems.is_empty()) else {
        tx.close_without_patient_data().await?;
        let page = AccountPage {
            errors: errors(&problems.into_fields()),
            version: Some(seen),
            ..page
        };
        return Ok((StatusCode::UNPROCESSABLE_ENTITY, html(&app, &page)?).into_response());
    };
    let was = NewAccount {
        display_name: old.display_name.clone(),
        role: old.role,
        practitioner: old.practitioner_id,
    };
    let (before, after) = (pairs(&was, &therapists), pairs(&new, &therapists));
    if before == after {
        return Ok(done(id.0));
    }
    if old.version != seen {
        tx.close_without_patient_data().await?;
        let page = AccountPage {
            conflict: both_sides(&after, &before),
            ..page
        };
        return Ok((StatusCode::CONFLICT, html(&app, &page)?).into_response());
    }
    accounts::change_account(&mut tx, id, &new.display_name, new.role, new.practitioner).await?;
    keep_an_admin(&mut tx).await?;
    finish(tx, Action::Update, "User", id.0, changes(&before, &after)).await
}

async fn keep_an_admin(tx: &mut PracticeTx) -> Result<()> {
    if accounts::active_admins(tx).await? > 0 {
        return Ok(());
    }
    Err(Error::conflict(
        "The practice would have no admin any more. Make somebody else an admin first.",
    ))
}

/// `POST /settings/accounts/{id}/end`: signed out everywhere, at once. What they did stays under their name.
pub(super) async fn end(
    State(app): State<App>,
    session: Session,
    Path(id): Path<UserId>,
) -> Result<Response> {
    let mut tx = begin(&app, &session).await?;
    let account = accounts::account(&mut tx, id).await?;
    if !account.active {
        return Ok(done(id.0));
    }
    if id == session.user_id {
        return Err(Error::conflict(
            "You can't end your own log-in. Another admin can, so that the practice is never without one.",
        ));
    }
    accounts::set_account_active(&mut tx, id, false).await?;
    keep_an_admin(&mut tx).await?;
    finish(tx, Action::Delete, "User", id.0, account.username).await
}

/// `POST /settings/accounts/{id}/back`
pub(super) async fn back(
    State(app): State<App>,
    session: Session,
    Path(id): Path<UserId>,
) -> Result<Response> {
    let mut tx = begin(&app, &session).await?;
    let account = accounts::account(&mut tx, id).await?;
    if account.active {
        return Ok(done(id.0));
    }
    if account.role == Role::Practitioner
        && let Some(practitioner) = account.practitioner_id
        && !store::therapist(tx.conn(), practitioner).await?.active
    {
        return Err(Error::conflict(format!(
            "{} does not treat here any more. Bring the therapist back; the log-in comes back too.",
            account.display_name
        )));
    }
    accounts::set_account_active(&mut tx, id, true).await?;
    let reason = format!("{}: may sign in again", account.username);
    finish(tx, Action::Update, "User", id.0, reason).await
}

#[derive(Debug, serde::Deserialize)]
pub(super) struct PasswordForm {
    idempotency_key: FormId,
}

/// `POST /settings/accounts/{id}/password`: a new one-time password, for who forgot theirs.
pub(super) async fn password(
    State(app): State<App>,
    session: Session,
    Path(id): Path<UserId>,
    Form(form): Form<PasswordForm>,
) -> Result<Response> {
    let mut tx = begin(&app, &session).await?;
    let account = accounts::account(&mut tx, id).await?;
    let key = form.idempotency_key;
    if claim(&mut tx, &session, key, "one-time password", id.0)
        .await?
        .is_some()
    {
        let again = OneTime::again(&app, &session, &mut tx, key, Some(account)).await?;
        return again.map_or_else(|| Ok(done(id.0)), |page| html(&app, &page));
    }
    if id == session.user_id {
        return Err(Error::conflict(
            "Another admin gives you a one-time password: this would sign you out at once.",
        ));
    }
    if !account.active {
        return Err(Error::conflict(
            "This log-in was ended. Let the person sign in again first.",
        ));
    }
    let given = OneTime::give(&app, &session, &mut tx, key, id).await?;
    let page = given.page(&app, &session, &mut tx, id.0).await?;
    tx.commit().await?;
    html(&app, &page)
}
