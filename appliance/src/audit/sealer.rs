//! Seals what is not yet sealed, within a second, and keeps the signed head in a file outside Postgres.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ed25519_dalek::SigningKey;
use hadada_audit_log::head::{HeadError, NotContinued};
use hadada_audit_log::{Event, Head, Leaf, Seal};
use sqlx::PgConnection;
use time::OffsetDateTime;
use tokio::io::AsyncWriteExt;
use tokio_util::sync::CancellationToken;

use super::{Accepted, store};
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

/// How far sealing has come, and whether it goes on.
#[derive(Clone, Debug, serde::Serialize)]
pub struct SealingState {
    /// Events under a seal.
    pub sealed: i64,
    /// Number of the newest seal, 0 before the first.
    pub seq: i64,
    /// When the newest seal was made, UTC.
    #[serde(with = "time::serde::rfc3339::option")]
    pub sealed_at: Option<OffsetDateTime>,
    /// Events of every practice that wait for their seal.
    pub unsealed: i64,
    /// When the oldest of them happened, UTC.
    #[serde(with = "time::serde::rfc3339::option")]
    pub oldest_unsealed: Option<OffsetDateTime>,
    /// Why nothing is sealed, where the log was tampered with.
    pub refusal: Option<String>,
}

/// Why nothing may be sealed on the chain as it stands: a new signature would cover up what happened to it.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error(transparent)]
    NotContinued(#[from] NotContinued),
    #[error("the head file {} can't be trusted: {cause}", path.display())]
    Head { path: PathBuf, cause: HeadError },
    #[error("the head file {} can't be read although seals exist: {cause}", path.display())]
    NoHead {
        path: PathBuf,
        cause: std::io::Error,
    },
    #[error("neither this box nor its head signed the newest seal in the database, {seq}")]
    Forged { seq: i64 },
    #[error("seal {seq} in the database is not the one that the head outside the database names")]
    Replaced { seq: i64 },
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
        let head = self.read_head().await;
        let previous = match self.newest_trusted(&mut tx, head).await? {
            Ok(newest) => newest,
            Err(refusal) => return Err(Error::internal(refusal)),
        };
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
        let head = Head::sign(&seal, &self.key);
        if previous.is_none() {
            // A crash between the two writes below would leave a first seal without a head, as a cut log has it.
            self.write(&self.first_head(), &head)
                .await
                .map_err(Error::internal)?;
        }
        tx.commit().await?;
        self.write_head(&head).await.map_err(Error::internal)?;
        Ok(leaves.len())
    }

    /// The head of the very first seal, from before it is committed until it is the head.
    fn first_head(&self) -> PathBuf {
        self.head.with_extension("first")
    }

    /// After a crash at the very first seal: what was to be its head becomes it, where that is the seal in the database.
    ///
    /// # Errors
    /// When the database does not answer or the folder can't be written.
    pub async fn settle_first(&self) -> Result<()> {
        let first = self.first_head();
        let Ok(json) = tokio::fs::read_to_string(&first).await else {
            return Ok(());
        };
        let missing =
            matches!(self.read_head().await, Err(e) if e.kind() == std::io::ErrorKind::NotFound);
        let mut connection = self.db.records.acquire().await?;
        let newest = store::newest_seal(&mut connection).await?;
        let head = Head::from_json(&json, &self.public_key()).ok();
        match (head, newest) {
            (Some(head), Some(seal))
                if missing && seal.seq == head.seq && seal.hash() == head.seal =>
            {
                self.write_head(&head).await.map_err(Error::internal)?;
                tracing::info!("the first seal's head was put in place after a crash");
            }
            _ => {}
        }
        tokio::fs::remove_file(&first)
            .await
            .map_err(Error::internal)
    }

    /// The newest seal, if the chain continues the head outside Postgres: sealing on anything else would hide a cut tail.
    async fn newest_trusted(
        &self,
        conn: &mut PgConnection,
        head: std::io::Result<String>,
    ) -> Result<Result<Option<Seal>, Refusal>> {
        let newest = store::newest_seal(conn).await?;
        let path = || self.head.clone();
        let json = match head {
            Ok(json) => json,
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound && newest.is_none() => {
                return Ok(Ok(None));
            }
            Err(cause) => {
                return Ok(Err(Refusal::NoHead {
                    path: path(),
                    cause,
                }));
            }
        };
        let head = match Head::from_json(&json, &self.public_key()) {
            Ok(head) => head,
            Err(cause) => {
                return Ok(Err(Refusal::Head {
                    path: path(),
                    cause,
                }));
            }
        };
        if let Err(refusal) = head.check_continued_by(newest.as_ref()) {
            return Ok(Err(refusal.into()));
        }
        // A seal of the machine before this one stands where this box's head names it: somebody accepted it.
        if let Some(Seal { seq, .. }) = newest
            .as_ref()
            .filter(|seal| !seal.is_signed_by(&self.public_key()) && seal.hash() != head.seal)
        {
            return Ok(Err(Refusal::Forged { seq: *seq }));
        }
        // Where the database is ahead of the head, what the head has seen must still be there.
        let seen = store::seals_after(conn, Some(head.seq - 1), 1).await?.pop();
        if seen.is_none_or(|seal| seal.seq != head.seq || seal.hash() != head.seal) {
            return Ok(Err(Refusal::Replaced { seq: head.seq }));
        }
        Ok(Ok(newest))
    }

    /// Makes the newest seal in the database the head, whatever the head was. The chain below it must hold together, so that
    /// what is accepted is a whole log, if another one than before.
    pub(super) async fn accept_head(&self) -> Result<Accepted> {
        let mut tx = self.db.records.begin().await?;
        store::lock_sealing(&mut tx).await?;
        let old = self.read_head().await.ok();
        let old = old.and_then(|json| serde_json::from_str::<Head>(&json).ok());
        let mut before: Option<Seal> = None;
        let mut after = i64::MIN;
        loop {
            let seals = store::seals_after(&mut tx, Some(after), 500).await?;
            if seals.is_empty() {
                break;
            }
            for seal in seals {
                after = seal.seq;
                let (seq, total, hash) = before
                    .as_ref()
                    .map_or((0, 0, None), |b| (b.seq, b.total, Some(b.hash())));
                if seal.seq != seq + 1
                    || seal.total != total + i64::from(seal.count)
                    || hash.is_some_and(|hash| seal.previous != hash)
                {
                    return Err(Error::conflict(format!(
                        "The restored log does not hold together at seal {}: run `hadadactl audit verify` and restore another backup.",
                        seal.seq
                    )));
                }
                before = Some(seal);
            }
        }
        let new = match before {
            Some(newest) => {
                let head = Head::sign(&newest, &self.key);
                self.write_head(&head).await.map_err(Error::internal)?;
                head.slip().to_string()
            }
            // Restored to before the first seal: the head that knew of later ones is kept beside.
            None => {
                match tokio::fs::rename(&self.head, self.head.with_extension("replaced")).await {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                        return Err(Error::internal(error));
                    }
                    _ => "none".to_owned(),
                }
            }
        };
        tx.rollback().await?;
        Ok(Accepted {
            old: old.map(|head| head.slip().to_string()),
            new,
        })
    }

    async fn read_head(&self) -> std::io::Result<String> {
        tokio::fs::read_to_string(&self.head).await
    }

    /// How far sealing has come, and why it does not go on if it does not.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn state(&self) -> Result<SealingState> {
        // The head first: meanwhile the chain may only grow past it.
        let head = self.read_head().await;
        let mut connection = self.db.records.acquire().await?;
        let refusal = self.newest_trusted(&mut connection, head).await?.err();
        store::state(&mut connection, refusal.map(|r| r.to_string())).await
    }

    /// Replaces the head file so that a power cut leaves the old or the new one, never half.
    async fn write_head(&self, head: &Head) -> std::io::Result<()> {
        self.write(&self.head, head).await
    }

    async fn write(&self, path: &Path, head: &Head) -> std::io::Result<()> {
        let fresh = path.with_extension("new");
        let mut file = tokio::fs::File::create(&fresh).await?;
        file.write_all(head.to_json().as_bytes()).await?;
        file.sync_all().await?;
        tokio::fs::rename(&fresh, path).await?;
        if let Some(folder) = path.parent() {
            tokio::fs::File::open(folder).await?.sync_all().await?;
        }
        Ok(())
    }

    /// Seals until told to stop, then once more.
    pub async fn run(self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(Duration::from_millis(500));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut failing = false;
        let mut settled = false;
        loop {
            let stopping = tokio::select! {
                _ = ticks.tick() => false,
                () = stop.cancelled() => true,
            };
            if !settled {
                settled = self.settle_first().await.is_ok();
            }
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
