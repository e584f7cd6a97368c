//! Takes the box off a machine. The records stay unless told twice.

use std::fs;
use std::path::Path;

use anyhow::{Result, bail};

use super::Progress;
use crate::disk;
use crate::network;
use crate::place::Place;
use crate::process::{run, succeeds};

/// What is to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    /// Programs and units; records, keys and configuration stay, and installing again finds them.
    Programs,
    /// Everything, for good.
    Everything,
}

/// Stops the box and removes it.
///
/// # Errors
/// When something can't be stopped or removed.
pub fn remove(place: &Place, removal: Removal, progress: &mut Progress) -> Result<()> {
    if !place.programs().exists() && !place.config().exists() {
        bail!("there is no box on this machine");
    }
    if removal == Removal::Everything
        && let Some((why, _)) = disk::closed_words()
    {
        bail!(
            "nothing was removed: {why}. Open it with `hadadactl disk open`, or destroy the disk and take its lines with {} out of /etc/crypttab and /etc/fstab",
            disk::NAME
        );
    }
    let units = place.root().join("etc/systemd/system");
    let own: Vec<String> = fs::read_dir(&units)?
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.starts_with("hadada"))
        .collect();
    let running: Vec<&String> = own
        .iter()
        .filter(|name| !name.contains('@') && !name.ends_with(".d"))
        // Without it the machine would stand open while the rest is removed.
        .filter(|name| *name != "hadada-firewall.service")
        .collect();
    if !running.is_empty() {
        progress.change("stop and disable the units", || {
            let mut arguments = vec!["disable", "--now", "--quiet"];
            arguments.extend(running.iter().map(|name| name.as_str()));
            run("systemctl", arguments).map(drop)
        })?;
    }
    for name in &own {
        progress.change(&format!("remove {name}"), || delete(&units.join(name)))?;
    }
    let drop_in = units.join("postgresql@15-hadada.service.d");
    if drop_in.exists() {
        progress.change("remove the hardening of Postgres' unit", || {
            delete(&drop_in)
        })?;
    }
    for path in [
        "usr/local/bin/hadadactl",
        "etc/tmpfiles.d/hadada.conf",
        network::clock::CONFIGURATION,
        "opt/hadada",
    ] {
        let path = place.root().join(path);
        if path.symlink_metadata().is_ok() {
            progress.change(&format!("remove {}", path.display()), || delete(&path))?;
        }
    }
    if removal == Removal::Everything {
        if succeeds("pg_lsclusters", ["-h", "15", "hadada"]) {
            progress.change(
                "delete the Postgres cluster 15/hadada with all records",
                || run("pg_dropcluster", ["--stop", "15", "hadada"]).map(drop),
            )?;
        }
        if let Some(device) = disk::configured() {
            progress.change(
                &format!(
                    "destroy the keys of the encrypted disk {}, so that nothing on it can be read again",
                    device.display()
                ),
                || disk::moving::erase(&device),
            )?;
        }
        for path in [
            "var/lib/hadada",
            "etc/hadada",
            "run/hadada",
            "run/hadada-setup",
            "etc/sysusers.d/hadada.conf",
        ] {
            let path = place.root().join(path);
            if path.exists() {
                progress.change(&format!("delete {}", path.display()), || delete(&path))?;
            }
        }
        let store = place.root().join("etc/credstore.encrypted");
        if store.exists() {
            for entry in fs::read_dir(&store)?.flatten() {
                if entry.file_name().to_string_lossy().starts_with("hadada.") {
                    let name = entry.file_name();
                    progress.change(
                        &format!("delete the secret {}", name.to_string_lossy()),
                        || delete(&entry.path()),
                    )?;
                }
            }
        }
        if succeeds("nft", ["list", "table", "inet", "hadada"]) {
            progress.change("open the firewall", || {
                run("nft", ["delete", "table", "inet", "hadada"]).map(drop)
            })?;
        }
    }
    if !progress.dry_run() {
        run("systemctl", ["daemon-reload"])?;
    }
    Ok(())
}

fn delete(path: &Path) -> Result<()> {
    if path.symlink_metadata()?.is_dir() {
        fs::remove_dir_all(path)?;
    } else {
        fs::remove_file(path)?;
    }
    Ok(())
}
