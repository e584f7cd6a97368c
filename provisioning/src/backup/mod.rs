//! Backups: nightly dumps, weekly base backups and the continuous log, at one or more targets; what of them is kept; and the
//! restoring that proves them.

pub mod base;
pub mod drill;
pub mod keys;
pub mod ledger;
pub mod nightly;
pub mod plan;
pub mod push;
pub mod recovery;
pub mod restore;
pub mod retention;
pub mod settings;
pub mod spool;
pub mod target;
pub mod turns;

use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use self::keys::{BackupKeys, Repository};
use self::ledger::{Begun, Entry, What};
use self::settings::{Settings, Target};
use self::turns::{Turn, Turns};
use crate::files;
use crate::place::Place;
use crate::programs::SHORT;
use crate::restic::{Found, Restic};

/// What every command about backups needs.
pub struct Work {
    pub place: Place,
    pub settings: Settings,
    pub keys: BackupKeys,
}

/// The box's clock, for when something was whole.
pub fn clock() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}

/// A time as people write it down for `restore at`.
pub fn written(at: OffsetDateTime) -> String {
    let local = time::UtcOffset::from_hms(2, 0, 0).map_or(at, |offset| at.to_offset(offset));
    local
        .replace_nanosecond(0)
        .unwrap_or(local)
        .format(&Rfc3339)
        .unwrap_or_default()
}

/// Bytes as people say them.
pub fn size(bytes: u64) -> String {
    match bytes {
        0..1_000_000 => format!("{} kB", bytes.div_ceil(1000)),
        1_000_000..10_000_000_000 => format!("{} MB", bytes / 1_000_000),
        _ => format!("{} GB", bytes / 1_000_000_000),
    }
}

/// Says what goes on, at once.
pub fn say(words: &str) {
    println!("{words}");
    let _ = std::io::stdout().flush();
}

/// Says how far a stream is, every few seconds.
pub fn progress(what: &str) -> impl FnMut(u64) {
    let what = what.to_owned();
    let mut said = Instant::now();
    move |bytes| {
        if said.elapsed() > Duration::from_secs(5) {
            said = Instant::now();
            say(&format!("  {what}: {}", size(bytes)));
        }
    }
}

impl Work {
    /// Reads settings and secrets.
    ///
    /// # Errors
    /// When they are missing or wrong.
    pub fn of(place: &Place) -> Result<Self> {
        let settings = Settings::with_target(place)?;
        Ok(Self {
            settings,
            keys: BackupKeys::of_box(place)?,
            place: place.clone(),
        })
    }

    /// One repository of a target, that must have been set up.
    ///
    /// # Errors
    /// When the target is not there, or nothing was set up at it.
    pub fn open(&self, target: &Target, repository: Repository) -> Result<Restic> {
        target::check(&self.place, target)?;
        target::open(&self.place, &self.settings, target, &self.keys, repository)
    }

    /// As [`Work::open`], and makes sure that it can be used.
    ///
    /// # Errors
    /// Also when the repository does not open.
    pub fn use_repository(&self, target: &Target, repository: Repository) -> Result<Restic> {
        let restic = self.open(target, repository)?;
        if restic.find()? == Found::None {
            bail!(
                "nothing was set up at the target {} yet, or it is another disk: run `hadadactl backup setup`",
                target.name
            );
        }
        Ok(restic)
    }

    /// Keeps everything at a target there, for as long as the answer lives: whoever goes by what the ledger says may read all
    /// of it.
    ///
    /// # Errors
    /// When something is being removed there for hours.
    pub fn hold(&self, target: &Target) -> Result<Vec<Turn>> {
        Repository::ALL
            .into_iter()
            .map(|repository| Turns::of(&self.place, target, repository).beside())
            .collect()
    }

    /// Notes that a run begins, and returns its mark. Leftovers of runs of this kind that broke off are removed first, unless
    /// that has to wait; the caller holds the lock of that kind.
    ///
    /// # Errors
    /// When the ledger or the repositories can't be read.
    pub fn begin(
        &self,
        kind: &str,
        target: &Target,
        opened: &[(Repository, &Restic)],
    ) -> Result<String> {
        let ledger = ledger::read(&self.place, &self.keys)?;
        let broken: Vec<Begun> = ledger
            .begun
            .iter()
            .filter(|begun| begun.kind == kind && begun.target == target.name)
            .cloned()
            .collect();
        let mut removed = true;
        if !broken.is_empty() {
            for (repository, restic) in opened {
                restic.unlock()?;
                let own = ledger.own(&target.name, *repository);
                let left: Vec<String> = restic
                    .snapshots()?
                    .into_iter()
                    .filter(|snapshot| {
                        !own.contains(snapshot.id.as_str())
                            && snapshot
                                .tags
                                .iter()
                                .any(|tag| broken.iter().any(|begun| begun.run == *tag))
                    })
                    .map(|snapshot| snapshot.id)
                    .collect();
                if !left.is_empty() {
                    // Left to the next run of this kind rather than waited for.
                    if restic.forget_unless_busy(&left, || Ok(()))? {
                        say(&format!(
                            "  {} unfinished snapshots of a run that broke off are removed",
                            left.len()
                        ));
                    } else {
                        removed = false;
                    }
                }
            }
        }
        let run = ledger::new_run()?;
        ledger::update(&self.place, &self.keys, |ledger| {
            ledger
                .begun
                .retain(|begun| !removed || !broken.contains(begun));
            ledger.begun.push(Begun {
                kind: kind.into(),
                target: target.name.clone(),
                run: run.clone(),
            });
            Ok(())
        })?;
        Ok(run)
    }

    /// Notes that a run ended well with these snapshots.
    ///
    /// # Errors
    /// When the ledger can't be written.
    pub fn record(&self, run: &str, entries: Vec<Entry>) -> Result<()> {
        ledger::update(&self.place, &self.keys, |ledger| {
            ledger.begun.retain(|begun| begun.run != run);
            ledger.entries.extend(entries);
            Ok(())
        })
    }

    /// Puts a copy of the ledger into a repository, with what a new machine needs besides.
    ///
    /// # Errors
    /// When it can't be kept.
    pub fn keep_ledger(
        &self,
        target: &Target,
        repository: Repository,
        restic: &Restic,
        kind: &str,
    ) -> Result<()> {
        let run = self.begin(
            &format!("{kind}-ledger-{}", repository.name()),
            target,
            &[(repository, restic)],
        )?;
        let tag = format!("ledger,{run}");
        let snapshot = restic.keep_files(&self.companions(), &tag, None, SHORT)?;
        self.record(
            &run,
            vec![Entry {
                target: target.name.clone(),
                repository,
                snapshot,
                run: run.clone(),
                made_at: clock(),
                what: What::Ledger {
                    state: self.place.state().to_owned(),
                },
                verified_at: None,
            }],
        )
    }

    /// Small files that go along with every piece of the log: what must be newest when a box is lost.
    pub fn companions(&self) -> Vec<std::path::PathBuf> {
        let mut paths = vec![
            ledger::path(&self.place),
            self.place.head(),
            self.place.erasures(),
            self.place.recovery_public_key(),
            self.place.audit_public_key(),
            self.place.authority(),
        ];
        if let Ok(folder) = std::fs::read_dir(self.place.escrow()) {
            paths.extend(folder.flatten().map(|entry| entry.path()));
        }
        // Read-only for this account, or not there yet: the rest is worth keeping all the same.
        paths.retain(|path| std::fs::File::open(path).is_ok());
        paths
    }

    /// When a patient's key was last destroyed.
    ///
    /// # Errors
    /// When the register can't be read.
    pub fn erased_at(&self) -> Result<Option<OffsetDateTime>> {
        Ok(
            erasures(&files::read_if_there(&self.place.erasures())?.unwrap_or_default())
                .into_iter()
                .map(|erasure| erasure.at)
                .max(),
        )
    }
}

/// One line of the register of erasures.
#[derive(Debug, Clone, Deserialize)]
pub struct Erasure {
    pub practice_id: String,
    pub patient_id: String,
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
}

/// The lines of a register that are whole; a last line may be cut short by a power cut.
pub fn erasures(register: &[u8]) -> Vec<Erasure> {
    String::from_utf8_lossy(register)
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

/// The free bytes of the file system that holds this.
///
/// # Errors
/// When it can't be asked.
pub fn free(path: &std::path::Path) -> Result<u64> {
    let about = rustix::fs::statvfs(path)
        .with_context(|| format!("can't ask how much is free at {}", path.display()))?;
    Ok(about.f_bavail.saturating_mul(about.f_frsize))
}
