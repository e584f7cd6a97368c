//! The database that a restore replaces: stopped with all that uses it, put aside, and started again.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::backup::drill::account;
use crate::backup::{clock, say};
use crate::place::Place;
use crate::postgres::{Server, program};
use crate::programs::{Account, LONG, Program, SHORT};

/// What runs on an installed box and must not while its database is replaced, in the order to stop it.
const UNITS: [&str; 18] = [
    "hadada-watch.timer",
    "hadada-drill.timer",
    "hadada-backup.timer",
    "hadada-base-backup.timer",
    "hadada-wal.timer",
    "hadada-wal.path",
    "hadada-sender.timer",
    "hadada-remote.socket",
    "hadada.socket",
    "hadada-sender.service",
    "hadada.service",
    "hadada-drill.service",
    "hadada-backup.service",
    "hadada-base-backup.service",
    "hadada-wal.service",
    "hadada-setup.path",
    "hadada-update-guard.service",
    "postgresql@15-hadada.service",
];
/// What of them runs all the time or wakes the others.
const STARTED: [&str; 12] = [
    "postgresql@15-hadada.service",
    "hadada.socket",
    "hadada-remote.socket",
    "hadada.service",
    "hadada-sender.timer",
    "hadada-setup.path",
    "hadada-wal.path",
    "hadada-wal.timer",
    "hadada-base-backup.timer",
    "hadada-backup.timer",
    "hadada-drill.timer",
    "hadada-watch.timer",
];

/// The database that a restore replaces.
pub(super) struct Site {
    place: Place,
    pub(super) data: PathBuf,
    pub(super) account: Option<Account>,
}

impl Site {
    pub(super) fn of(place: &Place) -> Result<Self> {
        let root = rustix::process::geteuid().is_root();
        if place.is_installed() {
            if !root {
                bail!("run this as root");
            }
            return Ok(Self {
                data: place.root().join("var/lib/postgresql/15/hadada"),
                account: Some(Account::named("postgres")?),
                place: place.clone(),
            });
        }
        Ok(Self {
            data: place.state().join("postgres"),
            account: account(place)?,
            place: place.clone(),
        })
    }

    pub(super) fn beside(&self, what: &str) -> PathBuf {
        let mut name = self.data.clone().into_os_string();
        name.push(format!(".{what}"));
        name.into()
    }

    fn runs(&self) -> bool {
        self.data.join("postmaster.pid").exists()
    }

    pub(super) fn stop(&self) -> Result<()> {
        say("stopping what uses the database");
        if self.place.is_installed() {
            for unit in UNITS {
                // Not every box has each of them.
                let _ = Program::new("systemctl").args(["stop", unit]).output(SHORT);
            }
        } else if self.runs() {
            program("pg_ctl")
                .args(["-m", "fast", "-w", "stop", "-D"])
                .arg(&self.data)
                .run_as(self.account)
                .output(SHORT)?;
        }
        if self.runs() {
            // Left by a power cut, or by a server that will not go.
            let live = Server::of_box(&self.place)
                .is_ok_and(|server| server.value("postgres", "SELECT 1").is_ok());
            if live {
                bail!(
                    "the database still runs in {}: stop it, then run this again",
                    self.data.display()
                );
            }
        }
        Ok(())
    }

    pub(super) fn start(&self) -> Result<()> {
        say("starting what was stopped");
        if self.place.is_installed() {
            for unit in STARTED {
                let known = Program::new("systemctl")
                    .args(["cat", unit])
                    .output(SHORT)
                    .is_ok();
                if known {
                    Program::new("systemctl")
                        .args(["start", unit])
                        .output(SHORT)
                        .with_context(|| format!("starting {unit}"))?;
                }
            }
            return Ok(());
        }
        let log = self.data.join("log-after-restore");
        program("pg_ctl")
            .args(["-w", "-t", "60", "start", "-D"])
            .arg(&self.data)
            .arg("-l")
            .arg(&log)
            .run_as(self.account)
            // It passes them on to the server, which lives on.
            .set(|command| {
                command.stdout(std::process::Stdio::null());
            })
            .spawn()?
            .finish_detached()
            .with_context(|| {
                format!(
                    "the restored database does not start; its log is {}",
                    log.display()
                )
            })
    }
}

/// Renames, or copies where the new place is on another disk.
fn move_folder(from: &Path, to: &Path) -> Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() == std::io::ErrorKind::CrossesDevices => {
            Program::new("mv")
                .arg("--no-target-directory")
                .arg(from)
                .arg(to)
                .output(LONG)?;
            Ok(())
        }
        other => Ok(other?),
    }
}

/// Puts the restored database in the place of the old one, which is kept.
pub(super) fn swap(site: &Site) -> Result<Option<PathBuf>> {
    let new = site.beside("restoring");
    let mut aside = None;
    if site.data.exists() {
        // Settings that live with the data are this machine's and not the backup's.
        for name in ["postgresql.conf", "pg_hba.conf", "pg_ident.conf"] {
            let own = site.data.join(name);
            if own.exists() {
                let path = new.join(name);
                fs::copy(&own, &path).with_context(|| format!("can't write {}", path.display()))?;
                if let Some(account) = site.account {
                    account.own(&path)?;
                }
            }
        }
        let old = site.beside(&format!("before-{}", clock().unix_timestamp()));
        move_folder(&site.data, &old)
            .with_context(|| format!("can't put {} aside", site.data.display()))?;
        aside = Some(old);
    }
    if let Err(error) = move_folder(&new, &site.data) {
        if let Some(old) = &aside {
            move_folder(old, &site.data)
                .with_context(|| format!("the database as it was is in {}", old.display()))?;
        }
        return Err(error.context(format!(
            "can't put the restored database in its place: it is in {}",
            new.display()
        )));
    }
    if let Some(parent) = site.data.parent() {
        fs::File::open(parent)?.sync_all()?;
    }
    Ok(aside)
}
