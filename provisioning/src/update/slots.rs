//! Releases side by side, and which of them the machine uses: a link that changes in one step, and the files outside of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::crash;
use super::home::{Home, version_of};
use crate::files;
use crate::release::version::Version;
use crate::systemctl;

/// The practice's programs in the order they are stopped; started the other way round.
const PROGRAMS: [&str; 6] = [
    "hadada.socket",
    "hadada.service",
    "hadada-sender.service",
    "hadada-migrate.service",
    "hadada-typeset.socket",
    "hadada-inference.service",
];
/// Started last and only if they are there; what they need they start themselves.
const NOT_STARTED: [&str; 2] = ["hadada-sender.service", "hadada-migrate.service"];
/// Stays that of the last confirmed release until the next is confirmed.
const GUARD: &str = "hadada-update-guard.service";

/// What a release puts outside of its folder: from which of its folders, to where below `/etc`.
const OUTSIDE: [(&str, &str); 3] = [
    ("systemd", "systemd/system"),
    ("systemd/sysusers.d", "sysusers.d"),
    ("systemd/tmpfiles.d", "tmpfiles.d"),
];
/// What units' files end with.
const KINDS: [&str; 6] = [
    ".service", ".socket", ".timer", ".path", ".target", ".mount",
];

/// Lets a link point to a release, in one step that a power cut can't split.
///
/// # Errors
/// When the link can't be made.
pub fn point(link: &Path, version: Version) -> Result<()> {
    point_by_way_of(link, version, "")
}

/// As [`point`], for the release in use; a test may end this program halfway.
///
/// # Errors
/// As [`point`].
pub fn flip(home: &Home, version: Version, midway: &str) -> Result<()> {
    point_by_way_of(&home.current(), version, midway)
}

fn point_by_way_of(link: &Path, version: Version, midway: &str) -> Result<()> {
    let target = PathBuf::from("releases").join(version.to_string());
    if fs::read_link(link).is_ok_and(|present| present == target) {
        return Ok(());
    }
    let draft = link.with_extension("new");
    files::remove_file(&draft)?;
    symlink(&target, &draft).with_context(|| format!("can't make {}", draft.display()))?;
    crash::point(midway);
    fs::rename(&draft, link).with_context(|| format!("can't change {}", link.display()))?;
    files::sync_folder_of(link)
}

/// The files a release puts outside of its folder: where from, by where to.
fn outside(home: &Home, version: Version) -> Result<BTreeMap<PathBuf, PathBuf>> {
    let mut all = BTreeMap::new();
    for (from, to) in OUTSIDE {
        let (from, to) = (home.release(version).join(from), home.etc().join(to));
        let Ok(entries) = fs::read_dir(&from) else {
            continue;
        };
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_unit = |name: &str| KINDS.iter().any(|kind| name.ends_with(kind));
            if entry.file_type()?.is_dir() {
                if name.strip_suffix(".d").is_some_and(is_unit) {
                    for inner in fs::read_dir(entry.path())? {
                        let inner = inner?;
                        all.insert(to.join(&name).join(inner.file_name()), inner.path());
                    }
                }
            } else if is_unit(&name) || name.ends_with(".conf") {
                all.insert(to.join(&name), entry.path());
            }
        }
    }
    Ok(all)
}

/// Puts a release's units in place of another's: changed ones are replaced one by one, those it no longer has go.
///
/// # Errors
/// When a file can't be written or the service manager does not take it.
pub fn install_units(home: &Home, from: Version, to: Version, midway: &str) -> Result<()> {
    let (old, new) = (outside(home, from)?, outside(home, to)?);
    let is_guard = |path: &Path| path.file_name().is_some_and(|name| name == GUARD);
    let gone: Vec<&PathBuf> = old
        .keys()
        .filter(|path| !new.contains_key(*path) && !is_guard(path))
        .collect();
    let names: Vec<String> = gone.iter().filter_map(|path| startable(path)).collect();
    // A unit without a file could not be stopped or disabled any more.
    systemctl::enable(&names, false)?;
    for path in gone {
        files::remove_file(path)?;
    }
    let mut added = Vec::new();
    for (count, (target, source)) in new.iter().enumerate() {
        if is_guard(target) {
            continue;
        }
        put(source, target)?;
        if !old.contains_key(target) && fs::read_to_string(source)?.contains("[Install]") {
            added.extend(startable(target));
        }
        if count == new.len() / 2 {
            crash::point(midway);
        }
    }
    let with_ending = |folder: &str| -> Vec<PathBuf> {
        let folder = home.etc().join(folder);
        new.keys()
            .filter(|path| path.starts_with(&folder))
            .cloned()
            .collect()
    };
    systemctl::daemon_reload()?;
    systemctl::sysusers(&with_ending("sysusers.d"))?;
    systemctl::tmpfiles(&with_ending("tmpfiles.d"))?;
    systemctl::enable(&added, true)
}

/// The guard's own unit, once its release is confirmed.
///
/// # Errors
/// When it can't be written.
pub fn install_guard(home: &Home, version: Version) -> Result<()> {
    let source = home.release(version).join("systemd").join(GUARD);
    if source.exists() && put(&source, &home.etc().join("systemd/system").join(GUARD))? {
        systemctl::daemon_reload()?;
    }
    point(&home.guard(), version)
}

/// Copies a file where it differs; gives whether it did.
fn put(source: &Path, target: &Path) -> Result<bool> {
    let content = fs::read(source).with_context(|| format!("can't read {}", source.display()))?;
    if files::read_if_there(target)?.is_some_and(|present| present == content) {
        return Ok(false);
    }
    if let Some(folder) = target.parent() {
        files::make_folder(folder, 0o755)?;
    }
    files::replace(target, 0o644, &content)?;
    Ok(true)
}

/// The unit's name where it can be enabled: templates and drop-ins can't.
fn startable(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    let folder = path.parent()?.file_name()?;
    let unit = KINDS.iter().any(|kind| name.ends_with(kind));
    (unit && folder == "system" && !name.contains("@.")).then(|| name.to_owned())
}

fn present(home: &Home, versions: &[Version]) -> Vec<String> {
    PROGRAMS
        .iter()
        .filter(|unit| {
            versions
                .iter()
                .any(|version| home.release(*version).join("systemd").join(unit).exists())
        })
        .map(|unit| (*unit).to_owned())
        .collect()
}

/// Stops the practice's programs, those of either release.
///
/// # Errors
/// When one does not stop.
pub fn stop(home: &Home, versions: &[Version]) -> Result<()> {
    systemctl::stop(&present(home, versions))
}

/// Starts the practice's programs of a release, and its timers and watched folders.
///
/// # Errors
/// When one does not start.
pub fn start(home: &Home, version: Version) -> Result<()> {
    let mut units = present(home, &[version]);
    units.retain(|unit| !NOT_STARTED.contains(&unit.as_str()));
    units.reverse();
    systemctl::start(&units)?;
    let mut waiting = Vec::new();
    for (target, source) in outside(home, version)? {
        if let Some(name) = startable(&target)
            && [".timer", ".path"].iter().any(|kind| name.ends_with(kind))
            && fs::read_to_string(source)?.contains("[Install]")
        {
            waiting.push(name);
        }
    }
    systemctl::start_later(&waiting)
}

/// Removes what a broken-off unpacking left.
///
/// # Errors
/// When it can't be removed.
pub fn sweep(home: &Home) -> Result<()> {
    for entry in fs::read_dir(home.releases())? {
        let path = entry?.path();
        if path.extension().is_some_and(|kind| kind == "unpacking") {
            files::remove_folder(&path)?;
        }
    }
    Ok(())
}

/// Removes all releases but those in use and the one before.
///
/// # Errors
/// When one can't be removed.
pub fn prune(home: &Home) -> Result<Vec<String>> {
    let keep: BTreeSet<Version> = [home.current(), home.previous(), home.guard()]
        .iter()
        .filter_map(|link| version_of(link))
        .collect();
    let mut gone = Vec::new();
    for entry in fs::read_dir(home.releases())? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name
            .parse::<Version>()
            .is_ok_and(|version| !keep.contains(&version))
        {
            files::remove_folder(&entry.path())?;
            gone.push(name);
        }
    }
    Ok(gone)
}
