//! The units: put in place, enabled and started.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::Progress;
use crate::place::Place;
use crate::process::{run, succeeds};

/// Copies each unit of the release whose content changed; gives whether any did.
///
/// # Errors
/// When they can't be read or written.
pub fn put(place: &Place, release: &Path, progress: &mut Progress) -> Result<bool> {
    let target = place.root().join("etc/systemd/system");
    let mut changed = false;
    for file in unit_files(&release.join("systemd"))? {
        let source = release.join("systemd").join(&file);
        let content =
            fs::read(&source).with_context(|| format!("can't read {}", source.display()))?;
        changed |= progress.file(&target.join(&file), 0o644, &content)?;
    }
    if changed && !progress.dry_run() {
        run("systemctl", ["daemon-reload"])?;
    }
    Ok(changed)
}

/// The release's unit files and their drop-ins, as paths below its folder `systemd`.
fn unit_files(folder: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("can't read {}", folder.display()))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type()?.is_dir() {
            if name.ends_with(".service.d") {
                for inner in fs::read_dir(entry.path())? {
                    found.push(format!("{name}/{}", inner?.file_name().to_string_lossy()));
                }
            }
        } else if [".service", ".socket", ".timer", ".path", ".target"]
            .iter()
            .any(|kind| name.ends_with(kind))
        {
            found.push(name);
        }
    }
    found.sort();
    Ok(found)
}

/// Enables what asks for it and starts the box, in order.
///
/// # Errors
/// When a unit can't be started.
pub fn start(progress: &mut Progress) -> Result<()> {
    if progress.dry_run() {
        return progress.change("enable and start the units", || Ok(()));
    }
    let units = enabled_by_default()?;
    let missing: Vec<&String> = units
        .iter()
        .filter(|unit| !succeeds("systemctl", ["is-enabled", "--quiet", unit]))
        .collect();
    if !missing.is_empty() {
        progress.change(&format!("enable {}", list(&missing)), || {
            let mut arguments = vec!["enable", "--quiet"];
            arguments.extend(missing.iter().map(|unit| unit.as_str()));
            run("systemctl", arguments).map(drop)
        })?;
    }
    // The firewall first: nothing listens before it is closed.
    for group in [
        &["hadada-firewall.service", "hadada-reserve.service"][..],
        &["hadada-setup-code.service", "hadada-setup.path"],
        &["hadada-typeset.socket", "hadada-inference.service"],
        &["hadada.socket", "hadada-remote.socket", "hadada.service"],
    ] {
        let stopped: Vec<&&str> = group
            .iter()
            .filter(|unit| !succeeds("systemctl", ["is-active", "--quiet", unit]))
            .collect();
        if !stopped.is_empty() {
            progress.change(&format!("start {}", list(&stopped)), || {
                let mut arguments = vec!["start"];
                arguments.extend(stopped.iter().map(|unit| **unit));
                run("systemctl", arguments).map(drop)
            })?;
        }
    }
    let timers: Vec<&String> = units
        .iter()
        .filter(|unit| unit.ends_with(".timer") || unit.ends_with(".path"))
        .filter(|unit| !succeeds("systemctl", ["is-active", "--quiet", unit]))
        .collect();
    if !timers.is_empty() {
        progress.change(&format!("start {}", list(&timers)), || {
            let mut arguments = vec!["start"];
            arguments.extend(timers.iter().map(|unit| unit.as_str()));
            run("systemctl", arguments).map(drop)
        })?;
    }
    Ok(())
}

/// The box's units that have an [Install] section.
fn enabled_by_default() -> Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/etc/systemd/system")? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let own = name.starts_with("hadada") && entry.file_type()?.is_file() && !name.contains('@');
        if own && fs::read_to_string(entry.path())?.contains("\n[Install]") {
            found.push(name);
        }
    }
    found.sort();
    Ok(found)
}

fn list(units: &[impl AsRef<str>]) -> String {
    units
        .iter()
        .map(|unit| unit.as_ref())
        .collect::<Vec<_>>()
        .join(", ")
}
