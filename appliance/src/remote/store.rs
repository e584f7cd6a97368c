//! SQL of remote access.

use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::error::Result;

/// A time during which the box may be reached with a client certificate.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Open {
    /// Its id.
    pub id: Uuid,
    /// Since when, UTC.
    #[serde(with = "time::serde::rfc3339")]
    pub opened_at: OffsetDateTime,
    /// Until when, UTC.
    #[serde(with = "time::serde::rfc3339")]
    pub until: OffsetDateTime,
    /// What for.
    pub reason: String,
}

pub(super) async fn open(conn: &mut PgConnection) -> Result<Option<Open>> {
    Ok(sqlx::query_as!(
        Open,
        "SELECT id, opened_at, until, reason FROM remote_access WHERE closed_at IS NULL"
    )
    .fetch_optional(conn)
    .await?)
}

pub(super) async fn close_open(conn: &mut PgConnection, now: OffsetDateTime) -> Result<bool> {
    let closed = sqlx::query!(
        "UPDATE remote_access SET closed_at = $1 WHERE closed_at IS NULL",
        now
    )
    .execute(conn)
    .await?;
    Ok(closed.rows_affected() > 0)
}

pub(super) async fn insert(
    conn: &mut PgConnection,
    now: OffsetDateTime,
    until: OffsetDateTime,
    reason: &str,
) -> Result<Open> {
    let open = Open {
        id: Uuid::now_v7(),
        opened_at: now,
        until,
        reason: reason.to_owned(),
    };
    sqlx::query!(
        "INSERT INTO remote_access (id, opened_at, until, reason) VALUES ($1, $2, $3, $4)",
        open.id,
        open.opened_at,
        open.until,
        open.reason
    )
    .execute(conn)
    .await?;
    Ok(open)
}
