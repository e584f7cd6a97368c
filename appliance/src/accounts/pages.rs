//! Signing in and out.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use http::{StatusCode, header};

use super::{password::Passwords, people, rules, store, tokens};
use crate::db::{Action, Actor, AuditEvent, PracticeTx};
use crate::error::{Error, Result};
use crate::web::{
    App, Form, Page, Query, Session, SessionKind, clear_cookie, html, set_cookie, token_hash,
};

#[derive(Debug, serde::Deserialize)]
pub(super) struct ShowQuery {
    #[serde(default)]
    next: String,
    #[serde(default)]
    out: bool,
    #[serde(default)]
    ready: bool,
}

/// `accounts/login.html`.
#[derive(serde::Serialize)]
pub(super) struct LoginPage {
    practice_name: &'static str,
    errors: BTreeMap<&'static str, String>,
    username: String,
    next: String,
    notice: Option<&'static str>,
    /// The one-time password that was right, while its owner chooses their own.
    one_time: Option<String>,
}

const DEMO: &str = "This is the demo. Sign in as admin, reception, naledi, ayesha or billing with the password hadada-demo.";

impl LoginPage {
    fn new(app: &App, next: &str) -> Self {
        Self {
            practice_name: "",
            errors: BTreeMap::new(),
            username: String::new(),
            next: rules::local_path(next).to_owned(),
            notice: app.config.demo.then_some(DEMO),
            one_time: None,
        }
    }
}

impl Page for LoginPage {
    const TEMPLATE: &'static str = "accounts/login.html";
    fn samples() -> Vec<Self> {
        let plain = || Self {
            practice_name: "",
            errors: BTreeMap::new(),
            username: String::new(),
            next: "/day".into(),
            notice: Some(DEMO),
            one_time: None,
        };
        let wrong = BTreeMap::from([("password", WRONG.to_owned())]);
        vec![
            plain(),
            Self {
                errors: wrong,
                username: "naledi".into(),
                notice: None,
                ..plain()
            },
            Self {
                one_time: Some("k7qm-2f9d-xw4t".into()),
                username: "lerato".into(),
                notice: None,
                ..plain()
            },
            Self {
                errors: BTreeMap::from([("new_password", "Use at least 12 characters.".into())]),
                one_time: Some("k7qm-2f9d-xw4t".into()),
                username: "lerato".into(),
                notice: None,
                ..plain()
            },
        ]
    }
}

pub(super) async fn show(
    State(app): State<App>,
    session: Option<Session>,
    Query(query): Query<ShowQuery>,
) -> Result<Response> {
    let mut page = LoginPage::new(&app, &query.next);
    if session.is_some() {
        return Ok(Redirect::to(&page.next).into_response());
    }
    if query.out {
        page.notice = Some("You are signed out.");
    }
    if query.ready {
        page.notice = Some("The practice is open. Sign in with the name and password you chose.");
    }
    html(&app, &page)
}

#[derive(Debug, serde::Deserialize)]
pub(super) struct SignIn {
    username: String,
    password: String,
    #[serde(default)]
    next: String,
    /// Both are sent once a one-time password was right.
    new_password: Option<String>,
    #[serde(default)]
    new_password_again: String,
}

const WRONG: &str = "The user name or the password is wrong. Check both and try again.";

const OVER: &str =
    "This one-time password is too old to be used. Ask the practice's admin for a new one.";

/// What is wrong with the password that somebody chose in place of the one they were given, and in which field.
fn fault(
    chosen: &str,
    again: &str,
    given: &str,
    username: &str,
    practice: &str,
) -> Option<(&'static str, &'static str)> {
    if chosen == given {
        return Some((
            "new_password",
            "This is the one-time password. Choose one that nobody else knows.",
        ));
    }
    rules::chosen_fault(chosen, again, username, practice)
}

pub(super) async fn sign_in(
    State(app): State<App>,
    axum::Extension(passwords): axum::Extension<Passwords>,
    Form(form): Form<SignIn>,
) -> Result<Response> {
    let now = app.clock.now();
    let pool = &app.db.records;
    let username = form.username.trim().to_lowercase();
    let mut page = LoginPage::new(&app, &form.next);
    page.username.clone_from(&username);
    let login = if username.contains('\0') || username.len() > 80 {
        None
    } else {
        store::login(pool, &username).await?
    };
    if let Some(seconds) = login
        .as_ref()
        .and_then(|l| rules::locked_for(l.locked_until, now))
    {
        page.errors.insert("form", rules::locked_text(seconds));
        let headers = [(header::RETRY_AFTER, seconds.to_string())];
        return Ok((StatusCode::TOO_MANY_REQUESTS, headers, html(&app, &page)?).into_response());
    }
    let hash = login
        .as_ref()
        .filter(|l| l.active)
        .map(|l| l.password_hash.clone());
    let given = form.password.clone();
    let fits = form.password.len() <= 1024 && passwords.fits(form.password, hash).await?;
    let (login, known) = if fits { (login, None) } else { (None, login) };
    let Some(login) = login else {
        if let Some(login) = known {
            store::refuse_password(&app, &login, &username, now).await?;
        }
        page.errors.insert("password", WRONG.into());
        return Ok((StatusCode::UNPROCESSABLE_ENTITY, html(&app, &page)?).into_response());
    };
    let token = tokens::new_token();
    let event = AuditEvent::new(Action::Execute, "Session")
        .id(login.user.0)
        .reason("signed in");
    let actor = Actor::user(login.practice, login.user);
    let mut tx = if let Some(until) = login.one_time_until {
        page.notice = None;
        if until <= now {
            page.errors.insert("password", OVER.into());
            return Ok((StatusCode::UNPROCESSABLE_ENTITY, html(&app, &page)?).into_response());
        }
        page.one_time = Some(given.clone());
        let Some(chosen) = form.new_password else {
            return html(&app, &page);
        };
        let mut tx = PracticeTx::open(&app.db, &actor, now).await?;
        let practice = store::practice_name(tx.conn()).await?;
        let again = form.new_password_again;
        if let Some((field, fault)) = fault(&chosen, &again, &given, &username, &practice) {
            page.errors.insert(field, fault.into());
            return Ok((StatusCode::UNPROCESSABLE_ENTITY, html(&app, &page)?).into_response());
        }
        let hash = people::hash_aside(chosen).await?;
        if !store::set_own_password(tx.conn(), &login, &hash).await? {
            return Err(Error::conflict(
                "Your password was changed a moment ago. Sign in with the new one.",
            ));
        }
        tx.record(
            AuditEvent::new(Action::Update, "User")
                .id(login.user.0)
                .reason("chose a password"),
        )
        .await?;
        tx.record(event).await?;
        tx
    } else {
        PracticeTx::open_with(&app.db, &actor, now, event).await?
    };
    store::insert_session(tx.conn(), &token_hash(&token), &login, now).await?;
    tx.commit().await?;
    if login.failures > 0 {
        store::set_failures(pool, &username, 0, None).await?;
    }
    Ok((
        [(header::SET_COOKIE, set_cookie(&token))],
        Redirect::to(&page.next),
    )
        .into_response())
}

pub(super) async fn sign_out(State(app): State<App>, session: Session) -> Result<Response> {
    if let SessionKind::Browser(hash) = &session.kind {
        let event = AuditEvent::new(Action::Execute, "Session")
            .id(session.user_id.0)
            .reason("signed out");
        let mut tx = app.begin_with(&session, event).await?;
        store::delete_session(tx.conn(), hash).await?;
        tx.commit().await?;
    }
    // No `clear-site-data`: what the pages kept on the device is text that has not reached this server. It is sealed
    // under its writer's key, goes when it is sent, and the theme and the offline page are nobody's secret.
    Ok((
        [(header::SET_COOKIE, clear_cookie())],
        Redirect::to("/login?out=true"),
    )
        .into_response())
}

/// What `GET /session` tells a script of an open page.
#[derive(serde::Serialize)]
pub(super) struct Current {
    user_id: crate::ids::UserId,
    local_key: String,
}

/// Tells an open page who is signed in now, after somebody signed in again in another tab.
pub(super) async fn current(
    State(app): State<App>,
    session: Session,
) -> Result<axum::Json<Current>> {
    Ok(axum::Json(Current {
        user_id: session.user_id,
        local_key: app
            .keys
            .local_copy_key(session.practice_id, session.user_id)
            .await?,
    }))
}
