//! Turns at a repository. restic refuses to remove anything while something else is written, and the other way round; the
//! box's own commands wait for one another instead. Adding and reading go on beside each other; removing goes alone.

use std::fmt;
use std::fs::File;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::keys::Repository;
use super::settings::Target;
use super::{ledger, say};
use crate::place::Place;
use crate::programs::LONG;

/// How often it is looked whether a turn has come.
const LOOK: Duration = Duration::from_millis(50);
/// After this wait somebody who watches is told.
const SILENT: Duration = Duration::from_secs(3);

/// Who may use one repository of one target when.
pub struct Turns {
    place: Place,
    name: String,
    target: String,
    patience: Duration,
}

/// A turn, for as long as it lives. A process that dies gives its turn up.
pub struct Turn {
    _file: File,
}

/// A turn did not come in time.
#[derive(Debug)]
pub struct Busy {
    target: String,
}

impl fmt::Display for Busy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "another hadadactl is busy at the backup target {}: it removes old backups, or makes or reads one. This passes by \
             itself",
            self.target
        )
    }
}

impl std::error::Error for Busy {}

impl Turns {
    /// At this repository, with as much patience as any command may need.
    pub fn of(place: &Place, target: &Target, repository: Repository) -> Self {
        Self {
            place: place.clone(),
            name: format!("{}-{}", target.name, repository.name()),
            target: target.name.clone(),
            patience: LONG,
        }
    }

    /// How long a turn is waited for from now on.
    pub fn waiting(&mut self, patience: Duration) {
        self.patience = patience;
    }

    /// A turn to add or to read, beside others that do.
    ///
    /// # Errors
    /// [`Busy`] when something is being removed for longer than there is patience.
    pub fn beside(&self) -> Result<Turn> {
        self.wait(FlockOperation::NonBlockingLockShared)
    }

    /// A turn to remove, with nobody else there.
    ///
    /// # Errors
    /// [`Busy`] when others are there for longer than there is patience.
    pub fn alone(&self) -> Result<Turn> {
        self.wait(FlockOperation::NonBlockingLockExclusive)
    }

    /// As [`Turns::alone`], but none where it would have to wait.
    ///
    /// # Errors
    /// When the turn can't be asked for.
    pub fn alone_now(&self) -> Result<Option<Turn>> {
        let file = ledger::lock_file(&self.place, &self.name)?;
        Ok(self
            .is_given(&file, FlockOperation::NonBlockingLockExclusive)?
            .then_some(Turn { _file: file }))
    }

    fn is_given(&self, file: &File, how: FlockOperation) -> Result<bool> {
        match flock(file, how) {
            Ok(()) => Ok(true),
            Err(Errno::WOULDBLOCK | Errno::INTR) => Ok(false),
            Err(error) => Err(error).with_context(|| format!("can't wait for {}", self.name)),
        }
    }

    fn wait(&self, how: FlockOperation) -> Result<Turn> {
        let file = ledger::lock_file(&self.place, &self.name)?;
        let began = Instant::now();
        let mut told = false;
        loop {
            if self.is_given(&file, how)? {
                return Ok(Turn { _file: file });
            }
            if began.elapsed() > self.patience {
                return Err(Busy {
                    target: self.target.clone(),
                }
                .into());
            }
            if !told && began.elapsed() > SILENT {
                told = true;
                say(&format!(
                    "  waiting: another hadadactl is busy at the backup target {}",
                    self.target
                ));
            }
            thread::sleep(LOOK);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turns(folder: &std::path::Path) -> Turns {
        let target = Target {
            name: "usb".into(),
            ..Target::default()
        };
        let mut turns = Turns::of(&Place::folder(folder.to_owned()), &target, Repository::Keys);
        turns.waiting(Duration::ZERO);
        turns
    }

    #[test]
    fn what_is_added_is_added_beside_others_and_what_is_removed_alone() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = (turns(folder.path()), turns(folder.path()));
        let adding = one.beside().unwrap();
        let reading = other.beside().unwrap();
        assert!(other.alone_now().unwrap().is_none());
        assert!(other.alone().is_err_and(|error| error.is::<Busy>()));
        drop((adding, reading));
        let removing = other.alone().unwrap();
        assert!(one.beside().is_err_and(|error| error.is::<Busy>()));
        assert!(one.alone_now().unwrap().is_none());
        drop(removing);
        assert!(one.alone_now().unwrap().is_some());
    }

    #[test]
    fn a_turn_comes_when_the_other_ends() {
        let folder = tempfile::tempdir().unwrap();
        let first = turns(folder.path()).beside().unwrap();
        let (say, heard) = std::sync::mpsc::channel();
        let waiting = thread::spawn({
            let folder = folder.path().to_owned();
            move || {
                let mut turns = turns(&folder);
                turns.waiting(Duration::from_secs(600));
                say.send(turns.alone_now().unwrap().is_none()).unwrap();
                turns.alone().map(drop)
            }
        });
        assert!(heard.recv().unwrap(), "it did not have to wait");
        drop(first);
        waiting.join().unwrap().unwrap();
    }
}
