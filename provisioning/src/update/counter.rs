//! The counter of releases: kept in a file and in the database, so that neither an old disk image nor an old database lets an
//! old release back in. It never goes back.

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use super::database::Databases;
use super::home::Home;
use crate::files;
use crate::release::manifest::Manifest;
use crate::release::version::Version;

/// The highest release confirmed here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counter {
    /// Its counter.
    pub counter: u64,
    /// Its version.
    pub version: Version,
}

/// What the file says.
///
/// # Errors
/// When it can't be read.
pub fn in_file(home: &Home) -> Result<Option<Counter>> {
    let path = home.counter();
    files::read_if_there(&path)?
        .map(|bytes| {
            serde_json::from_slice(&bytes).with_context(|| format!("{} is damaged", path.display()))
        })
        .transpose()
}

/// The higher of the two.
///
/// # Errors
/// When one can't be read: an update then waits until it can.
pub fn highest(home: &Home, databases: &Databases) -> Result<u64> {
    let file = in_file(home)?.map_or(0, |counter| counter.counter);
    Ok(file.max(databases.counter()?))
}

/// Whether a release may be installed.
///
/// # Errors
/// When it is older than what the box has had.
pub fn check(home: &Home, databases: &Databases, manifest: &Manifest) -> Result<()> {
    let highest = highest(home, databases)?;
    if manifest.counter < highest {
        bail!(
            "rolled back: release {} has the counter {}, and this box has had a release with {highest}",
            manifest.version,
            manifest.counter
        );
    }
    match in_file(home)? {
        Some(last) if last.counter == manifest.counter && last.version != manifest.version => {
            bail!(
                "rolled back: releases {} and {} have the same counter {}",
                last.version,
                manifest.version,
                last.counter
            )
        }
        _ => Ok(()),
    }
}

/// Brings the database's up to the file's, where the databases were not there when an update was finished at boot.
///
/// # Errors
/// When Postgres does not answer.
pub fn catch_up(home: &Home, databases: &Databases) -> Result<()> {
    match in_file(home)? {
        Some(last) => databases.raise_counter(last.counter),
        None => Ok(()),
    }
}

/// Raises the file's; never lowers it.
///
/// # Errors
/// When it can't be written.
pub fn raise_in_file(home: &Home, counter: Counter) -> Result<()> {
    if in_file(home)?.is_none_or(|before| before.counter < counter.counter) {
        files::replace(&home.counter(), 0o644, &serde_json::to_vec(&counter)?)?;
    }
    Ok(())
}
