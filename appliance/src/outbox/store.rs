//! SQL of the outbox and the egress ledger.

use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::error::Result;

pub(super) async fn queue(
    conn: &mut PgConnection,
    now: OffsetDateTime,
    approved_by: &str,
    recipient: &str,
    subject: &str,
    body: &str,
) -> Result<()> {
    sqlx::query!(
        "INSERT INTO outbox (id, kind, approved_by, recipient, subject, body, queued_at, next_at) VALUES ($1, 'alert-mail', $2, $3, $4, $5, $6, $6)",
        Uuid::now_v7(),
        approved_by,
        recipient,
        subject,
        body,
        now
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!("SELECT pg_notify('hadada_outbox', '')")
        .execute(conn)
        .await?;
    Ok(())
}

pub(super) async fn queued_since(conn: &mut PgConnection, since: OffsetDateTime) -> Result<i64> {
    Ok(sqlx::query_scalar!(
        r#"SELECT count(*) AS "n!" FROM outbox WHERE queued_at > $1"#,
        since
    )
    .fetch_one(conn)
    .await?)
}

pub(super) async fn failed_since(conn: &mut PgConnection, since: OffsetDateTime) -> Result<i64> {
    Ok(sqlx::query_scalar!(
        r#"SELECT count(*) AS "n!" FROM outbox WHERE state = 'failed' AND queued_at > $1"#,
        since
    )
    .fetch_one(conn)
    .await?)
}

pub(super) async fn counts(
    conn: &mut PgConnection,
    now: OffsetDateTime,
) -> Result<(i64, i64, i64)> {
    let row = sqlx::query!(
        r#"SELECT (SELECT count(*) FROM outbox WHERE state = 'queued') AS "waiting!",
                  (SELECT count(*) FROM outbox WHERE state = 'failed' AND queued_at > $1) AS "failed!",
                  (SELECT count(*) FROM egress_ledger WHERE at > $2) AS "sent!""#,
        now - time::Duration::days(7),
        now - time::Duration::days(1)
    )
    .fetch_one(conn)
    .await?;
    Ok((row.waiting, row.failed, row.sent))
}

/// A message whose time has come.
pub(super) struct Due {
    pub id: Uuid,
    pub kind: String,
    pub recipient: String,
    pub subject: String,
    pub body: String,
    pub attempts: i32,
}

/// The next message to send, locked until the transaction ends.
pub(super) async fn due(conn: &mut PgConnection, now: OffsetDateTime) -> Result<Option<Due>> {
    Ok(sqlx::query_as!(
        Due,
        "SELECT id, kind, recipient, subject, body, attempts FROM outbox
         WHERE state = 'queued' AND next_at <= $1 ORDER BY next_at FOR UPDATE SKIP LOCKED LIMIT 1",
        now
    )
    .fetch_optional(conn)
    .await?)
}

/// What an attempt came to.
pub(super) struct Attempt<'a> {
    pub due: &'a Due,
    pub at: OffsetDateTime,
    pub destination: &'a str,
    pub port: u16,
    pub bytes: i64,
    /// Why it failed; none when it was sent.
    pub error: Option<&'a str>,
    /// When to try again; none when it was sent or is given up.
    pub next: Option<OffsetDateTime>,
}

pub(super) async fn settle(conn: &mut PgConnection, attempt: &Attempt<'_>) -> Result<()> {
    let state = match (attempt.error, attempt.next) {
        (None, _) => "sent",
        (Some(_), Some(_)) => "queued",
        (Some(_), None) => "failed",
    };
    sqlx::query!(
        "UPDATE outbox SET state = $2, attempts = attempts + 1, next_at = coalesce($3, next_at), last_error = $4, sent_at = $5 WHERE id = $1",
        attempt.due.id,
        state,
        attempt.next,
        attempt.error.unwrap_or_default(),
        attempt.error.is_none().then_some(attempt.at)
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!(
        "INSERT INTO egress_ledger (id, at, unit, destination, port, purpose, bytes, outcome, outbox_id)
         VALUES ($1, $2, 'hadada-sender', $3, $4, $5, $6, $7, $8)",
        Uuid::now_v7(),
        attempt.at,
        attempt.destination,
        i32::from(attempt.port),
        attempt.due.kind,
        attempt.bytes,
        attempt.error.unwrap_or("sent"),
        attempt.due.id
    )
    .execute(conn)
    .await?;
    Ok(())
}
