//! New hardware: the practices' keys are opened with the recovery key from paper and wrapped with this box's master key.

use hadada_audit_log::paper;
use sha2::{Digest, Sha256};
use sqlx::{Connection, PgConnection, postgres::PgConnectOptions};
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

use super::ring::{KeyError, open_recovery, place, read_key, unwrap_key, wrap_to_recovery};
use super::seal::seal;
use crate::config::Config;
use crate::ids::PracticeId;

/// What the checksum on the paper is over, before the key itself.
const CHECKED: &[u8] = b"hadada recovery key v1\0";

/// Why the keys could not be wrapped anew. Then none was changed.
#[derive(Debug, thiserror::Error)]
pub enum RewrapError {
    /// What was typed is no recovery key.
    #[error(
        "this is not a recovery key: it has 14 groups of four letters and digits, and its last ones are a checksum"
    )]
    Paper,
    /// It is a recovery key, but not the one these keys were wrapped to.
    #[error("this recovery key does not open the key of practice {0}: it is another box's")]
    Other(PracticeId),
    /// A key file is missing or damaged.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The keys database can't be reached as its owner.
    #[error("the database of keys can't be reached as its owner: {0}")]
    Database(#[from] sqlx::Error),
}

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rewrapped {
    /// Practices in the database of keys.
    pub practices: usize,
    /// Keys wrapped anew.
    pub rewrapped: usize,
    /// Keys that this box's master key opens already.
    pub kept: usize,
}

/// Wraps every practice's key with this box's master key, and to this box's recovery key where that is another one; all in one
/// transaction.
///
/// # Errors
/// [`RewrapError`]; nothing is changed then.
pub async fn rewrap(config: &Config, paper_key: &str) -> Result<Rewrapped, RewrapError> {
    let secret = from_paper(paper_key).ok_or(RewrapError::Paper)?;
    let master = read_key(&config.master_key)?;
    let recovery = PublicKey::from(*read_key(&config.recovery_key)?);
    let same_recovery = PublicKey::from(&secret) == recovery;
    let mut connection = as_owner(config).await?;
    let mut tx = connection.begin().await?;
    let rows: Vec<(PracticeId, Vec<u8>, Vec<u8>)> = sqlx::query_as(
        "SELECT practice_id, wrapped, recovery_wrapped FROM practice_keys ORDER BY practice_id FOR UPDATE",
    )
    .fetch_all(&mut *tx)
    .await?;
    let mut done = Rewrapped {
        practices: rows.len(),
        ..Rewrapped::default()
    };
    for (practice, wrapped, recovery_wrapped) in rows {
        let at = place("practice", practice.0);
        let opens = unwrap_key(&master, &at, &wrapped).is_ok();
        if opens && same_recovery {
            done.kept += 1;
            continue;
        }
        let key = open_recovery(practice, &secret, &recovery_wrapped)
            .map_err(|_| RewrapError::Other(practice))?;
        let wrapped = seal(&master, &at, &key[..]).map_err(KeyError::from)?;
        let recovery_wrapped = wrap_to_recovery(&recovery, practice, &key)?;
        sqlx::query(
            "UPDATE practice_keys SET wrapped = $2, recovery_wrapped = $3, previous_wrapped = NULL WHERE practice_id = $1",
        )
        .bind(practice)
        .bind(wrapped)
        .bind(recovery_wrapped)
        .execute(&mut *tx)
        .await?;
        done.rewrapped += 1;
    }
    tx.commit().await?;
    Ok(done)
}

/// A connection to the database of keys that sees every practice's.
pub(super) async fn as_owner(config: &Config) -> Result<PgConnection, sqlx::Error> {
    let options = PgConnectOptions::new()
        .socket(&config.postgres)
        .username(&config.owner_role)
        .database(&config.keys_database);
    PgConnection::connect_with(&options).await
}

/// Reads the key from paper: 32 bytes and three of a checksum. `hadadactl recovery check` reads the same.
fn from_paper(text: &str) -> Option<StaticSecret> {
    let bytes = Zeroizing::new(paper::decode(text)?);
    let (secret, check) = bytes.split_first_chunk::<32>()?;
    let hash = Sha256::new()
        .chain_update(CHECKED)
        .chain_update(secret)
        .finalize();
    (check == &hash[..3]).then(|| StaticSecret::from(*secret))
}
