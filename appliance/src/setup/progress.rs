//! How far the wizard has come.

use uuid::Uuid;

use super::request::{Backup, Confirm, Target};
use crate::practices::Details;

/// A step of the wizard, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    Practice,
    Admin,
    Certificate,
    Backup,
    Recovery,
    Finish,
}

impl Step {
    pub(super) const ALL: [Self; 6] = [
        Self::Practice,
        Self::Admin,
        Self::Certificate,
        Self::Backup,
        Self::Recovery,
        Self::Finish,
    ];

    pub(super) fn path(self) -> &'static str {
        match self {
            Self::Practice => "/setup/practice",
            Self::Admin => "/setup/admin",
            Self::Certificate => "/setup/certificate",
            Self::Backup => "/setup/backup",
            Self::Recovery => "/setup/recovery",
            Self::Finish => "/setup/finish",
        }
    }

    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Practice => "Practice",
            Self::Admin => "First admin",
            Self::Certificate => "Certificate",
            Self::Backup => "Backup",
            Self::Recovery => "Recovery key",
            Self::Finish => "Open",
        }
    }
}

/// The first admin. The password is kept as its hash only.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct Admin {
    pub display_name: String,
    pub username: String,
    pub password_hash: String,
    pub it_mail: String,
}

/// What was asked of root about the certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct Certificate {
    pub request: Option<Uuid>,
    /// Unix seconds.
    pub asked_at: i64,
    /// `own` or `given`.
    pub source: String,
    pub hosts: String,
    pub done: bool,
}

/// What was asked of root about backups. Secrets are not kept here.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct BackupStep {
    pub request: Option<Uuid>,
    /// Unix seconds.
    pub asked_at: i64,
    pub described: String,
    /// What was typed, so that a mistake can be mended without typing it all again.
    #[serde(default)]
    pub typed: super::places::Typed,
    /// The target without secrets, to be tried again once its key was compared.
    pub sftp: Option<Target>,
    pub confirm: Option<Confirm>,
    pub outcome: Option<Backup>,
}

/// All of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub(super) struct Progress {
    pub practice: Option<Details>,
    pub admin: Option<Admin>,
    pub certificate: Certificate,
    pub backup: BackupStep,
    /// The groups of the recovery key that are asked for, once it was shown.
    pub recovery_groups: Option<[usize; 2]>,
    pub recovery_confirmed: bool,
    /// The practice, once it exists.
    pub practice_id: Option<crate::ids::PracticeId>,
}

impl Progress {
    pub(super) fn is_done(&self, step: Step) -> bool {
        match step {
            Step::Practice => self.practice.is_some(),
            Step::Admin => self.admin.is_some(),
            Step::Certificate => self.certificate.done,
            Step::Backup => self.backup.outcome.is_some(),
            Step::Recovery => self.recovery_confirmed,
            Step::Finish => self.practice_id.is_some(),
        }
    }

    /// The first step that is not done.
    pub(super) fn next(&self) -> Step {
        Step::ALL
            .into_iter()
            .find(|step| !self.is_done(*step))
            .unwrap_or(Step::Finish)
    }

    /// Whether a step can be opened: all before it are done.
    pub(super) fn may_open(&self, step: Step) -> bool {
        step <= self.next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_come_in_order_and_done_ones_can_be_opened_again() {
        let mut progress = Progress::default();
        assert_eq!(progress.next(), Step::Practice);
        assert!(!progress.may_open(Step::Admin));
        progress.practice = Some(Details::default());
        progress.admin = Some(Admin::default());
        assert_eq!(progress.next(), Step::Certificate);
        assert!(progress.may_open(Step::Practice) && !progress.may_open(Step::Backup));
        progress.certificate.done = true;
        progress.backup.outcome = Some(Backup::Skipped);
        progress.recovery_confirmed = true;
        assert_eq!(progress.next(), Step::Finish);
        let text = serde_json::to_string(&progress).unwrap();
        assert_eq!(serde_json::from_str::<Progress>(&text).unwrap(), progress);
    }
}
