//! `reserve`: room kept on each disk, so that a full one stops writing and not reading.
//!
//! Every reading of a patient's record writes an audit event, so a disk without any room would stop reading too. A file holds
//! some room back; when the disk is full it is given up, a mark tells the web program to refuse writes, and once there is room
//! again the file comes back and the mark goes.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use rustix::fs::{FallocateFlags, fallocate};
use time::OffsetDateTime;

use super::Outcome;
use crate::cli::PlaceArgs;
use crate::facts::{self, Fact, State};
use crate::files;
use crate::place::Place;

/// Keeps room on the box's disks and marks when one is full; a unit runs it all the time.
#[derive(Debug, Args)]
pub struct Reserve {
    #[command(flatten)]
    place: PlaceArgs,
}

/// The file that holds room back, in each folder.
pub const FILE: &str = "hadada-reserve";
const MIB: u64 = 1 << 20;
/// How often to look. A disk fills in seconds at the quickest.
const EVERY: Duration = Duration::from_millis(250);

/// One disk that records need.
#[derive(Debug)]
struct Disk {
    folder: PathBuf,
    /// Bytes held back.
    size: u64,
    full: bool,
}

/// What a look at a disk means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// As it was.
    Stay,
    /// Writes must stop.
    Fill,
    /// And the room held back is needed for reading.
    Release,
    /// There is room again.
    Recover,
}

/// A twentieth of the disk, within bounds.
fn reserve(total: u64) -> u64 {
    (total / 20).clamp(24 * MIB, 512 * MIB)
}

/// What to do with `free` bytes left besides the reserve, where it `holds` one, of `size`.
fn step(free: u64, size: u64, holds: bool, full: bool) -> Step {
    if free < 8 * MIB && holds {
        Step::Release
    } else if free < size / 2 && holds && !full {
        Step::Fill
    } else if full && free >= if holds { size } else { 2 * size + size / 2 } {
        Step::Recover
    } else {
        Step::Stay
    }
}

impl Reserve {
    /// Looks for ever.
    ///
    /// # Errors
    /// When a disk can't be looked at.
    pub fn run(self) -> Result<Outcome> {
        let place: Place = self.place.into();
        let mark = place.root().join("run/hadada-reserve/full");
        let mut disks = Vec::new();
        for folder in [
            place.root().join("var/lib/postgresql"),
            place.state().to_owned(),
        ] {
            let disk = rustix::fs::statvfs(&folder)
                .with_context(|| format!("can't look at {}", folder.display()))?;
            disks.push(Disk {
                folder,
                size: reserve(disk.f_blocks * disk.f_frsize),
                full: mark.exists(),
            });
        }
        sd_notify::notify(&[sd_notify::NotifyState::Ready])?;
        loop {
            let before = disks.iter().any(|disk| disk.full);
            for disk in &mut disks {
                // One disk's trouble must not blind the watch to the other.
                if let Err(error) = disk.look() {
                    eprintln!("hadadactl: {error:#}");
                }
            }
            let full = disks.iter().any(|disk| disk.full);
            if full && !mark.exists() {
                File::create(&mark)?;
            } else if !full && mark.exists() {
                fs::remove_file(&mark)?;
            }
            if full != before {
                tell(&place, full);
            }
            sd_notify::notify(&[sd_notify::NotifyState::Watchdog])?;
            std::thread::sleep(EVERY);
        }
    }
}

impl Disk {
    fn look(&mut self) -> Result<()> {
        let path = self.folder.join(FILE);
        let disk = rustix::fs::statvfs(&self.folder)?;
        let free = disk.f_bavail * disk.f_frsize;
        let holds = path.exists();
        match step(free, self.size, holds, self.full) {
            Step::Stay => {
                if !holds && !self.full && free > 3 * self.size {
                    hold(&path, self.size)?;
                }
            }
            Step::Fill => {
                eprintln!("{} is full: writes stop", self.folder.display());
                self.full = true;
            }
            Step::Release => {
                eprintln!(
                    "{} has no room left: giving up the reserve, for reading",
                    self.folder.display()
                );
                self.full = true;
                fs::remove_file(&path)?;
            }
            Step::Recover => {
                if !holds {
                    hold(&path, self.size)?;
                }
                eprintln!("{} has room again", self.folder.display());
                self.full = false;
            }
        }
        Ok(())
    }
}

fn hold(path: &Path, size: u64) -> Result<()> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path)?;
    let held = fallocate(&file, FallocateFlags::empty(), 0, size);
    if held.is_err() {
        // Half a reserve would look like a whole one.
        let _ = fs::remove_file(path);
    }
    held.with_context(|| format!("can't hold {size} bytes in {}", path.display()))
}

/// Best done, but not at the cost of the watch: the disk is full.
fn tell(place: &Place, full: bool) {
    let now = OffsetDateTime::now_utc();
    let fact = if full {
        Fact::fault(
            "disk",
            now,
            State::Bad,
            "The disk is full: records can be read, and nothing new is saved.",
            "Call your IT support at once: delete what is not the box's, or put in a larger disk",
        )
    } else {
        Fact::good("disk", now, "There is room on the disk again.")
    };
    if let Err(error) =
        files::make_folder(&place.facts(), 0o755).and_then(|()| facts::write(place, fact))
    {
        eprintln!("hadadactl: {error:#}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn writes_stop_before_the_room_for_reading_is_used_and_never_flutter(
            total in 400 * MIB..4000 * 1024 * MIB, frees in prop::collection::vec(0u64..2048 * MIB, 1..60),
        ) {
            let size = reserve(total);
            let (mut holds, mut full, mut last) = (true, false, None);
            for free in frees {
                let step = step(free, size, holds, full);
                match step {
                    Step::Release => { prop_assert!(holds); holds = false; full = true; }
                    Step::Fill => { prop_assert!(holds && !full); full = true; }
                    Step::Recover => {
                        prop_assert!(full);
                        // After the reserve is taken again, there is still more room than where writes stop.
                        let left = if holds { free } else { free - size };
                        prop_assert!(left >= size / 2);
                        full = false;
                        holds = true;
                    }
                    Step::Stay => {}
                }
                // The room held back is only ever used once writes have stopped.
                prop_assert!(holds || full);
                // The same reading twice does not switch back.
                if last == Some(free) { prop_assert_ne!(step, Step::Recover); }
                last = Some(free);
            }
        }
    }
}
