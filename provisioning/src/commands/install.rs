//! `install` and `uninstall`.

use std::fs;
use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use time::OffsetDateTime;

use super::Outcome;
use crate::install::{self, Progress, Removal, Wishes};
use crate::place::Place;

/// Makes a box of this machine. Safe to repeat.
#[derive(Debug, Args)]
pub struct Install {
    /// The unpacked release.
    #[arg(long, value_name = "DIR")]
    release: PathBuf,
    /// A name or address browsers reach the box by; may be given more than once. The machine's own by default.
    #[arg(long = "host", value_name = "NAME")]
    hosts: Vec<String>,
    /// Look at the machine and say what would be done; do nothing.
    #[arg(long)]
    dry_run: bool,
}

/// Takes the box off this machine.
#[derive(Debug, Args)]
pub struct Uninstall {
    /// Say what would be done; do nothing.
    #[arg(long)]
    dry_run: bool,
    /// Delete the records, the keys and the configuration too.
    #[arg(long)]
    delete_records: bool,
    /// Meant twice: the name of this machine, without which nothing is deleted.
    #[arg(long, value_name = "NAME", requires = "delete_records")]
    yes_delete_everything_on: Option<String>,
}

fn root_only() -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("only root can do this");
    }
    Ok(())
}

impl Install {
    /// Checks the machine, then installs.
    ///
    /// # Errors
    /// When a step can't be done; running it again goes on from there.
    pub fn run(self, now: OffsetDateTime) -> Result<Outcome> {
        root_only()?;
        let made = fs::metadata(self.release.join("VERSION"))
            .and_then(|file| file.modified())
            .ok()
            .map(OffsetDateTime::from);
        if !install::check_machine(now, made)? {
            println!(
                "\nThis machine can't be a box as it is; what to do is above. Nothing was changed."
            );
            return Ok(Outcome::Fault);
        }
        println!();
        let place = Place::installed();
        let mut progress = Progress::new(self.dry_run);
        let wishes = Wishes {
            release: self.release,
            hosts: self.hosts,
        };
        install::install(&place, &wishes, &mut progress)?;
        match (progress.changes(), self.dry_run) {
            (0, _) => println!("\nNothing had to be changed."),
            (changes, true) => println!("\n{changes} things would be changed; nothing was."),
            (changes, false) => println!("\n{changes} things were changed."),
        }
        if !self.dry_run {
            super::setup::greet(&place)?;
        }
        Ok(Outcome::Good)
    }
}

impl Uninstall {
    /// Removes the programs and, told twice, the records.
    ///
    /// # Errors
    /// When it was told once only, or something can't be removed.
    pub fn run(self) -> Result<Outcome> {
        root_only()?;
        let place = Place::installed();
        let mut progress = Progress::new(self.dry_run);
        let removal = if self.delete_records {
            let name = fs::read_to_string("/etc/hostname").unwrap_or_default();
            let name = name.trim();
            if self.yes_delete_everything_on.as_deref() != Some(name) {
                bail!(
                    "this would delete every record of the practice, for good. Nothing was done. If you mean it, say also\n  --yes-delete-everything-on {name}"
                );
            }
            Removal::Everything
        } else {
            Removal::Programs
        };
        install::remove(&place, removal, &mut progress)?;
        if removal == Removal::Programs {
            println!(
                "\nThe records, keys and configuration are still here ({}, /etc/hadada and Postgres' cluster 15/hadada); installing again finds them.\nThe firewall stays closed until the machine restarts.",
                place.state().display()
            );
        }
        Ok(Outcome::Good)
    }
}
