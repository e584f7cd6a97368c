//! Where an update keeps what it needs.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rustix::fs::{FlockOperation, flock};

use crate::files;
use crate::place::Place;
use crate::release::version::Version;

/// The folders and files of updates, of one box.
#[derive(Debug, Clone)]
pub struct Home {
    place: Place,
}

impl Home {
    /// Those of a box.
    pub fn new(place: Place) -> Self {
        Self { place }
    }

    /// The box.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Holds everything here but the releases.
    pub fn folder(&self) -> PathBuf {
        self.place.state().join("update")
    }

    /// The vendor's root metadata that this box trusts.
    pub fn root(&self) -> PathBuf {
        self.folder().join("root.json")
    }

    /// The newest metadata seen, so that older can't be passed off as new.
    pub fn trust(&self) -> PathBuf {
        self.folder().join("trust")
    }

    /// The highest counter confirmed; also kept in the database.
    pub fn counter(&self) -> PathBuf {
        self.folder().join("counter.json")
    }

    /// What is under way.
    pub fn journal(&self) -> PathBuf {
        self.folder().join("journal.json")
    }

    /// What was.
    pub fn history(&self) -> PathBuf {
        self.folder().join("history.jsonl")
    }

    /// The signed list of times that somebody let expired metadata pass.
    pub fn overrides(&self) -> PathBuf {
        self.folder().join("overrides.jsonl")
    }

    /// The web program puts pushed updates here, as NAME.part and then, whole, as NAME.update.
    pub fn incoming(&self) -> PathBuf {
        self.folder().join("incoming")
    }

    /// Only root enters: nobody can swap what was verified.
    pub fn private(&self) -> PathBuf {
        self.folder().join("private")
    }

    /// What came from the mirror, by a user without rights; trusted no more than a stick.
    pub fn fetched(&self) -> PathBuf {
        self.folder().join("fetched")
    }

    /// A dump of the databases from before the update, for people; nothing restores it by itself.
    pub fn snapshot(&self) -> PathBuf {
        self.folder().join("snapshot")
    }

    /// Configuration and sockets for trying programs on a copy of the databases.
    pub fn trial(&self) -> PathBuf {
        self.folder().join("trial")
    }

    /// Written by `update confirm`.
    pub fn confirmation(&self) -> PathBuf {
        self.folder().join("confirmed")
    }

    /// Holds the releases, a folder each.
    pub fn releases(&self) -> PathBuf {
        self.place.programs().join("releases")
    }

    /// The folder of one.
    pub fn release(&self, version: Version) -> PathBuf {
        self.releases().join(version.to_string())
    }

    /// A link to the release in use.
    pub fn current(&self) -> PathBuf {
        self.place.programs().join("current")
    }

    /// A link to the one before.
    pub fn previous(&self) -> PathBuf {
        self.place.programs().join("previous")
    }

    /// A link to the last confirmed release, whose `hadadactl` guards the boot: a new one that does not even start must not be
    /// what takes itself back.
    pub fn guard(&self) -> PathBuf {
        self.place.programs().join("guard")
    }

    /// Where the machine's administrator (and this program) keeps units and what goes with them.
    pub fn etc(&self) -> PathBuf {
        self.place.root().join("etc")
    }

    /// Makes the folders that are not there.
    ///
    /// # Errors
    /// When one can't be made.
    pub fn prepare(&self) -> Result<()> {
        files::make_folder(&self.folder(), 0o755)?;
        for private in [self.trust(), self.private(), self.snapshot()] {
            files::make_folder(&private, 0o700)?;
        }
        files::make_folder(&self.releases(), 0o755)
    }

    /// Makes sure that only one update runs.
    ///
    /// # Errors
    /// When one does.
    pub fn lock(&self) -> Result<Lock> {
        self.prepare()?;
        self.try_lock()?.map_or_else(
            || {
                bail!(
                    "an update is under way already: `hadadactl update status` says how far it is"
                )
            },
            Ok,
        )
    }

    /// As [`Home::lock`], with none where one runs.
    ///
    /// # Errors
    /// When the lock can't be made.
    pub fn try_lock(&self) -> Result<Option<Lock>> {
        let path = self.folder().join("lock");
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .with_context(|| format!("can't open {}: run this as root", path.display()))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Lock { _file: file })),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error).with_context(|| format!("can't lock {}", path.display())),
        }
    }
}

/// Held while an update runs; the kernel lets go of it however this program ends.
pub struct Lock {
    _file: File,
}

/// The version a link in `/opt/hadada` points to.
pub fn version_of(link: &Path) -> Option<Version> {
    std::fs::read_link(link)
        .ok()?
        .file_name()?
        .to_str()?
        .parse()
        .ok()
}
