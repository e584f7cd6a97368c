//! `backup setup`: makes targets ready, and lets the account that backs up write there.

use std::fs;
use std::path::Path;

use anyhow::Result;

use super::Outcome;
use super::backup::chosen;
use super::handover;
use crate::backup::keys::Repository;
use crate::backup::ledger;
use crate::backup::settings::Settings;
use crate::backup::spool::Spool;
use crate::backup::{Work, restore, say, target};
use crate::files;
use crate::place::Place;
use crate::programs::{Account, Program, SHORT};
use crate::restic::Found;

pub(super) fn setup(place: &Place, name: Option<&str>) -> Result<Outcome> {
    if handover::is_needed(place) {
        let settings = Settings::with_target(place)?;
        prepare(place, &settings)?;
        return handover::run(place);
    }
    let work = Work::of(place)?;
    files::make_folder(&place.backup(), 0o755)?;
    Spool::of(place).make()?;
    files::replace(
        &place.backup().join("backup.pub"),
        0o644,
        format!("{}\n", hex::encode(work.keys.verifying().to_bytes())).as_bytes(),
    )?;
    for target in chosen(&work, name)? {
        say(&format!("target {}", target.name));
        for repository in Repository::ALL {
            let restic = work.open(target, repository)?;
            let recovery = work.keys.recovery_password(repository);
            if restic.find()? == Found::None {
                if let Some(folder) = &target.folder {
                    files::make_folder(&folder.join(repository.name()), 0o700)?;
                }
                restic.init(&recovery)?;
                say(&format!("  made   {}", repository.name()));
            } else {
                say(&format!("  kept   {}", repository.name()));
            }
            if !restic.opens_with(&recovery)? {
                restic.add_key(&recovery, "recovery")?;
                say("         the recovery key opens it now");
            }
        }
        let known = ledger::read(place, &work.keys)?
            .entries
            .iter()
            .any(|entry| entry.target == target.name);
        // A box whose ledger was lost, or that knows this target by another name, takes the copy; a new target has none.
        if !known && let Ok(copy) = restore::adopt(&work, target) {
            ledger::update(place, &work.keys, |own| {
                let same = |snapshot: &String| {
                    copy.entries.iter().any(|entry| entry.snapshot == *snapshot)
                };
                own.entries.retain(|entry| !same(&entry.snapshot));
                own.superseded.retain(|old| {
                    !copy
                        .superseded
                        .iter()
                        .any(|known| known.snapshot == old.snapshot)
                });
                own.sequence = own.sequence.max(copy.sequence);
                own.entries.extend(copy.entries.clone());
                own.superseded.extend(copy.superseded.clone());
                Ok(())
            })?;
            say("  its backups were found in the copy of the ledger there");
        }
        work.use_repository(target, Repository::Records)?;
    }
    say("ready. `hadadactl backup run` makes the first backup, `hadadactl drill run` proves it.");
    Ok(Outcome::Good)
}

/// What only root can do: folders for the account that backs up, and its units' right to write there.
fn prepare(place: &Place, settings: &Settings) -> Result<()> {
    let account = Account::named("hadada-backup")?;
    let mut writable = String::new();
    for target in &settings.target {
        let Some(folder) = &target.folder else {
            continue;
        };
        target::check(place, target)?;
        for repository in Repository::ALL {
            let path = folder.join(repository.name());
            files::make_folder(&path, 0o700)?;
            // A new machine numbers its accounts anew, and a restore writes as root.
            if let Err(error) = own_all(account, &path) {
                // FAT and many network mounts know no owners: the mount's options say who may write.
                say(&format!(
                    "  {error:#}; the mount's options must let hadada-backup write there"
                ));
            }
        }
        writable.push_str(&format!("ReadWritePaths=-{}\n", folder.display()));
    }
    if let Some(scratch) = &settings.scratch {
        files::make_folder(scratch, 0o711)?;
        account.own(scratch)?;
        writable.push_str(&format!("ReadWritePaths=-{}\n", scratch.display()));
    }
    for unit in [
        "hadada-backup",
        "hadada-base-backup",
        "hadada-wal",
        "hadada-drill",
    ] {
        let folder = place
            .root()
            .join("etc/systemd/system")
            .join(format!("{unit}.service.d"));
        files::make_folder(&folder, 0o755)?;
        let credentials: String = handover::target_secrets(place)?
            .iter()
            .map(|name| {
                format!("LoadCredentialEncrypted={name}:/etc/credstore.encrypted/hadada.{name}\n")
            })
            .collect();
        let text = format!(
            "# Written by `hadadactl backup setup` from [box.backup].\n[Service]\n{writable}{credentials}"
        );
        files::replace(&folder.join("target.conf"), 0o644, text.as_bytes())?;
    }
    Program::new("systemctl")
        .arg("daemon-reload")
        .output(SHORT)?;
    Ok(())
}

fn own_all(account: Account, path: &Path) -> Result<()> {
    account.own(path)?;
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            own_all(account, &entry.path())?;
        } else {
            account.own(&entry.path())?;
        }
    }
    Ok(())
}
