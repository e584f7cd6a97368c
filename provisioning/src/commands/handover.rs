//! Root on an installed box hands what needs no root to the account that backs up: files that root made at the target would
//! stop the next nightly backup.

use std::ffi::OsStr;
use std::process::Stdio;

use anyhow::{Context, Result};

use super::Outcome;
use crate::backup::ledger::AtIt;
use crate::place::Place;
use crate::programs::Program;
use crate::secrets::{self, BACKUP_KEY, NEXT_BACKUP_KEY, RECOVERY_BACKUP_KEY};

/// Whether this process should not do it itself.
pub fn is_needed(place: &Place) -> bool {
    place.is_installed() && rustix::process::geteuid().is_root()
}

/// The names of the secrets that targets need.
///
/// # Errors
/// When their folder can't be read.
pub fn target_secrets(place: &Place) -> Result<Vec<String>> {
    let store = place.root().join("etc/credstore.encrypted");
    let mut names: Vec<String> = std::fs::read_dir(&store)
        .with_context(|| format!("can't read {}", store.display()))?
        .flatten()
        .filter_map(|entry| {
            entry
                .file_name()
                .to_string_lossy()
                .strip_prefix("hadada.")
                .map(str::to_owned)
        })
        .filter(|name| name.starts_with("backup-"))
        .collect();
    names.sort();
    Ok(names)
}

/// Runs this very command again as hadada-backup, with the secrets that its units have.
///
/// # Errors
/// When systemd does not start it.
pub fn run(place: &Place) -> Result<Outcome> {
    run_with(place, std::env::args_os().skip(1))
}

/// As [`run`], another command.
///
/// # Errors
/// When systemd does not start it.
pub fn run_with<I>(place: &Place, arguments: I) -> Result<Outcome>
where
    I: IntoIterator,
    I::Item: AsRef<OsStr>,
{
    let own = std::env::current_exe().context("finding my own program file")?;
    let mut program = Program::new("systemd-run")
        .args([
            "--quiet",
            "--wait",
            "--pipe",
            "--collect",
            "--service-type=exec",
        ])
        .args([
            "-p",
            "User=hadada-backup",
            "-p",
            // Of its own: the folder goes with the command that ends.
            &format!("RuntimeDirectory=hadada-backup-{}", std::process::id()),
        ])
        .args([
            "-p",
            "RuntimeDirectoryMode=0700",
            "-p",
            "NoNewPrivileges=yes",
            "-p",
            "UMask=0027",
        ]);
    let mut names = vec![BACKUP_KEY.to_owned(), RECOVERY_BACKUP_KEY.to_owned()];
    names.extend(target_secrets(place)?);
    if secrets::path(place, NEXT_BACKUP_KEY).exists() {
        names.push(NEXT_BACKUP_KEY.to_owned());
    }
    for name in names {
        program = program.args([
            "-p",
            &format!("LoadCredentialEncrypted={name}:/etc/credstore.encrypted/hadada.{name}"),
        ]);
    }
    program = program.arg("--").arg(own);
    for argument in arguments {
        program = program.arg(argument);
    }
    let mut running = program
        .set(|command| {
            command.stdin(Stdio::inherit()).stdout(Stdio::inherit());
        })
        .spawn_telling()?;
    let status = running.wait().context("waiting for systemd-run")?;
    match status.code() {
        Some(0) => Ok(Outcome::Good),
        Some(1) => Ok(Outcome::Fault),
        Some(3) => Err(AtIt.into()),
        _ => anyhow::bail!("it could not be done; the reason is above"),
    }
}
