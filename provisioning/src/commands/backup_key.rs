//! `backup new-key`: another key for the box's backups, after somebody may have learnt the one it has. Only the key of the
//! repositories' own keys changes: what was read with the old one stays read, and nothing is written anew.

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use zeroize::Zeroizing;

use super::Outcome;
use super::handover;
use crate::backup::keys::Repository;
use crate::backup::{Work, say, target};
use crate::place::Place;
use crate::secrets::{self, BACKUP_KEY, NEXT_BACKUP_KEY};

/// What of it the account does that backs up: root's files at a target would stop the next nightly backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// Lets the next key open each repository.
    Add,
    /// Makes every other key but the recovery key's void.
    Void,
}

/// Makes a new key and the old one void, at every target. Broken off, it goes on when run again; until its last step both
/// keys open the backups, so that none is ever without.
///
/// # Errors
/// When a target is not there, or does not take the key; the old key then goes on opening all of them.
pub fn run(place: &Place, part: Option<Part>) -> Result<Outcome> {
    match part {
        Some(Part::Add) => return add(place),
        Some(Part::Void) => return void(place),
        None => {}
    }
    let next = match secrets::read(place, NEXT_BACKUP_KEY)? {
        Some(_) => {
            say("going on with the new key that was begun");
            secrets::key(place, NEXT_BACKUP_KEY)?
        }
        None => {
            let mut key = Zeroizing::new([0_u8; 32]);
            getrandom::fill(&mut *key).map_err(|error| {
                anyhow::anyhow!("this machine gives no random numbers: {error}")
            })?;
            secrets::create(place, NEXT_BACKUP_KEY, &*key)?;
            key
        }
    };
    if *secrets::key(place, BACKUP_KEY)? != *next {
        step(place, Part::Add)
            .context("the key was not changed, the one before still opens all backups")?;
        secrets::replace(place, BACKUP_KEY, &*next)?;
    }
    step(place, Part::Void).context(
        "the box uses its new key, but the one before still opens a target: run this again when all are there",
    )?;
    secrets::remove(place, NEXT_BACKUP_KEY)?;
    say(
        "The backups have a new key, and the one before opens none of them. The recovery key on paper stays as it is.",
    );
    Ok(Outcome::Good)
}

fn step(place: &Place, part: Part) -> Result<()> {
    if !handover::is_needed(place) {
        return match part {
            Part::Add => add(place),
            Part::Void => void(place),
        }
        .map(drop);
    }
    let name = match part {
        Part::Add => "add",
        Part::Void => "void",
    };
    match handover::run_with(place, ["backup", "new-key", "--part", name])? {
        Outcome::Good => Ok(()),
        Outcome::Fault => bail!("hadada-backup could not do it; the reason is above"),
    }
}

fn add(place: &Place) -> Result<Outcome> {
    let work = Work::of(place)?;
    let next = work.keys.with_own(secrets::key(place, NEXT_BACKUP_KEY)?);
    for target in &work.settings.target {
        say(&format!("target {}", target.name));
        for repository in Repository::ALL {
            let restic = work.use_repository(target, repository)?;
            let password = next.password(repository);
            if !restic.opens_with(&password)? {
                restic.add_key(&password, "box")?;
            }
            say(&format!("  the new key opens {}", repository.name()));
        }
    }
    Ok(Outcome::Good)
}

fn void(place: &Place) -> Result<Outcome> {
    let work = Work::of(place)?;
    for target in &work.settings.target {
        say(&format!("target {}", target.name));
        for repository in Repository::ALL {
            target::check(place, target)?;
            let restic = target::open(place, &work.settings, target, &work.keys, repository)?;
            if !restic.opens_with(&work.keys.recovery_password(repository))? {
                bail!(
                    "the recovery key does not open {} at {}: run `hadadactl backup setup` first, so that it does",
                    repository.name(),
                    target.name
                );
            }
            let mut void = 0;
            for key in restic.keys()? {
                if !key.current && key.user_name != "recovery" {
                    restic.remove_key(&key.id)?;
                    void += 1;
                }
            }
            say(&format!(
                "  {}: {void} older keys are void",
                repository.name()
            ));
        }
    }
    Ok(Outcome::Good)
}
