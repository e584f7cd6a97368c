//! Tokens for programs, made by `hadadactl token create` over the admin socket.

use time::Duration;

use super::store;
use crate::clock::Clock;
use crate::db::{Action, Actor, AuditEvent, Db, PracticeTx};
use crate::error::{Error, Problems, Result};
use crate::web::token_hash;

/// A token works for a year; then a new one is made.
const LIFE: Duration = Duration::days(365);
const SCOPES: [&str; 6] = ["all", "diary", "patients", "notes", "billing", "admin"];

/// Whose token, and for what.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenRequest {
    /// Log-in name.
    pub user: String,
    /// Scopes, separated by spaces or commas; `all` is what the user may do.
    pub scope: String,
}

/// Makes a token and gives it, once.
///
/// # Errors
/// [`Error::Invalid`] for an unknown user or scope.
pub async fn create_token(db: &Db, clock: &Clock, request: &TokenRequest) -> Result<String> {
    let now = clock.now();
    let mut problems = Problems::new();
    let scopes: Vec<&str> = request
        .scope
        .split([' ', ','])
        .filter(|s| !s.is_empty())
        .collect();
    if scopes.is_empty() || scopes.iter().any(|s| !SCOPES.contains(s)) {
        problems.add(
            "scope",
            format!("Use one or more of: {}.", SCOPES.join(", ")),
        );
    }
    let login = store::login(&db.records, &request.user).await?;
    if !login.as_ref().is_some_and(|l| l.active) {
        problems.add("user", format!("There is no user {}.", request.user));
    }
    problems.check()?;
    let login = login.ok_or(Error::NotFound)?;
    let token = new_token();
    let event = AuditEvent::new(Action::Create, "Token")
        .id(login.user.0)
        .reason(format!("for {}, scope {}", request.user, scopes.join(" ")));
    let mut tx =
        PracticeTx::open_with(db, &Actor::system(login.practice, "hadadactl"), now, event).await?;
    store::insert_token(
        tx.conn(),
        &token_hash(&token),
        &login,
        &scopes.join(" "),
        now,
        now + LIFE,
    )
    .await?;
    tx.commit().await?;
    Ok(token)
}

/// 256 random bits.
pub(super) fn new_token() -> String {
    use base64::Engine;
    let mut bytes = [0; 32];
    rand::fill(&mut bytes);
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}
