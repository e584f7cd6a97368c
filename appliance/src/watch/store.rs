//! SQL of alerts and measurements.

use sqlx::PgConnection;
use time::{Date, OffsetDateTime};
use uuid::Uuid;

use super::alerts::{Alert, Change};
use super::rules::{Condition, Standing};
use crate::error::Result;
use crate::ids::UserId;

pub(super) async fn open_alerts(conn: &mut PgConnection) -> Result<Vec<Alert>> {
    Ok(sqlx::query_as!(
        Alert,
        "SELECT id, kind, state, said, what_to_do, began_at, acknowledged_at FROM box_alerts
         WHERE ended_at IS NULL ORDER BY state, began_at, kind"
    )
    .fetch_all(conn)
    .await?)
}

fn state(condition: &Condition) -> &'static str {
    match condition.standing {
        Standing::Bad => "bad",
        _ => "warning",
    }
}

pub(super) async fn apply(
    conn: &mut PgConnection,
    change: &Change,
    now: OffsetDateTime,
) -> Result<()> {
    match change {
        Change::Open(c) => {
            sqlx::query!(
                "INSERT INTO box_alerts (id, kind, state, said, what_to_do, began_at, changed_at) VALUES ($1, $2, $3, $4, $5, $6, $6)",
                Uuid::now_v7(),
                c.kind,
                state(c),
                c.said,
                c.what_to_do,
                now
            )
            .execute(conn)
            .await?;
        }
        Change::Reword(id, c) => {
            sqlx::query!(
                "UPDATE box_alerts SET state = $2, said = $3, what_to_do = $4 WHERE id = $1",
                id,
                state(c),
                c.said,
                c.what_to_do
            )
            .execute(conn)
            .await?;
        }
        Change::Worsen(id, c) => {
            sqlx::query!(
                "UPDATE box_alerts SET state = $2, said = $3, what_to_do = $4, changed_at = $5, acknowledged_at = NULL, acknowledged_by = NULL
                 WHERE id = $1",
                id,
                state(c),
                c.said,
                c.what_to_do,
                now
            )
            .execute(conn)
            .await?;
        }
        Change::End(id) => {
            sqlx::query!("UPDATE box_alerts SET ended_at = $2 WHERE id = $1", id, now)
                .execute(conn)
                .await?;
        }
    }
    Ok(())
}

/// One watcher at a time.
pub(super) async fn lock(conn: &mut PgConnection) -> Result<()> {
    sqlx::query!("SELECT pg_advisory_xact_lock(hashtext('hadada box alerts'))")
        .execute(conn)
        .await?;
    Ok(())
}

pub(super) async fn acknowledge(
    conn: &mut PgConnection,
    id: Uuid,
    user: UserId,
    now: OffsetDateTime,
) -> Result<bool> {
    let done = sqlx::query!(
        "UPDATE box_alerts SET acknowledged_at = coalesce(acknowledged_at, $2), acknowledged_by = coalesce(acknowledged_by, $3)
         WHERE id = $1 AND ended_at IS NULL",
        id,
        now,
        user.0
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() > 0)
}

/// Notes today's measurement, once a day, and forgets what is older than a quarter.
pub(super) async fn sample(
    conn: &mut PgConnection,
    day: Date,
    kind: &str,
    name: &str,
    value: i64,
) -> Result<()> {
    sqlx::query!(
        "INSERT INTO box_samples (day, kind, name, value) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
        day,
        kind,
        name,
        value
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!(
        "DELETE FROM box_samples WHERE day < $1",
        day.saturating_sub(time::Duration::days(92))
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The last thirty days' measurements of a thing.
pub(super) async fn samples(
    conn: &mut PgConnection,
    today: Date,
    kind: &str,
    name: &str,
) -> Result<Vec<(Date, i64)>> {
    let rows = sqlx::query!(
        "SELECT day, value FROM box_samples WHERE kind = $1 AND name = $2 AND day > $3 ORDER BY day",
        kind,
        name,
        today.saturating_sub(time::Duration::days(30))
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|r| (r.day, r.value)).collect())
}

/// When records last changed: the newest event under a seal.
pub(super) async fn last_change(conn: &mut PgConnection) -> Result<Option<OffsetDateTime>> {
    Ok(
        sqlx::query_scalar!("SELECT sealed_at FROM audit_seals ORDER BY seq DESC LIMIT 1")
            .fetch_optional(conn)
            .await?,
    )
}
