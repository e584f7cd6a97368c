//! The service manager and its helpers. Nothing else talks to them for updates, so tests stand in for these few programs.

use std::path::PathBuf;

use anyhow::Result;

use crate::process;

/// Reads changed unit files.
///
/// # Errors
/// When the manager does not answer.
pub fn daemon_reload() -> Result<()> {
    process::run("systemctl", ["daemon-reload"]).map(drop)
}

/// Stops units and waits until they are. Those that are not there or not running are fine.
///
/// # Errors
/// When one does not stop.
pub fn stop(units: &[String]) -> Result<()> {
    with("stop", &[], units)
}

/// Starts units and waits until they are ready.
///
/// # Errors
/// When one does not start; the error carries the manager's words.
pub fn start(units: &[String]) -> Result<()> {
    // A release that failed again and again has used up the manager's patience with these names.
    if let Err(error) = with("reset-failed", &[], units) {
        eprintln!("hadadactl: {error:#}");
    }
    with("start", &[], units)
}

/// Starts running units anew and waits until they are ready; a socket of theirs keeps who connects meanwhile.
///
/// # Errors
/// When one does not start; the error carries the manager's words.
pub fn restart(units: &[String]) -> Result<()> {
    with("restart", &[], units)
}

/// Starts units without waiting.
///
/// # Errors
/// When the manager does not take the order.
pub fn start_later(units: &[String]) -> Result<()> {
    with("start", &["--no-block"], units)
}

/// Makes units start at boot, or no longer.
///
/// # Errors
/// When their links can't be made.
pub fn enable(units: &[String], on: bool) -> Result<()> {
    with(if on { "enable" } else { "disable" }, &[], units)
}

fn with(verb: &str, options: &[&str], units: &[String]) -> Result<()> {
    if units.is_empty() {
        return Ok(());
    }
    let arguments = [verb]
        .into_iter()
        .chain(options.iter().copied())
        .chain(units.iter().map(String::as_str));
    process::run("systemctl", arguments).map(drop)
}

/// Makes the users and groups that these files ask for.
///
/// # Errors
/// When one can't be made.
pub fn sysusers(files: &[PathBuf]) -> Result<()> {
    if files.is_empty() {
        return Ok(());
    }
    process::run("systemd-sysusers", files).map(drop)
}

/// Makes the folders that these files ask for.
///
/// # Errors
/// When one can't be made.
pub fn tmpfiles(files: &[PathBuf]) -> Result<()> {
    if files.is_empty() {
        return Ok(());
    }
    let create = PathBuf::from("--create");
    process::run("systemd-tmpfiles", std::iter::once(&create).chain(files)).map(drop)
}
