//! Another master key for the box. In between, each practice's key is wrapped by both, so that the web program goes on with either
//! wherever the change is cut off; `hadadactl keys new-master` leads through it.

use sqlx::{Connection, PgConnection};
use zeroize::Zeroizing;

use super::rewrap::{Rewrapped, as_owner};
use super::ring::{KeyError, place, read_key, unwrap_key, unwrap_practice};
use super::seal::{Secret, seal};
use crate::config::Config;
use crate::ids::PracticeId;

/// Why the master key could not be changed. Then nothing was.
#[derive(Debug, thiserror::Error)]
pub enum MasterError {
    /// Standard input did not hold what was asked for.
    #[error("a master key is a line of 64 hex digits, and {0} such lines are needed")]
    Typed(usize),
    /// A practice's key opens with none of the master keys there are.
    #[error(
        "the key of practice {0} was wrapped with a master key that this box does not have: the recovery key on paper opens it"
    )]
    Closed(PracticeId),
    /// A key can't be read or wrapped.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The keys database can't be reached as its owner.
    #[error("the database of keys can't be reached as its owner: {0}")]
    Database(#[from] sqlx::Error),
}

struct Row {
    practice: PracticeId,
    wrapped: Vec<u8>,
    previous: Option<Vec<u8>>,
}

async fn rows(connection: &mut PgConnection) -> Result<Vec<Row>, sqlx::Error> {
    let rows: Vec<(PracticeId, Vec<u8>, Option<Vec<u8>>)> = sqlx::query_as(
        "SELECT practice_id, wrapped, previous_wrapped FROM practice_keys ORDER BY practice_id FOR UPDATE",
    )
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .map(|(practice, wrapped, previous)| Row {
            practice,
            wrapped,
            previous,
        })
        .collect())
}

/// Wraps every practice's key with the next master key, and keeps it wrapped with the one there is beside that. `typed` holds
/// both in hex, a line each: the one there is, then the next. What is wrapped with the next already stays.
///
/// # Errors
/// [`MasterError`]; nothing is changed then.
pub async fn change_master(config: &Config, typed: &str) -> Result<Rewrapped, MasterError> {
    let [now, next] = keys(typed)?;
    let mut connection = as_owner(config).await?;
    let mut tx = connection.begin().await?;
    let rows = rows(&mut tx).await?;
    let mut done = Rewrapped {
        practices: rows.len(),
        ..Rewrapped::default()
    };
    for row in rows {
        let at = place("practice", row.practice.0);
        if unwrap_key(&next, &at, &row.wrapped).is_ok() {
            done.kept += 1;
            continue;
        }
        let key = unwrap_practice(&now, row.practice, &row.wrapped, row.previous.as_deref())
            .map_err(|_| MasterError::Closed(row.practice))?;
        sqlx::query(
            "UPDATE practice_keys SET wrapped = $2, previous_wrapped = $3 WHERE practice_id = $1",
        )
        .bind(row.practice)
        .bind(seal(&next, &at, &key[..]).map_err(KeyError::from)?)
        .bind(seal(&now, &at, &key[..]).map_err(KeyError::from)?)
        .execute(&mut *tx)
        .await?;
        done.rewrapped += 1;
    }
    tx.commit().await?;
    Ok(done)
}

/// Ends the change: from now on the master key before opens nothing in the database. `typed` is the one there is, in hex.
///
/// # Errors
/// Also when a practice's key is not wrapped with it yet; nothing is forgotten then.
pub async fn forget_previous(config: &Config, typed: &str) -> Result<usize, MasterError> {
    let [now] = keys(typed)?;
    let mut connection = as_owner(config).await?;
    let mut tx = connection.begin().await?;
    let rows = rows(&mut tx).await?;
    for row in &rows {
        unwrap_key(&now, &place("practice", row.practice.0), &row.wrapped)
            .map_err(|_| MasterError::Closed(row.practice))?;
    }
    sqlx::query("UPDATE practice_keys SET previous_wrapped = NULL")
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(rows.len())
}

/// Whether this box's master key opens every practice's key. Gives how many there are.
///
/// # Errors
/// [`MasterError::Closed`] names the first that it does not.
pub async fn check_keys(config: &Config) -> Result<usize, MasterError> {
    let master = read_key(&config.master_key)?;
    let mut connection = as_owner(config).await?;
    let mut tx = connection.begin().await?;
    let rows = rows(&mut tx).await?;
    for row in &rows {
        unwrap_practice(&master, row.practice, &row.wrapped, row.previous.as_deref())
            .map_err(|_| MasterError::Closed(row.practice))?;
    }
    Ok(rows.len())
}

fn keys<const N: usize>(typed: &str) -> Result<[Secret; N], MasterError> {
    let read = typed
        .lines()
        .map(|line| {
            let mut key = Zeroizing::new([0; 32]);
            hex::decode_to_slice(line.trim(), &mut key[..]).ok()?;
            Some(key)
        })
        .collect::<Option<Vec<_>>>();
    read.and_then(|keys| keys.try_into().ok())
        .ok_or(MasterError::Typed(N))
}
