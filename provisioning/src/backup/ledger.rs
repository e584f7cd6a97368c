//! The ledger: which snapshots this box made, and what is in them. It is signed, kept on the box and in each repository, and
//! is the only thing that forgetting and restoring go by: what others put into a repository is no part of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use ed25519_dalek::{Signature, Signer, VerifyingKey};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use time::OffsetDateTime;

use super::keys::{BackupKeys, Repository};
use crate::files;
use crate::place::Place;
use crate::programs::Account;

/// Every snapshot that this box made and has not removed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Ledger {
    /// Grows with each change; of two ledgers the higher is the newer.
    pub sequence: u64,
    pub entries: Vec<Entry>,
    /// Runs that began and have not ended: a snapshot with such a tag is a leftover.
    pub begun: Vec<Begun>,
    /// Snapshots that a later one replaces.
    pub superseded: Vec<Superseded>,
}

/// A run that began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begun {
    /// `nightly`, `base` or `wal`: one of each goes on at a time.
    pub kind: String,
    pub target: String,
    pub run: String,
}

/// A snapshot that holds nothing a later one does not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Superseded {
    pub target: String,
    pub repository: Repository,
    pub snapshot: String,
}

/// One snapshot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    pub target: String,
    pub repository: Repository,
    /// 64 hex digits.
    pub snapshot: String,
    /// The run that made it; what one run made belongs together.
    pub run: String,
    /// By this box's clock when it was whole.
    #[serde(with = "time::serde::rfc3339")]
    pub made_at: OffsetDateTime,
    pub what: What,
    /// When it was last restored and found good.
    #[serde(default, with = "time::serde::rfc3339::option")]
    pub verified_at: Option<OffsetDateTime>,
}

/// What a snapshot holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// The records, as `pg_dump` writes them.
    Records(Dump),
    /// The wrapped keys, so too.
    Keys(Dump),
    /// The patients' files, the audit log's head and the register of erasures, of after the dump.
    Files {
        /// The box's folder, which the names in the snapshot begin with.
        state: PathBuf,
    },
    /// A copy of the database's files.
    Base(Base),
    /// A piece of the database's log.
    Wal(Wal),
    /// A copy of this ledger, and what only the recovery key opens.
    Ledger {
        /// As for files.
        state: PathBuf,
    },
}

/// A logical dump.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Dump {
    pub bytes: u64,
    /// Of the whole stream, in hex.
    pub sha256: String,
    /// Rows in each table, in the same snapshot of the database.
    pub counts: BTreeMap<String, u64>,
    /// Answers to questions about the content, in the same snapshot of the database.
    pub golden: BTreeMap<String, String>,
    /// When the newest event of the audit log happened.
    #[serde(default, with = "time::serde::rfc3339::option")]
    pub newest: Option<OffsetDateTime>,
    /// The audit log's signed head just before the dump, which the log in the dump must reach.
    pub head: Option<String>,
}

/// A base backup.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Base {
    pub bytes: u64,
    /// Of the whole stream, in hex.
    pub sha256: String,
    /// Which cluster's.
    pub system: String,
    /// The first log file it needs.
    pub start: String,
}

/// Files of the database's log, one after the other without a gap.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Wal {
    /// Which cluster's.
    pub system: String,
    /// In order.
    pub files: Vec<String>,
    /// The folder that was theirs.
    pub state: PathBuf,
}

impl Entry {
    /// The dump, where it is one of the records.
    pub fn records(&self) -> Option<&Dump> {
        match &self.what {
            What::Records(dump) => Some(dump),
            _ => None,
        }
    }

    pub fn base(&self) -> Option<&Base> {
        match &self.what {
            What::Base(base) => Some(base),
            _ => None,
        }
    }

    pub fn wal(&self) -> Option<&Wal> {
        match &self.what {
            What::Wal(wal) => Some(wal),
            _ => None,
        }
    }
}

/// What one nightly run keeps, as far as it was made whole.
#[derive(Debug, Clone)]
pub struct Set {
    pub records: Entry,
    pub keys: Option<Entry>,
    pub files: Entry,
}

impl Ledger {
    /// The whole sets at a target, oldest first. The keys of old ones are gone, as promised.
    pub fn sets(&self, target: &str) -> Vec<Set> {
        let here = |entry: &&Entry| entry.target == target;
        let mut sets: Vec<Set> = self
            .entries
            .iter()
            .filter(here)
            .filter(|entry| entry.records().is_some())
            .filter_map(|records| {
                let same = |entry: &&Entry| entry.target == target && entry.run == records.run;
                Some(Set {
                    files: self
                        .entries
                        .iter()
                        .find(|entry| same(entry) && matches!(entry.what, What::Files { .. }))?
                        .clone(),
                    keys: self
                        .entries
                        .iter()
                        .find(|entry| same(entry) && matches!(entry.what, What::Keys(_)))
                        .cloned(),
                    records: records.clone(),
                })
            })
            .collect();
        sets.sort_by_key(|set| set.records.made_at);
        sets
    }

    /// The base backups at a target, oldest first.
    pub fn bases(&self, target: &str) -> Vec<&Entry> {
        let mut bases: Vec<_> = self
            .entries
            .iter()
            .filter(|entry| entry.target == target && entry.base().is_some())
            .collect();
        bases.sort_by_key(|entry| entry.made_at);
        bases
    }

    /// The pieces of the log at a target, oldest first.
    pub fn wal(&self, target: &str) -> Vec<&Entry> {
        let mut pieces: Vec<_> = self
            .entries
            .iter()
            .filter(|entry| entry.target == target && entry.wal().is_some())
            .collect();
        pieces.sort_by_key(|entry| entry.made_at);
        pieces
    }

    /// The newest dump of the keys at a target.
    pub fn newest_keys(&self, target: &str) -> Option<&Entry> {
        self.entries
            .iter()
            .filter(|entry| entry.target == target && matches!(entry.what, What::Keys(_)))
            .max_by_key(|entry| entry.made_at)
    }

    /// Every snapshot of a repository that this box knows as its own.
    pub fn own(&self, target: &str, repository: Repository) -> BTreeSet<&str> {
        self.entries
            .iter()
            .filter(|entry| entry.target == target && entry.repository == repository)
            .map(|entry| entry.snapshot.as_str())
            .chain(
                self.superseded
                    .iter()
                    .filter(|old| old.target == target && old.repository == repository)
                    .map(|old| old.snapshot.as_str()),
            )
            .collect()
    }
}

/// Something signed, as it is kept: the very bytes that were signed, and the signature.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Signed {
    content: String,
    signature: String,
}

/// Signs a value; `kind` keeps one kind of document from being taken for another.
///
/// # Errors
/// When it has no JSON form.
pub fn sign(kind: &str, value: &impl Serialize, keys: &BackupKeys) -> Result<Vec<u8>> {
    let content = serde_json::to_string(value)?;
    let signature = keys.signing().sign(format!("{kind}\0{content}").as_bytes());
    let mut signed = serde_json::to_vec(&Signed {
        content,
        signature: hex::encode(signature.to_bytes()),
    })?;
    signed.push(b'\n');
    Ok(signed)
}

/// Reads what [`sign`] made.
///
/// # Errors
/// When somebody else made it or changed it.
pub fn verify<T: DeserializeOwned>(kind: &str, bytes: &[u8], key: &VerifyingKey) -> Result<T> {
    let signed: Signed = serde_json::from_slice(bytes).context("it is cut short or damaged")?;
    let mut signature = [0; 64];
    hex::decode_to_slice(&signed.signature, &mut signature).context("its signature is damaged")?;
    key.verify_strict(
        format!("{kind}\0{}", signed.content).as_bytes(),
        &Signature::from_bytes(&signature),
    )
    .ok()
    .context("this box did not sign it: it was changed or comes from elsewhere")?;
    serde_json::from_str(&signed.content).context("a later release wrote it")
}

const KIND: &str = "hadada backup ledger 1";

/// Where the box keeps it.
pub fn path(place: &Place) -> PathBuf {
    place.backup().join("ledger.json")
}

/// Reads a ledger's bytes.
///
/// # Errors
/// When the box did not sign them.
pub fn parse(bytes: &[u8], keys: &BackupKeys) -> Result<Ledger> {
    verify(KIND, bytes, &keys.verifying())
}

/// The box's ledger; an empty one where there is none yet.
///
/// # Errors
/// When it was changed by somebody else.
pub fn read(place: &Place, keys: &BackupKeys) -> Result<Ledger> {
    let path = path(place);
    match files::read_if_there(&path)? {
        Some(bytes) => parse(&bytes, keys).with_context(|| {
            format!(
                "{} can't be trusted. Move it away; `hadadactl backup setup` takes the copy from the target",
                path.display()
            )
        }),
        None => Ok(Ledger::default()),
    }
}

/// Changes the box's ledger, alone among all programs that would.
///
/// # Errors
/// When it can't be read or written, or the change itself fails; then nothing is changed.
pub fn update<T>(
    place: &Place,
    keys: &BackupKeys,
    change: impl FnOnce(&mut Ledger) -> Result<T>,
) -> Result<T> {
    let _alone = lock(place, "ledger")?;
    let mut ledger = read(place, keys)?;
    let before = ledger.clone();
    let answer = change(&mut ledger)?;
    if ledger != before {
        ledger.sequence = ledger.sequence.max(before.sequence) + 1;
        files::replace(&path(place), 0o640, &sign(KIND, &ledger, keys)?)?;
        give(place, &path(place))?;
    }
    Ok(answer)
}

/// Waits until no other program holds the lock of this name, and holds it as long as the answer lives.
///
/// # Errors
/// When the lock's file can't be made.
pub fn lock(place: &Place, name: &str) -> Result<File> {
    let file = lock_file(place, name)?;
    flock(&file, FlockOperation::LockExclusive).context("waiting for another backup command")?;
    Ok(file)
}

/// Another command of the same kind is running. What that one finds is what counts: this one has nothing to tell.
#[derive(Debug)]
pub struct AtIt;

impl fmt::Display for AtIt {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("another hadadactl is at it already: wait for it to end")
    }
}

impl std::error::Error for AtIt {}

/// As [`lock`], but without waiting.
///
/// # Errors
/// Also when another program holds it: [`AtIt`].
pub fn try_lock(place: &Place, name: &str) -> Result<File> {
    let file = lock_file(place, name)?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        return Err(AtIt.into());
    }
    Ok(file)
}

/// The file of the lock of this name.
///
/// # Errors
/// When it can't be made.
pub fn lock_file(place: &Place, name: &str) -> Result<File> {
    files::make_folder(&place.backup(), 0o755)?;
    let path = place.backup().join(format!("{name}.lock"));
    let file = File::options()
        .create(true)
        .append(true)
        .open(&path)
        .with_context(|| format!("can't open {}", path.display()))?;
    give(place, &path)?;
    Ok(file)
}

/// What root writes in a restore belongs to the account that backs up, like its folder.
fn give(place: &Place, path: &Path) -> Result<()> {
    Account::owner(&place.backup())?.own(path)
}

/// The mark of a new run: 32 hex digits.
///
/// # Errors
/// When this machine gives no random numbers.
pub fn new_run() -> Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)
        .map_err(|error| anyhow::anyhow!("this machine gives no random numbers: {error}"))?;
    Ok(hex::encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::recovery::RecoveryKey;

    #[test]
    fn a_changed_ledger_is_not_believed() {
        let keys = BackupKeys::of_paper(&RecoveryKey::new([1; 32]));
        let other = BackupKeys::of_paper(&RecoveryKey::new([2; 32]));
        let ledger = Ledger {
            sequence: 7,
            ..Ledger::default()
        };
        let bytes = sign(KIND, &ledger, &keys).unwrap();
        assert_eq!(parse(&bytes, &keys).unwrap(), ledger);
        assert!(parse(&bytes, &other).is_err());
        let changed = String::from_utf8(bytes.clone())
            .unwrap()
            .replace(":7", ":8");
        assert!(parse(changed.as_bytes(), &keys).is_err());
        assert!(verify::<Ledger>("another kind", &bytes, &keys.verifying()).is_err());
    }
}
