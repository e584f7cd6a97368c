//! `backup`: sets targets up, backs up, lists and checks.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use clap::Subcommand;
use time::OffsetDateTime;

use super::Outcome;
use super::{backup_access, backup_key, backup_run, backup_setup, handover};
use crate::backup::keys::{BackupKeys, Repository};
use crate::backup::ledger;
use crate::backup::settings::{Settings, Target};
use crate::backup::{Work, nightly, retention, say, size, written};
use crate::cli::PlaceArgs;
use crate::place::Place;
use crate::programs::LONG;

#[derive(Subcommand)]
pub enum Backup {
    /// Makes the targets of [box.backup] ready, opened by the box's key and by the recovery key. Safe to repeat.
    Setup {
        /// One target only.
        #[arg(long, value_name = "NAME")]
        target: Option<String>,
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// For a target over the network: prints the key that an SFTP server must let in, or keeps a REST server's password, read
    /// from standard input.
    Access {
        /// The target.
        #[arg(value_name = "NAME")]
        name: String,
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Backs up now, to all targets: the records, the keys, the files; and a base backup where the last is a week old.
    Run {
        /// One target only.
        #[arg(long, value_name = "NAME")]
        target: Option<String>,
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Makes a base backup now, from which the log leads to any second.
    Base {
        /// One target only.
        #[arg(long, value_name = "NAME")]
        target: Option<String>,
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Shows what there is, and what of it was proved by a restore.
    List {
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Checks that everything at the targets is as it was written.
    Check {
        /// Reads a part of the data too, such as 1/7, or all of it: 1/1.
        #[arg(long, value_name = "PART")]
        read: Option<String>,
        /// One target only.
        #[arg(long, value_name = "NAME")]
        target: Option<String>,
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Gives the backups at all targets a new key and makes the one before void: when somebody may have learnt it. Safe to
    /// repeat.
    NewKey {
        /// One part of it, as the account that backs up.
        #[arg(long, hide = true)]
        part: Option<backup_key::Part>,
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Removes what is kept no longer. Each nightly backup does the same.
    Forget {
        /// Says what would go, and removes nothing.
        #[arg(long)]
        dry_run: bool,
        /// One target only.
        #[arg(long, value_name = "NAME")]
        target: Option<String>,
        #[command(flatten)]
        place: PlaceArgs,
    },
}

impl Backup {
    /// Runs it.
    ///
    /// # Errors
    /// When it could not be done.
    pub async fn run(self, now: OffsetDateTime) -> Result<Outcome> {
        match self {
            Self::Setup { target, place } => backup_setup::setup(&place.into(), target.as_deref()),
            Self::Access { name, place } => backup_access::run(&place.into(), &name),
            Self::Run { target, place } => {
                backup_run::back_up(&place.into(), target.as_deref(), now)
            }
            Self::Base { target, place } => backup_run::base(&place.into(), target.as_deref(), now),
            Self::List { place } => list(&place.into(), now),
            Self::Check {
                read,
                target,
                place,
            } => check(&place.into(), read.as_deref(), target.as_deref()),
            Self::NewKey { part, place } => backup_key::run(&place.into(), part),
            Self::Forget {
                dry_run,
                target,
                place,
            } => forget(&place.into(), dry_run, target.as_deref(), now),
        }
    }
}

pub(super) fn chosen<'a>(work: &'a Work, name: Option<&str>) -> Result<Vec<&'a Target>> {
    match name {
        Some(_) => Ok(vec![work.settings.named(name)?]),
        None => Ok(work.settings.target.iter().collect()),
    }
}

fn list(place: &Place, now: OffsetDateTime) -> Result<Outcome> {
    if handover::is_needed(place) {
        return handover::run(place);
    }
    let work = Work::of(place)?;
    let ledger = ledger::read(place, &work.keys)?;
    for target in &work.settings.target {
        println!("{}", target.name);
        let proved = |at: Option<OffsetDateTime>| match at {
            Some(at) => format!("verified {}", written(at)),
            None => "not tried yet".to_owned(),
        };
        for set in ledger.sets(&target.name) {
            let bytes = set.records.records().map_or(0, |dump| dump.bytes);
            let keys = if set.keys.is_some() {
                ""
            } else {
                "; its keys are gone by now, the newest open it"
            };
            println!(
                "  nightly {}  {:>8}  {}{keys}",
                written(set.records.made_at),
                size(bytes),
                proved(set.records.verified_at)
            );
        }
        for entry in ledger.bases(&target.name) {
            let bytes = entry.base().map_or(0, |base| base.bytes);
            println!(
                "  base    {}  {:>8}  {}",
                written(entry.made_at),
                size(bytes),
                proved(entry.verified_at)
            );
        }
        let wal = ledger.wal(&target.name);
        if let (Some(base), Some(newest)) = (ledger.bases(&target.name).first(), wal.last()) {
            println!(
                "  any second from {} to {} ({} pieces of the log)",
                written(base.made_at),
                written(newest.made_at),
                wal.len()
            );
        }
        for repository in Repository::ALL {
            match work
                .use_repository(target, repository)
                .and_then(|restic| restic.snapshots())
            {
                Ok(there) => {
                    let own = ledger.own(&target.name, repository);
                    let foreign = there
                        .iter()
                        .filter(|snapshot| !own.contains(snapshot.id.as_str()))
                        .count();
                    if foreign > 0 {
                        println!(
                            "  {foreign} snapshots in {} are not this box's; they are left alone",
                            repository.name()
                        );
                    }
                }
                Err(error) => println!("  {}: {error:#}", repository.name()),
            }
        }
    }
    if let Some(last) = ledger
        .entries
        .iter()
        .filter(|entry| entry.records().is_some())
        .map(|entry| entry.made_at)
        .max()
    {
        println!(
            "the newest nightly backup is {} hours old",
            (now - last).whole_hours()
        );
    }
    Ok(Outcome::Good)
}

fn check(place: &Place, read: Option<&str>, name: Option<&str>) -> Result<Outcome> {
    if let Some(part) = read
        && !part.split_once('/').is_some_and(|(one, all)| {
            matches!((one.parse::<u32>(), all.parse::<u32>()), (Ok(1..), Ok(1..)))
        })
    {
        bail!("--read {part}: say which part of how many, such as 1/7");
    }
    if handover::is_needed(place) {
        return handover::run(place);
    }
    let work = Work::of(place)?;
    let mut outcome = Outcome::Good;
    for target in chosen(&work, name)? {
        for repository in Repository::ALL {
            let what = format!("{} {}", target.name, repository.name());
            let result = work.use_repository(target, repository).and_then(|restic| {
                restic.unlock()?;
                restic.check(read)
            });
            match result {
                Ok(()) => say(&format!("whole  {what}")),
                Err(error) => {
                    say(&format!("FAULT  {what}: {error:#}"));
                    outcome = Outcome::Fault;
                }
            }
        }
    }
    Ok(outcome)
}

fn forget(
    place: &Place,
    dry_run: bool,
    name: Option<&str>,
    now: OffsetDateTime,
) -> Result<Outcome> {
    if handover::is_needed(place) {
        return handover::run(place);
    }
    let work = Work::of(place)?;
    let _alone = ledger::try_lock(place, "nightly")?;
    for target in chosen(&work, name)? {
        if dry_run {
            let ledger = ledger::read(place, &work.keys)?;
            let go = retention::expired(
                &ledger,
                &target.name,
                work.settings.keep,
                now,
                work.erased_at()?,
            );
            say(&format!("{}: {} snapshots would go", target.name, go.len()));
            for entry in ledger
                .entries
                .iter()
                .filter(|entry| go.contains(&entry.snapshot))
            {
                say(&format!(
                    "  {} {}",
                    entry.repository.name(),
                    written(entry.made_at)
                ));
            }
            continue;
        }
        for repository in Repository::ALL {
            work.use_repository(target, repository)?.unlock()?;
        }
        let gone = nightly::tidy(&work, target, now, LONG)?;
        say(&format!(
            "{}: {gone} snapshots went; {} are not this box's and stay",
            target.name,
            nightly::foreign(&work, target)?
        ));
    }
    Ok(Outcome::Good)
}

/// The keys of a paper, as work at a target that is given by the settings or by a folder.
///
/// # Errors
/// When there is no target.
pub fn work_of_paper(place: &Place, keys: BackupKeys, folder: Option<&Path>) -> Result<Work> {
    let mut settings = Settings::load(place)?;
    if let Some(folder) = folder {
        let folder = fs::canonicalize(folder)
            .with_context(|| format!("there is no folder {}", folder.display()))?;
        settings.target = vec![Target {
            name: "old".into(),
            folder: Some(folder),
            plain_folder: true,
            ..Target::default()
        }];
        settings.wal = None;
    }
    if settings.target.is_empty() {
        bail!(
            "say with --folder where the backups are, or set [[box.backup.target]] in {}",
            place.config().display()
        );
    }
    Ok(Work {
        place: place.clone(),
        settings,
        keys,
    })
}
