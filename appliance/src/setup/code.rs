//! The one-time code, and who has typed it.

use std::collections::BTreeMap;

use axum::extract::{FromRequestParts, State};
use axum::response::{IntoResponse, Redirect, Response};
use base64::Engine;
use http::request::Parts;
use http::{HeaderValue, StatusCode, header};
use sqlx::{Postgres, Transaction};
use time::{Duration, OffsetDateTime};

use super::rules::{self, After};
use super::store::{self, Row};
use crate::error::{Error, Result};
use crate::web::{App, Form, Page, html, token_hash};

/// The wizard's cookie; it has nothing to do with a sign-in.
const COOKIE: &str = "__Host-hadada-setup";
/// Whoever does nothing for this long types the code again.
const IDLE: Duration = Duration::hours(2);

/// `setup/code.html`.
#[derive(serde::Serialize)]
pub(super) struct CodePage {
    errors: BTreeMap<&'static str, String>,
    /// Whether root has made a code.
    ready: bool,
}

impl Page for CodePage {
    const TEMPLATE: &'static str = "setup/code.html";
    fn samples() -> Vec<Self> {
        vec![
            Self {
                errors: BTreeMap::new(),
                ready: true,
            },
            Self {
                errors: BTreeMap::from([("code", WRONG.to_owned())]),
                ready: true,
            },
            Self {
                errors: BTreeMap::new(),
                ready: false,
            },
        ]
    }
}

const WRONG: &str = "This is not the code on the server's screen. Check it and type it again.";

fn wait(until: OffsetDateTime, now: OffsetDateTime) -> String {
    match ((until - now).whole_seconds() + 59) / 60 {
        ..=1 => "Too many wrong codes. Try again in a minute.".into(),
        minutes => format!("Too many wrong codes. Try again in {minutes} minutes."),
    }
}

async fn expected(app: &App) -> Option<String> {
    let text = tokio::fs::read_to_string(app.config.setup_dir.join("code.sha256"))
        .await
        .ok()?;
    let hash = text.trim().to_ascii_lowercase();
    (hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit())).then_some(hash)
}

/// Somebody who typed the code, with the wizard's row locked until they are done.
pub(super) struct Visitor {
    pub tx: Transaction<'static, Postgres>,
    pub row: Row,
    pub now: OffsetDateTime,
}

impl Visitor {
    /// Keeps what was changed.
    pub(super) async fn save(mut self) -> Result<()> {
        store::save(&mut self.tx, &self.row, self.now).await?;
        self.tx.commit().await?;
        Ok(())
    }
}

/// Whoever has not typed the code is asked for it.
pub(super) struct Uninvited;

impl IntoResponse for Uninvited {
    fn into_response(self) -> Response {
        Redirect::to("/setup").into_response()
    }
}

/// Why there is no visitor.
pub(super) enum NoVisitor {
    /// No code typed.
    Uninvited(Uninvited),
    /// The database does not answer.
    Failed(Error),
}

impl IntoResponse for NoVisitor {
    fn into_response(self) -> Response {
        match self {
            Self::Uninvited(u) => u.into_response(),
            Self::Failed(e) => e.into_response(),
        }
    }
}

fn cookie(parts: &Parts) -> Option<[u8; 32]> {
    parts
        .headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(name, _)| *name == COOKIE)
        .map(|(_, token)| token_hash(token))
}

impl FromRequestParts<App> for Visitor {
    type Rejection = NoVisitor;
    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, NoVisitor> {
        let hash = cookie(parts).ok_or(NoVisitor::Uninvited(Uninvited))?;
        let now = app.clock.now();
        let found = async {
            let mut tx = app.db.records.begin().await?;
            let row = store::row(&mut tx).await?;
            Ok((tx, row))
        };
        let (tx, row) = found.await.map_err(NoVisitor::Failed)?;
        let known = row.session_hash.as_deref() == Some(&hash[..])
            && row.finished_at.is_none()
            && row.updated_at.is_some_and(|at| now - at < IDLE)
            // A new code on the console ends what an earlier one opened.
            && expected(app).await.is_some_and(|code| code == row.code_sha256);
        if known {
            Ok(Self { tx, row, now })
        } else {
            Err(NoVisitor::Uninvited(Uninvited))
        }
    }
}

/// `GET /setup`
pub(super) async fn show(
    State(app): State<App>,
    visitor: Result<Visitor, NoVisitor>,
) -> Result<Response> {
    match visitor {
        Ok(visitor) => Ok(Redirect::to(visitor.row.progress.next().path()).into_response()),
        Err(NoVisitor::Failed(error)) => Err(error),
        Err(NoVisitor::Uninvited(_)) => html(
            &app,
            &CodePage {
                errors: BTreeMap::new(),
                ready: expected(&app).await.is_some(),
            },
        ),
    }
}

#[derive(serde::Deserialize)]
pub(super) struct Entered {
    #[serde(default)]
    code: String,
}

/// `POST /setup`
pub(super) async fn enter(
    State(app): State<App>,
    Form(entered): Form<Entered>,
) -> Result<Response> {
    let now = app.clock.now();
    let refuse = |status, message: String| -> Result<Response> {
        let page = CodePage {
            errors: BTreeMap::from([("code", message)]),
            ready: true,
        };
        Ok((status, html(&app, &page)?).into_response())
    };
    let Some(expected) = expected(&app).await else {
        let page = CodePage {
            errors: BTreeMap::new(),
            ready: false,
        };
        return Ok((StatusCode::CONFLICT, html(&app, &page)?).into_response());
    };
    let mut tx = app.db.records.begin().await?;
    let mut row = store::row(&mut tx).await?;
    if row.code_sha256 != expected {
        row = Row {
            code_sha256: expected.clone(),
            progress: row.progress,
            finished_at: row.finished_at,
            ..Row::default()
        };
    }
    if let Some(until) = row.locked_until.filter(|until| *until > now) {
        return refuse(StatusCode::TOO_MANY_REQUESTS, wait(until, now));
    }
    let void = || {
        "Too many wrong codes: this one is void. Run `hadadactl setup code` on the server for a new one."
            .to_owned()
    };
    if rules::after_wrong_code(row.failures, now) == After::Void {
        return refuse(StatusCode::TOO_MANY_REQUESTS, void());
    }
    if rules::code_hash(&entered.code) != expected {
        row.failures += 1;
        let after = rules::after_wrong_code(row.failures, now);
        row.locked_until = match after {
            After::Wait(until) => Some(until),
            After::Again | After::Void => None,
        };
        store::save(&mut tx, &row, now).await?;
        tx.commit().await?;
        tracing::warn!(failures = row.failures, "a wrong set-up code was typed");
        let message = match after {
            After::Void => void(),
            After::Wait(until) => wait(until, now),
            After::Again => WRONG.to_owned(),
        };
        return refuse(StatusCode::UNPROCESSABLE_ENTITY, message);
    }
    let mut bytes = [0; 32];
    rand::fill(&mut bytes);
    let token = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes);
    row.failures = 0;
    row.locked_until = None;
    row.session_hash = Some(token_hash(&token).to_vec());
    let next = row.progress.next().path();
    store::save(&mut tx, &row, now).await?;
    tx.commit().await?;
    let cookie = HeaderValue::from_str(&format!(
        "{COOKIE}={token}; Path=/; Secure; HttpOnly; SameSite=Strict"
    ))
    .map_err(Error::internal)?;
    Ok(([(header::SET_COOKIE, cookie)], Redirect::to(next)).into_response())
}
