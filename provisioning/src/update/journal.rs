//! What is under way, on the disk before it is done: whatever ends this program, the next one knows where it was.

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::home::Home;
use crate::files;
use crate::release::version::Version;

/// The steps, in order. Until [`Step::Stop`] nothing that runs has changed; from [`Step::Confirm`] on the new release stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Step {
    /// Metadata into a folder that only root enters.
    Copy,
    /// Signatures, versions, expiry, product, counter; then the bundle's hash.
    Verify,
    /// Room for all that follows.
    Space,
    /// The release's files into their own folder.
    Unpack,
    /// A backup, and a dump of the databases.
    Snapshot,
    /// The dump into scratch databases, migrated by the new release.
    Clone,
    /// The migrations only add, and the old release works on the migrated copy.
    Check,
    /// The practice's programs.
    Stop,
    /// The databases.
    Migrate,
    /// `current` from the old release to the new.
    Flip,
    /// Unit files.
    Units,
    /// The practice's programs again.
    Start,
    /// The new release says who it is, and that it works.
    Health,
    /// The counter, the guard; the old release becomes the spare one.
    Confirm,
}

impl Step {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::Copy,
        Self::Verify,
        Self::Space,
        Self::Unpack,
        Self::Snapshot,
        Self::Clone,
        Self::Check,
        Self::Stop,
        Self::Migrate,
        Self::Flip,
        Self::Units,
        Self::Start,
        Self::Health,
        Self::Confirm,
    ];

    /// Its place, from 1.
    pub fn number(self) -> usize {
        self as usize + 1
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Copy => "copy",
            Self::Verify => "verify",
            Self::Space => "space",
            Self::Unpack => "unpack",
            Self::Snapshot => "snapshot",
            Self::Clone => "clone",
            Self::Check => "check",
            Self::Stop => "stop",
            Self::Migrate => "migrate",
            Self::Flip => "flip",
            Self::Units => "units",
            Self::Start => "start",
            Self::Health => "health",
            Self::Confirm => "confirm",
        }
    }

    /// What happens in it, for people.
    pub fn said(self) -> &'static str {
        match self {
            Self::Copy => "taking a private copy of what is offered",
            Self::Verify => "checking who signed it",
            Self::Space => "looking for room",
            Self::Unpack => "unpacking",
            Self::Snapshot => "saving the records as they are",
            Self::Clone => "trying the change on a copy of the records",
            Self::Check => "checking that the old release would still work after it",
            Self::Stop => "stopping the practice's programs",
            Self::Migrate => "changing the databases",
            Self::Flip => "switching to the new release",
            Self::Units => "installing its units",
            Self::Start => "starting the practice's programs",
            Self::Health => "waiting until the new release works",
            Self::Confirm => "keeping it",
        }
    }
}

/// An update, or the way back to the release before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// To a release that was offered.
    Update,
    /// Back, because somebody asked for it.
    Revert,
}

/// What is under way. A newer release's program may read what an older one's wrote: fields are only ever added.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Journal {
    /// Tells it from others in the history.
    pub id: String,
    /// What it is.
    pub kind: Kind,
    /// When it began.
    #[serde(with = "time::serde::rfc3339")]
    pub began: OffsetDateTime,
    /// Where the release came from, for people.
    pub source: String,
    /// The step that is being done.
    pub step: Step,
    /// The release in use before.
    pub from: Version,
    /// The release it is to be; known once it is verified.
    pub to: Option<Version>,
    /// That release's counter.
    #[serde(default)]
    pub counter: Option<u64>,
    /// Why somebody let expired metadata pass.
    #[serde(default)]
    pub accepted_expired: Option<String>,
    /// Whether the drafting service worked before.
    #[serde(default)]
    pub drafting_before: bool,
    /// What went wrong, once the way back has begun.
    #[serde(default)]
    pub failure: Option<String>,
    /// Until when somebody must confirm.
    #[serde(default, with = "time::serde::rfc3339::option")]
    pub waits_until: Option<OffsetDateTime>,
}

impl Journal {
    /// The one under way, if any.
    ///
    /// # Errors
    /// When there is one that can't be read.
    pub fn read(home: &Home) -> Result<Option<Self>> {
        let path = home.journal();
        files::read_if_there(&path)?
            .map(|bytes| {
                serde_json::from_slice(&bytes)
                    .with_context(|| format!("{} can't be read", path.display()))
            })
            .transpose()
    }

    /// Puts it on the disk.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn save(&self, home: &Home) -> Result<()> {
        files::replace(&home.journal(), 0o644, &serde_json::to_vec_pretty(self)?)
    }

    /// Nothing is under way any more.
    ///
    /// # Errors
    /// When it can't be removed.
    pub fn clear(home: &Home) -> Result<()> {
        files::remove_file(&home.journal())?;
        files::sync_folder_of(&home.journal())
    }
}
