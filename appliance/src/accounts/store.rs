//! SQL of log-ins and sessions.

use sqlx::{PgConnection, PgPool};
use time::{Duration, OffsetDateTime};

use super::rules;
use crate::db::{Action, Actor, AuditEvent};
use crate::error::Result;
use crate::ids::{PracticeId, PractitionerId, UserId};
use crate::web::{App, Role};

/// A session ends eight hours after it began, whatever happens in it.
const SESSION: Duration = Duration::hours(8);

/// A log-in, as stored.
pub(super) struct Login {
    pub practice: PracticeId,
    pub user: UserId,
    pub password_hash: String,
    pub failures: i32,
    pub locked_until: Option<OffsetDateTime>,
    pub active: bool,
    /// Set while the password is one that an admin gave: until then it signs in once, to choose another.
    pub one_time_until: Option<OffsetDateTime>,
}

pub(super) async fn login(pool: &PgPool, username: &str) -> Result<Option<Login>> {
    Ok(sqlx::query_as!(
        Login,
        r#"SELECT practice_id AS "practice: PracticeId", user_id AS "user: UserId", password_hash, failures, locked_until, active, one_time_until
           FROM logins WHERE username = lower($1)"#,
        username
    )
    .fetch_optional(pool)
    .await?)
}

/// Counts one more wrong password, however many are tried at once, and gives the number before it.
async fn count_failure(pool: &PgPool, username: &str) -> Result<i32> {
    Ok(sqlx::query_scalar!(
        r#"UPDATE logins SET failures = failures + 1 WHERE username = lower($1) RETURNING failures - 1 AS "before!""#,
        username
    )
    .fetch_one(pool)
    .await?)
}

pub(super) async fn set_failures(
    pool: &PgPool,
    username: &str,
    failures: i32,
    locked_until: Option<OffsetDateTime>,
) -> Result<()> {
    sqlx::query!(
        "UPDATE logins SET failures = $2, locked_until = $3 WHERE username = lower($1)",
        username,
        failures,
        locked_until
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// Stores the password that somebody chose in place of the one-time password they were given. False where that one is gone.
pub(super) async fn set_own_password(
    conn: &mut PgConnection,
    login: &Login,
    password_hash: &str,
) -> Result<bool> {
    let set = sqlx::query!(
        "UPDATE logins SET password_hash = $3, one_time_until = NULL, failures = 0
         WHERE practice_id = $1 AND user_id = $2 AND password_hash = $4 AND one_time_until IS NOT NULL",
        login.practice.0,
        login.user.0,
        password_hash,
        login.password_hash
    )
    .execute(conn)
    .await?;
    Ok(set.rows_affected() == 1)
}

/// Stores the password that somebody chose in place of their own. False where that one is gone.
pub(super) async fn change_password(
    conn: &mut PgConnection,
    login: &Login,
    password_hash: &str,
) -> Result<bool> {
    let set = sqlx::query!(
        "UPDATE logins SET password_hash = $3, failures = 0 WHERE practice_id = $1 AND user_id = $2 AND password_hash = $4 AND active",
        login.practice.0,
        login.user.0,
        password_hash,
        login.password_hash
    )
    .execute(conn)
    .await?;
    Ok(set.rows_affected() == 1)
}

/// Ends every session of a person but this one.
pub(super) async fn delete_other_sessions(
    conn: &mut PgConnection,
    login: &Login,
    own: &[u8; 32],
) -> Result<()> {
    sqlx::query!(
        "DELETE FROM sessions WHERE practice_id = $1 AND user_id = $2 AND token_hash <> $3",
        login.practice.0,
        login.user.0,
        &own[..]
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Counts a wrong password, closes the account for a while after too many, and records that it was refused.
pub(super) async fn refuse_password(
    app: &App,
    login: &Login,
    username: &str,
    now: OffsetDateTime,
) -> Result<()> {
    let pool = &app.db.records;
    let before = count_failure(pool, username).await?;
    let (failures, locked) = rules::after_failure(before, now);
    if locked.is_some() {
        set_failures(pool, username, failures, locked).await?;
    }
    let event = AuditEvent::new(Action::Refuse, "Session")
        .id(login.user.0)
        .reason("wrong password");
    app.db
        .record_refusal(&Actor::user(login.practice, login.user), now, event)
        .await
}

/// The practice's name, in a transaction that is scoped to it.
pub(super) async fn practice_name(conn: &mut PgConnection) -> Result<String> {
    Ok(sqlx::query_scalar!("SELECT name FROM practices")
        .fetch_one(conn)
        .await?)
}

pub(super) async fn insert_session(
    conn: &mut PgConnection,
    hash: &[u8; 32],
    login: &Login,
    now: OffsetDateTime,
) -> Result<()> {
    sqlx::query!(
        "INSERT INTO sessions (token_hash, practice_id, user_id, created_at, seen_at, expires_at) VALUES ($1, $2, $3, $4, $4, $5)",
        &hash[..],
        login.practice.0,
        login.user.0,
        now,
        now + SESSION
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!("DELETE FROM sessions WHERE expires_at < $1", now)
        .execute(conn)
        .await?;
    Ok(())
}

pub(super) async fn delete_session(conn: &mut PgConnection, hash: &[u8; 32]) -> Result<()> {
    sqlx::query!("DELETE FROM sessions WHERE token_hash = $1", &hash[..])
        .execute(conn)
        .await?;
    Ok(())
}

pub(super) async fn insert_token(
    conn: &mut PgConnection,
    hash: &[u8; 32],
    login: &Login,
    scope: &str,
    now: OffsetDateTime,
    expires_at: OffsetDateTime,
) -> Result<()> {
    sqlx::query!(
        "INSERT INTO api_tokens (token_hash, practice_id, user_id, scope, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6)",
        &hash[..],
        login.practice.0,
        login.user.0,
        scope,
        now,
        expires_at
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// A person to add to a practice.
#[derive(Debug)]
pub struct NewUser<'a> {
    /// Log-in name, in lower case.
    pub username: &'a str,
    /// Name on screen.
    pub display_name: &'a str,
    /// What they may do.
    pub role: Role,
    /// The practitioner they are.
    pub practitioner: Option<PractitionerId>,
    /// [`super::hash_password`] of their password.
    pub password_hash: &'a str,
}

/// Adds a person and their log-in. The caller's transaction is scoped to the practice and records the event.
///
/// # Errors
/// When the log-in name is taken, or the database does not answer.
pub async fn create_user(
    conn: &mut PgConnection,
    practice: PracticeId,
    user: &NewUser<'_>,
) -> Result<UserId> {
    let id = UserId::random();
    create_user_as(conn, practice, id, user).await?;
    Ok(id)
}

/// [`create_user`] under an id that is known beforehand.
///
/// # Errors
/// As for [`create_user`].
pub async fn create_user_as(
    conn: &mut PgConnection,
    practice: PracticeId,
    id: UserId,
    user: &NewUser<'_>,
) -> Result<()> {
    sqlx::query!(
        "INSERT INTO users (practice_id, id, username, display_name, role, practitioner_id) VALUES ($1, $2, $3, $4, $5, $6)",
        practice.0,
        id.0,
        user.username,
        user.display_name,
        user.role.text(),
        user.practitioner.map(|p| p.0)
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!(
        "INSERT INTO logins (username, practice_id, user_id, password_hash) VALUES ($1, $2, $3, $4)",
        user.username,
        practice.0,
        id.0,
        user.password_hash
    )
    .execute(conn)
    .await?;
    Ok(())
}
