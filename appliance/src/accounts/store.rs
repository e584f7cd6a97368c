//! SQL of log-ins and sessions.

use sqlx::{PgConnection, PgPool};
use time::{Duration, OffsetDateTime};

use crate::error::Result;
use crate::ids::{PracticeId, PractitionerId, UserId};
use crate::web::Role;

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
}

pub(super) async fn login(pool: &PgPool, username: &str) -> Result<Option<Login>> {
    Ok(sqlx::query_as!(
        Login,
        r#"SELECT practice_id AS "practice: PracticeId", user_id AS "user: UserId", password_hash, failures, locked_until, active
           FROM logins WHERE username = lower($1)"#,
        username
    )
    .fetch_optional(pool)
    .await?)
}

/// Counts one more wrong password, however many are tried at once, and gives the number before it.
pub(super) async fn count_failure(pool: &PgPool, username: &str) -> Result<i32> {
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
    Ok(id)
}
