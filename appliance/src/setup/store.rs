//! SQL of the wizard.

use sqlx::PgConnection;
use time::OffsetDateTime;

use super::progress::Progress;
use crate::error::{Error, Result};
use crate::ids::PracticeId;
use crate::practices::Details;

/// The wizard's one row.
#[derive(Clone, Debug, Default)]
pub(super) struct Row {
    pub code_sha256: String,
    pub failures: i32,
    pub locked_until: Option<OffsetDateTime>,
    pub session_hash: Option<Vec<u8>>,
    pub progress: Progress,
    pub updated_at: Option<OffsetDateTime>,
    pub finished_at: Option<OffsetDateTime>,
}

/// Whether anybody can sign in: then there is a practice.
pub(super) async fn practice_exists(conn: &mut PgConnection) -> Result<bool> {
    Ok(
        sqlx::query_scalar!(r#"SELECT EXISTS (SELECT FROM logins) AS "there!""#)
            .fetch_one(conn)
            .await?,
    )
}

/// The row; an empty one where the wizard has not begun. In a transaction it is locked.
pub(super) async fn row(conn: &mut PgConnection) -> Result<Row> {
    let row = sqlx::query!(
        "SELECT code_sha256, failures, locked_until, session_hash, progress, updated_at, finished_at FROM setup_progress FOR UPDATE"
    )
    .fetch_optional(conn)
    .await?;
    Ok(match row {
        None => Row::default(),
        Some(r) => Row {
            code_sha256: r.code_sha256,
            failures: r.failures,
            locked_until: r.locked_until,
            session_hash: r.session_hash,
            progress: serde_json::from_value(r.progress).map_err(Error::internal)?,
            updated_at: Some(r.updated_at),
            finished_at: r.finished_at,
        },
    })
}

pub(super) async fn save(conn: &mut PgConnection, row: &Row, now: OffsetDateTime) -> Result<()> {
    let progress = serde_json::to_value(&row.progress).map_err(Error::internal)?;
    sqlx::query!(
        "INSERT INTO setup_progress (code_sha256, failures, locked_until, session_hash, progress, updated_at, finished_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7)
         ON CONFLICT (only_row) DO UPDATE SET code_sha256 = $1, failures = $2, locked_until = $3, session_hash = $4, progress = $5,
             updated_at = $6, finished_at = $7",
        row.code_sha256,
        row.failures,
        row.locked_until,
        row.session_hash,
        progress,
        now,
        row.finished_at
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The practice and its counters, in a transaction that is scoped to it.
pub(super) async fn insert_practice(
    conn: &mut PgConnection,
    id: PracticeId,
    p: &Details,
) -> Result<()> {
    sqlx::query!(
        "INSERT INTO practices (practice_id, name, bhf_number, vat_number, address, phone, email, bank_details)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        id.0,
        p.name,
        p.bhf_number,
        p.vat_number,
        p.address,
        p.phone,
        p.email,
        p.bank_details
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!(
        "INSERT INTO patient_counters (practice_id) VALUES ($1)",
        id.0
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!(
        "INSERT INTO invoice_counters (practice_id) VALUES ($1)",
        id.0
    )
    .execute(conn)
    .await?;
    Ok(())
}
