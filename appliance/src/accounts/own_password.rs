//! Changing one's own password.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use http::{StatusCode, header};

use super::{password::Passwords, people, rules, store};
use crate::db::{Action, AuditEvent};
use crate::error::{Error, Result};
use crate::web::{App, Form, Page, Query, Session, SessionKind, Shell, html};

/// `accounts/password.html`.
#[derive(serde::Serialize)]
pub(super) struct PasswordPage {
    shell: Shell,
    errors: BTreeMap<&'static str, String>,
    username: String,
    done: bool,
}

impl Page for PasswordPage {
    const TEMPLATE: &'static str = "accounts/password.html";
    fn samples() -> Vec<Self> {
        let page = |errors, done| Self {
            shell: Shell::sample(),
            errors,
            username: "naledi".into(),
            done,
        };
        let wrong = BTreeMap::from([("password", WRONG.to_owned())]);
        vec![
            page(BTreeMap::new(), false),
            page(wrong, false),
            page(BTreeMap::new(), true),
        ]
    }
}

impl PasswordPage {
    async fn new(app: &App, session: &Session) -> Result<Self> {
        Ok(Self {
            shell: Shell::open(app, session, "Your password", "").await?,
            errors: BTreeMap::new(),
            username: session.username.clone(),
            done: false,
        })
    }
}

#[derive(Debug, Default, serde::Deserialize)]
pub(super) struct ShowQuery {
    #[serde(default)]
    done: bool,
}

/// `GET /password`
pub(super) async fn show(
    State(app): State<App>,
    session: Session,
    Query(query): Query<ShowQuery>,
) -> Result<Response> {
    let page = PasswordPage {
        done: query.done,
        ..PasswordPage::new(&app, &session).await?
    };
    html(&app, &page)
}

#[derive(Debug, serde::Deserialize)]
pub(super) struct Change {
    #[serde(default)]
    password: String,
    #[serde(default)]
    new_password: String,
    #[serde(default)]
    new_password_again: String,
}

const WRONG: &str = "This is not your present password. Type it again.";

/// What is wrong with a new password, and in which field.
fn fault(change: &Change, username: &str, practice: &str) -> Option<(&'static str, &'static str)> {
    if change.new_password == change.password {
        return Some((
            "new_password",
            "This is your present password. Choose another one.",
        ));
    }
    rules::chosen_fault(
        &change.new_password,
        &change.new_password_again,
        username,
        practice,
    )
}

/// `POST /password`: whoever is signed in elsewhere under this name is signed out, whoever does it stays. Wrong passwords count
/// as at sign-in, so that an open page is no way to try them.
pub(super) async fn change(
    State(app): State<App>,
    axum::Extension(passwords): axum::Extension<Passwords>,
    session: Session,
    Form(form): Form<Change>,
) -> Result<Response> {
    let SessionKind::Browser(own) = &session.kind else {
        return Err(Error::Forbidden(
            "A program's token can't change a password. Sign in with a browser.".into(),
        ));
    };
    let now = app.clock.now();
    let pool = &app.db.records;
    let login = store::login(pool, &session.username)
        .await?
        .filter(|l| l.active && l.user == session.user_id)
        .ok_or(Error::NotFound)?;
    let mut page = PasswordPage::new(&app, &session).await?;
    if let Some(seconds) = rules::locked_for(login.locked_until, now) {
        page.errors.insert("form", rules::locked_text(seconds));
        let headers = [(header::RETRY_AFTER, seconds.to_string())];
        return Ok((StatusCode::TOO_MANY_REQUESTS, headers, html(&app, &page)?).into_response());
    }
    let fits = form.password.len() <= 1024
        && passwords
            .fits(form.password.clone(), Some(login.password_hash.clone()))
            .await?;
    if !fits {
        store::refuse_password(&app, &login, &session.username, now).await?;
        page.errors.insert("password", WRONG.into());
        return Ok((StatusCode::UNPROCESSABLE_ENTITY, html(&app, &page)?).into_response());
    }
    let mut tx = app.begin(&session).await?;
    let practice = store::practice_name(tx.conn()).await?;
    if let Some((field, fault)) = fault(&form, &session.username, &practice) {
        tx.close_without_patient_data().await?;
        page.errors.insert(field, fault.into());
        return Ok((StatusCode::UNPROCESSABLE_ENTITY, html(&app, &page)?).into_response());
    }
    let hash = people::hash_aside(form.new_password).await?;
    if !store::change_password(tx.conn(), &login, &hash).await? {
        return Err(Error::conflict(
            "Your password was changed a moment ago. Type the new one as your present password.",
        ));
    }
    store::delete_other_sessions(tx.conn(), &login, own).await?;
    tx.record(
        AuditEvent::new(Action::Update, "User")
            .id(session.user_id.0)
            .reason("changed their password"),
    )
    .await?;
    tx.commit().await?;
    Ok(Redirect::to("/password?done=true").into_response())
}
