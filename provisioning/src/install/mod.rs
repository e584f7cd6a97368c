//! Turns a bare Debian 12 into a box, step by step; each step first looks whether there is anything to do, so that it is safe
//! to run again.

mod check;
mod cluster;
mod programs;
mod remove;
mod units;

pub use check::check_machine;
pub use remove::{Removal, remove};

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::disk;
use crate::files;
use crate::place::Place;

/// What an installation is told.
#[derive(Debug, Clone)]
pub struct Wishes {
    /// The unpacked release.
    pub release: PathBuf,
    /// Names and addresses that browsers reach the box by; the machine's own where none is given.
    pub hosts: Vec<String>,
}

/// Prints what is done and counts it.
#[derive(Debug)]
pub struct Progress {
    dry_run: bool,
    changes: u32,
}

impl Progress {
    /// Nothing done yet.
    pub fn new(dry_run: bool) -> Self {
        Self {
            dry_run,
            changes: 0,
        }
    }

    /// Something that is already as it should be.
    pub fn kept(&self, what: &str) {
        println!("kept   {what}");
    }

    /// Does something, or in a dry run only says so.
    ///
    /// # Errors
    /// As the deed.
    pub fn change(&mut self, what: &str, deed: impl FnOnce() -> Result<()>) -> Result<()> {
        self.changes += 1;
        if self.dry_run {
            println!("would  {what}");
            return Ok(());
        }
        deed().with_context(|| format!("could not {what}"))?;
        println!("done   {what}");
        Ok(())
    }

    /// Gives a file its content and permissions.
    ///
    /// # Errors
    /// When it can't be read or written.
    pub fn file(&mut self, path: &Path, mode: u32, content: &[u8]) -> Result<bool> {
        let shown = path.display();
        if files::read_if_there(path)?.as_deref() == Some(content)
            && files::mode(path).is_ok_and(|is| is == mode)
        {
            self.kept(&shown.to_string());
            return Ok(false);
        }
        self.change(&format!("write {shown}"), || {
            if let Some(folder) = path.parent() {
                files::make_folder(folder, 0o755)?;
            }
            files::replace(path, mode, content)
        })?;
        Ok(true)
    }

    /// How many things were, or would be, changed.
    pub fn changes(&self) -> u32 {
        self.changes
    }

    /// Whether things are only said.
    pub fn dry_run(&self) -> bool {
        self.dry_run
    }
}

/// Installs, from the programs to a page that is served and trusted.
///
/// # Errors
/// When a step can't be done; those before it stay, and running it again goes on from there.
pub fn install(place: &Place, wishes: &Wishes, progress: &mut Progress) -> Result<()> {
    if let Some((what, act)) = disk::closed_words() {
        bail!(
            "{what}: an empty box would be made beside the records. Nothing was done.\n      → {act}"
        );
    }
    programs::put(place, &wishes.release, progress)?;
    programs::users_and_folders(place, progress)?;
    cluster::make(place, &wishes.release, progress)?;
    let hosts = programs::hosts(place, wishes)?;
    programs::keys(place, &hosts, progress)?;
    programs::configuration(place, &hosts, progress)?;
    programs::vendor(place, &wishes.release, progress)?;
    cluster::roles_and_databases(place, &wishes.release, progress)?;
    units::put(place, &wishes.release, progress)?;
    units::start(progress)
}
