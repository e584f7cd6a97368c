//! Seals what is not yet sealed, within a second, and keeps the signed head in a file outside Postgres.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ed25519_dalek::SigningKey;
use hadada_audit_log::{Event, Head, Leaf, Seal};
use time::OffsetDateTime;
use tokio::io::AsyncWriteExt;
use tokio_util::sync::CancellationToken;

use super::store;
use crate::clock::Clock;
use crate::db::Db;
use crate::error::{Error, Result};

/// Most events in one seal.
const BATCH: i32 = 5_000;

/// Signs batches of events with the box's key.
#[derive(Clone)]
pub struct Sealer {
    db: Db,
    clock: Clock,
    key: SigningKey,
    head: PathBuf,
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sealer(…)")
    }
}

/// How far sealing has come.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct SealingState {
    /// Events under a seal.
    pub sealed: i64,
    /// Number of the newest seal, 0 before the first.
    pub seq: i64,
    /// When the newest seal was made, UTC.
    #[serde(with = "time::serde::rfc3339::option")]
    pub sealed_at: Option<OffsetDateTime>,
}

impl Sealer {
    /// Reads the signing key: 32 bytes.
    ///
    /// # Errors
    /// When the file can't be read or has the wrong length.
    pub fn load(db: Db, clock: Clock, key: &Path, head: &Path) -> Result<Self> {
        let bytes = std::fs::read(key).map_err(Error::internal)?;
        let secret: [u8; 32] = bytes.try_into().map_err(|b: Vec<u8>| {
            Error::internal(format!("{} has {} bytes, not 32", key.display(), b.len()))
        })?;
        Ok(Self {
            db,
            clock,
            key: SigningKey::from_bytes(&secret),
            head: head.into(),
        })
    }

    /// The public half of the key.
    #[must_use]
    pub fn public_key(&self) -> ed25519_dalek::VerifyingKey {
        self.key.verifying_key()
    }

    /// Seals one batch and writes the head. Gives the number of events sealed.
    ///
    /// # Errors
    /// When the database does not answer, or the head file can't be written: the seal stands all the same.
    pub async fn seal_once(&self) -> Result<usize> {
        let mut tx = self.db.records.begin().await?;
        store::lock_sealing(&mut tx).await?;
        let rows = store::unsealed(&mut tx, BATCH).await?;
        if rows.is_empty() {
            tx.rollback().await?;
            return Ok(0);
        }
        let previous = store::newest_seal(&mut tx).await?;
        self.check_head(previous.as_ref()).await?;
        let practices: std::collections::HashMap<uuid::Uuid, uuid::Uuid> =
            rows.iter().map(|e| (e.id, e.practice_id)).collect();
        let mut leaves: Vec<Leaf> = rows
            .iter()
            .map(|e: &Event| Leaf {
                event_id: e.id,
                hash: e.leaf_hash(),
            })
            .collect();
        let now = store::micros(self.clock.now());
        let seal =
            Seal::sign(previous.as_ref(), &mut leaves, now, &self.key).map_err(Error::internal)?;
        store::insert_seal(&mut tx, &seal, &leaves, &practices).await?;
        tx.commit().await?;
        self.write_head(&Head::sign(&seal, &self.key))
            .await
            .map_err(Error::internal)?;
        Ok(leaves.len())
    }

    /// Refuses to seal on a chain that does not continue the head outside Postgres: sealing on would hide a cut tail.
    async fn check_head(&self, newest: Option<&Seal>) -> Result<()> {
        match tokio::fs::read_to_string(&self.head).await {
            Ok(json) => {
                let head = Head::from_json(&json, &self.public_key()).map_err(Error::internal)?;
                head.check_continued_by(newest).map_err(Error::internal)
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && newest.is_none() => Ok(()),
            Err(e) => Err(Error::internal(format!(
                "the head file {} can't be read although seals exist: {e}",
                self.head.display()
            ))),
        }
    }

    /// Replaces the head file so that a power cut leaves the old or the new one, never half.
    async fn write_head(&self, head: &Head) -> std::io::Result<()> {
        let fresh = self.head.with_extension("new");
        let mut file = tokio::fs::File::create(&fresh).await?;
        file.write_all(head.to_json().as_bytes()).await?;
        file.sync_all().await?;
        tokio::fs::rename(&fresh, &self.head).await?;
        if let Some(folder) = self.head.parent() {
            tokio::fs::File::open(folder).await?.sync_all().await?;
        }
        Ok(())
    }

    /// Seals until told to stop, then once more.
    pub async fn run(self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(Duration::from_millis(500));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut failing = false;
        loop {
            let stopping = tokio::select! {
                _ = ticks.tick() => false,
                () = stop.cancelled() => true,
            };
            loop {
                match self.seal_once().await {
                    Ok(sealed) => {
                        failing = false;
                        if i32::try_from(sealed).unwrap_or(i32::MAX) < BATCH {
                            break;
                        }
                    }
                    Err(error) => {
                        if !failing {
                            tracing::error!(error = ?error, "audit events wait for their seal");
                        }
                        failing = true;
                        break;
                    }
                }
            }
            if stopping {
                return;
            }
        }
    }
}
