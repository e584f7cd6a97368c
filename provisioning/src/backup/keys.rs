//! What opens the backups, and what signs the ledger of them.

use anyhow::{Context, Result};
use ed25519_dalek::{SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::place::Place;
use crate::secrets::{self, BACKUP_KEY, RECOVERY_BACKUP_KEY};
use crate::trust::recovery::{RecoveryKey, derive};

/// Which of a target's two repositories.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Repository {
    /// The records, whose free text only the keys open: kept for years.
    Records,
    /// Everything that holds patients' wrapped keys: kept for less than 30 days.
    Keys,
}

impl Repository {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Records, Self::Keys];

    /// Its folder's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Records => "records",
            Self::Keys => "keys",
        }
    }
}

/// The secrets that open a box's backups.
pub struct BackupKeys {
    /// The box's own; none where only the paper is there.
    own: Option<Zeroizing<[u8; 32]>>,
    recovery: Zeroizing<[u8; 32]>,
}

impl BackupKeys {
    /// The box's.
    ///
    /// # Errors
    /// When one is missing.
    pub fn of_box(place: &Place) -> Result<Self> {
        Ok(Self {
            own: Some(secrets::key(place, BACKUP_KEY)?),
            recovery: secrets::key(place, RECOVERY_BACKUP_KEY).context(
                "a box of an earlier release lets its recovery key open the backups with `hadadactl recovery allow-backups`",
            )?,
        })
    }

    /// The paper's.
    pub fn of_paper(paper: &RecoveryKey) -> Self {
        Self {
            own: None,
            recovery: paper.backup_secret(),
        }
    }

    /// These, with another key of the box's own.
    pub fn with_own(&self, own: Zeroizing<[u8; 32]>) -> Self {
        Self {
            own: Some(own),
            recovery: self.recovery.clone(),
        }
    }

    /// The password that opens a repository.
    pub fn password(&self, repository: Repository) -> Zeroizing<String> {
        password(self.own.as_ref().unwrap_or(&self.recovery), repository)
    }

    /// The password by which the paper opens a repository.
    pub fn recovery_password(&self, repository: Repository) -> Zeroizing<String> {
        password(&self.recovery, repository)
    }

    /// Signs the ledger and the drill's reports. The paper leads to it too, so that new hardware can tell the box's own
    /// ledger from one that somebody put beside it.
    pub fn signing(&self) -> SigningKey {
        SigningKey::from_bytes(&derive(
            None,
            &self.recovery[..],
            b"hadada backup ledger v1",
        ))
    }

    /// Its public half.
    pub fn verifying(&self) -> VerifyingKey {
        self.signing().verifying_key()
    }
}

/// Each repository has its own, so that a password lent for the records opens no keys.
fn password(secret: &[u8; 32], repository: Repository) -> Zeroizing<String> {
    let label = format!("hadada restic {} v1", repository.name());
    Zeroizing::new(hex::encode(&derive(None, secret, label.as_bytes())[..]))
}
