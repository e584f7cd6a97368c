//! A form sent twice makes one record.

use uuid::Uuid;

use super::{FormId, Session};
use crate::db::PracticeTx;
use crate::error::{Error, Result};

/// Takes a form's key for what the form is about to make, in the same transaction as the record itself.
///
/// `None`: the key is ours, make the record under `entity`. `Some`: this form was sent before and made that record. A second
/// sending waits for the first one's transaction to end, so that two clicks at once make one record too.
///
/// # Errors
/// [`Error::Conflict`] when the key was used for another action, or when the database does not answer.
pub async fn claim(
    tx: &mut PracticeTx,
    session: &Session,
    key: FormId,
    action: &str,
    entity: Uuid,
) -> Result<Option<Uuid>> {
    let (practice, now) = (tx.practice(), tx.now());
    let ours = sqlx::query!(
        "INSERT INTO idempotency_keys (practice_id, user_id, key, action, entity_id, created_at) VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT DO NOTHING",
        practice.0,
        session.user_id.0,
        key,
        action,
        entity,
        now
    )
    .execute(tx.conn())
    .await?;
    if ours.rows_affected() == 1 {
        return Ok(None);
    }
    made(tx, session, key, action).await
}

/// What this form made when it was sent before, without taking its key.
///
/// # Errors
/// As for [`claim`].
pub async fn made(
    tx: &mut PracticeTx,
    session: &Session,
    key: FormId,
    action: &str,
) -> Result<Option<Uuid>> {
    let earlier = sqlx::query!(
        "SELECT action, entity_id FROM idempotency_keys WHERE user_id = $1 AND key = $2",
        session.user_id.0,
        key
    )
    .fetch_optional(tx.conn())
    .await?;
    match earlier {
        Some(earlier) if earlier.action != action => Err(Error::conflict(
            "This form's key was already used for something else. Open the form again and send it once more.",
        )),
        earlier => Ok(earlier.map(|e| e.entity_id)),
    }
}
