//! A form sent twice makes one record.

use uuid::Uuid;

use super::Session;
use crate::db::PracticeTx;
use crate::error::{Error, Result};

/// Claims a form's key for what is about to be made, in the transaction that makes it. None: the key is ours, go on. Some:
/// the form was sent before, and this is what it made.
///
/// # Errors
/// When the key was used by a form of another kind, or the database does not answer.
pub async fn claim(tx: &mut PracticeTx, session: &Session, key: Uuid, action: &'static str, entity_id: Uuid) -> Result<Option<Uuid>> {
    let practice = tx.practice();
    let new = sqlx::query!(
        "INSERT INTO idempotency_keys (practice_id, user_id, key, action, entity_id) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
        practice.0,
        session.user_id.0,
        key,
        action,
        entity_id
    )
    .execute(tx.conn())
    .await?
    .rows_affected();
    if new == 1 {
        return Ok(None);
    }
    let made = sqlx::query!("SELECT action, entity_id FROM idempotency_keys WHERE user_id = $1 AND key = $2", session.user_id.0, key)
        .fetch_one(tx.conn())
        .await?;
    if made.action != action {
        return Err(Error::field("idempotency_key", "This key was used by another form. Open the form again."));
    }
    Ok(Some(made.entity_id))
}
