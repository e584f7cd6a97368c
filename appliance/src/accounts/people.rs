//! The log-ins of a practice, for its settings. Every function works in a transaction that is scoped to the practice; `logins`,
//! `sessions` and `api_tokens` have no row-level security, so each statement on them names the practice.

use time::{Duration, OffsetDateTime};

use super::{Passwords, hash_password};
use crate::db::PracticeTx;
use crate::error::{Error, Result};
use crate::ids::{PractitionerId, UserId};
use crate::web::Role;

/// How long a one-time password that an admin gave can be used.
const ONE_TIME: Duration = Duration::days(7);

/// A person who may sign in.
#[derive(Clone, Debug)]
pub struct Account {
    /// Who.
    pub id: UserId,
    /// Log-in name.
    pub username: String,
    /// Name on screen.
    pub display_name: String,
    /// What they may do.
    pub role: Role,
    /// The practitioner they are, if they treat.
    pub practitioner_id: Option<PractitionerId>,
    /// Whether they may sign in.
    pub active: bool,
    /// Grows with each change.
    pub version: i32,
    /// Until when the one-time password they were given works, while they have not chosen their own.
    pub one_time_until: Option<OffsetDateTime>,
}

/// Everybody who signs in, or did.
///
/// # Errors
/// When the database does not answer.
pub async fn accounts(tx: &mut PracticeTx) -> Result<Vec<Account>> {
    let rows = sqlx::query!(
        r#"SELECT u.id AS "id: UserId", u.username, u.display_name, u.role, u.practitioner_id AS "practitioner_id: PractitionerId",
                  u.active, u.version, l.one_time_until
           FROM users u JOIN logins l ON l.practice_id = u.practice_id AND l.user_id = u.id
           ORDER BY u.display_name, u.id"#
    )
    .fetch_all(tx.conn())
    .await?;
    rows.into_iter()
        .map(|r| {
            Ok(Account {
                id: r.id,
                username: r.username,
                display_name: r.display_name,
                role: Role::from_text(&r.role)
                    .ok_or_else(|| Error::internal(format!("there is no role {}", r.role)))?,
                practitioner_id: r.practitioner_id,
                active: r.active,
                version: r.version,
                one_time_until: r.one_time_until,
            })
        })
        .collect()
}

/// One of them.
///
/// # Errors
/// [`Error::NotFound`] where there is nobody by this id in the practice.
pub async fn account(tx: &mut PracticeTx, id: UserId) -> Result<Account> {
    let all = accounts(tx).await?;
    all.into_iter().find(|a| a.id == id).ok_or(Error::NotFound)
}

/// Whether a log-in name is taken, in any practice of the box: names are shared, because nobody says at sign-in whose they are.
///
/// # Errors
/// When the database does not answer.
pub async fn username_taken(tx: &mut PracticeTx, username: &str) -> Result<bool> {
    Ok(sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM logins WHERE username = $1) AS "there!""#,
        username
    )
    .fetch_one(tx.conn())
    .await?)
}

/// How many admins can sign in.
///
/// # Errors
/// When the database does not answer.
pub async fn active_admins(tx: &mut PracticeTx) -> Result<i64> {
    Ok(
        sqlx::query_scalar!(
            r#"SELECT count(*) AS "n!" FROM users WHERE role = 'admin' AND active"#
        )
        .fetch_one(tx.conn())
        .await?,
    )
}

/// Changes a person's name on screen, their role, and which practitioner they are.
///
/// # Errors
/// When the database does not answer.
pub async fn change_account(
    tx: &mut PracticeTx,
    id: UserId,
    display_name: &str,
    role: Role,
    practitioner: Option<PractitionerId>,
) -> Result<()> {
    sqlx::query!(
        "UPDATE users SET display_name = $2, role = $3, practitioner_id = $4, version = version + 1 WHERE id = $1",
        id.0,
        display_name,
        role.text(),
        practitioner.map(|p| p.0)
    )
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// Lets a person sign in, or no longer: then they are signed out everywhere and their programs' tokens end. Who they are and
/// what they did stays.
///
/// # Errors
/// When the database does not answer.
pub async fn set_account_active(tx: &mut PracticeTx, id: UserId, active: bool) -> Result<()> {
    let (practice, now) = (tx.practice(), tx.now());
    sqlx::query!(
        "UPDATE users SET active = $2, version = version + 1 WHERE id = $1",
        id.0,
        active
    )
    .execute(tx.conn())
    .await?;
    sqlx::query!(
        "UPDATE logins SET active = $3 WHERE practice_id = $1 AND user_id = $2",
        practice.0,
        id.0,
        active
    )
    .execute(tx.conn())
    .await?;
    if !active {
        sign_out(tx, id).await?;
        sqlx::query!(
            "UPDATE api_tokens SET revoked_at = $3 WHERE practice_id = $1 AND user_id = $2 AND revoked_at IS NULL",
            practice.0,
            id.0,
            now
        )
        .execute(tx.conn())
        .await?;
    }
    Ok(())
}

async fn sign_out(tx: &mut PracticeTx, id: UserId) -> Result<()> {
    let practice = tx.practice();
    sqlx::query!(
        "DELETE FROM sessions WHERE practice_id = $1 AND user_id = $2",
        practice.0,
        id.0
    )
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// [`hash_password`], off the threads that serve.
///
/// # Errors
/// When the system gives no randomness.
pub async fn hash_aside(password: String) -> Result<String> {
    tokio::task::spawn_blocking(move || hash_password(&password))
        .await
        .map_err(Error::internal)?
}

/// Whether this is the one-time password that a person still has to use.
///
/// # Errors
/// When the database does not answer.
pub async fn one_time_fits(tx: &mut PracticeTx, id: UserId, password: String) -> Result<bool> {
    let practice = tx.practice();
    let hash = sqlx::query_scalar!(
        "SELECT password_hash FROM logins WHERE practice_id = $1 AND user_id = $2 AND one_time_until IS NOT NULL",
        practice.0,
        id.0
    )
    .fetch_optional(tx.conn())
    .await?;
    match hash {
        Some(hash) => Passwords::default().fits(password, Some(hash)).await,
        None => Ok(false),
    }
}

/// Replaces a person's password by a one-time password, opens their log-in where wrong passwords closed it, and signs them out
/// everywhere.
///
/// # Errors
/// When the database does not answer.
pub async fn give_one_time_password(tx: &mut PracticeTx, id: UserId, hash: &str) -> Result<()> {
    let (practice, until) = (tx.practice(), tx.now() + ONE_TIME);
    sqlx::query!(
        "UPDATE logins SET password_hash = $3, one_time_until = $4, failures = 0, locked_until = NULL
         WHERE practice_id = $1 AND user_id = $2",
        practice.0,
        id.0,
        hash,
        until
    )
    .execute(tx.conn())
    .await?;
    sign_out(tx, id).await
}
