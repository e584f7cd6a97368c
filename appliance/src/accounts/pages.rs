//! Signing in and out.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use http::{StatusCode, header};

use super::{password::Passwords, rules, store, tokens};
use crate::db::{Action, Actor, AuditEvent, PracticeTx};
use crate::error::Result;
use crate::web::{
    App, Form, Page, Query, Session, SessionKind, clear_cookie, html, set_cookie, token_hash,
};

#[derive(Debug, serde::Deserialize)]
pub(super) struct ShowQuery {
    #[serde(default)]
    next: String,
    #[serde(default)]
    out: bool,
}

/// `accounts/login.html`.
#[derive(serde::Serialize)]
pub(super) struct LoginPage {
    practice_name: &'static str,
    errors: BTreeMap<&'static str, String>,
    username: String,
    next: String,
    notice: Option<&'static str>,
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
    html(&app, &page)
}

#[derive(Debug, serde::Deserialize)]
pub(super) struct SignIn {
    username: String,
    password: String,
    #[serde(default)]
    next: String,
}

const WRONG: &str = "The user name or the password is wrong. Check both and try again.";

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
        let minutes = seconds.div_ceil(60);
        page.errors.insert("form", format!("Too many wrong passwords. This account opens again in {minutes} minutes; the practice's admin can see who tried."));
        let headers = [(header::RETRY_AFTER, seconds.to_string())];
        return Ok((StatusCode::TOO_MANY_REQUESTS, headers, html(&app, &page)?).into_response());
    }
    let hash = login
        .as_ref()
        .filter(|l| l.active)
        .map(|l| l.password_hash.clone());
    let fits = form.password.len() <= 1024 && passwords.fits(form.password, hash).await?;
    let (login, known) = if fits { (login, None) } else { (None, login) };
    let Some(login) = login else {
        if let Some(login) = known {
            let before = store::count_failure(pool, &username).await?;
            let (failures, locked) = rules::after_failure(before, now);
            if locked.is_some() {
                store::set_failures(pool, &username, failures, locked).await?;
            }
            let event = AuditEvent::new(Action::Refuse, "Session")
                .id(login.user.0)
                .reason("wrong password");
            app.db
                .record_refusal(&Actor::user(login.practice, login.user), now, event)
                .await?;
        }
        page.errors.insert("password", WRONG.into());
        return Ok((StatusCode::UNPROCESSABLE_ENTITY, html(&app, &page)?).into_response());
    };
    let token = tokens::new_token();
    let event = AuditEvent::new(Action::Execute, "Session")
        .id(login.user.0)
        .reason("signed in");
    let mut tx = PracticeTx::open_with(
        &app.db,
        &Actor::user(login.practice, login.user),
        now,
        event,
    )
    .await?;
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
pub(super) async fn current(State(app): State<App>, session: Session) -> axum::Json<Current> {
    axum::Json(Current {
        user_id: session.user_id,
        local_key: app.keys.local_copy_key(session.user_id),
    })
}
