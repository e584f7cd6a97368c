//! Pushes waiting log files to the target, within the minute that may be lost.
//!
//! Each push is one snapshot of all files of the current batch, so that it replaces the one before: a repository with a
//! snapshot for each minute of a month would take minutes to open.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;

use super::keys::Repository;
use super::ledger::{self, Entry, Superseded, Wal, What};
use super::settings::Target;
use super::spool::{Segment, Spool, facts, list};
use super::turns::Busy;
use super::{Work, base, clock};
use crate::facts::{self as known, Fact, State};
use crate::files;
use crate::place::Place;

/// The most files in one batch: what a restore takes from the target at once.
const BATCH: usize = 128;
/// How many replaced snapshots wait until they are removed: each removal opens the repository once.
const REPLACED: usize = 15;
/// The kind of fact about the log.
pub const KIND: &str = "wal";
/// How long after a failed base backup the next is tried.
const AGAIN: Duration = Duration::from_secs(600);
/// How often a push looks whether more has come meanwhile, before it leaves that to the next.
const LOOKS: usize = 3;
/// How long a push waits for another command at the target before it says so and leaves it to the next.
const PATIENCE: Duration = Duration::from_secs(60);
/// For how long files may wait before somebody is told.
const LATE_SECONDS: i64 = 300;
/// The same where they only wait for the box's own backups to be made, read or removed.
const BUSY_SECONDS: i64 = 3600;

/// What goes with each push, signed: on new hardware it proves pushes that the newest ledger there does not know yet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Statement {
    pub target: String,
    pub run: String,
    pub wal: Wal,
    /// The files' SHA-256 in hex, in their order.
    pub sha256: Vec<String>,
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
}

impl Statement {
    pub const KIND: &str = "hadada wal push 1";
    pub const NAME: &str = "push.json";
}

/// Pushes everything that waits, and says in the facts how that stands. A target that is gone is a fact, no error: the timer
/// tries again, and the facts alert.
///
/// # Errors
/// When the ledger can't be used or the facts not be written.
pub fn run(work: &Work, now: OffsetDateTime) -> Result<bool> {
    let Ok(_alone) = ledger::try_lock(&work.place, "wal") else {
        return Ok(true);
    };
    let spool = Spool::of(&work.place);
    spool.make()?;
    let target = work.settings.named(None)?;
    let mut good = false;
    // The manager does not see what arrives while this runs.
    for _ in 0..LOOKS {
        let pushed = push_all(work, target, &spool);
        if pushed.is_ok() && spool.base_demanded()?.is_some() && may_try(&work.place)? {
            let made =
                ledger::try_lock(&work.place, "base").and_then(|_alone| base::run(work, target));
            if let Err(error) = made {
                eprintln!(
                    "hadadactl: a new base backup is needed and could not be made: {error:#}"
                );
            }
        }
        let fact;
        (good, fact) = tell(work, target, &spool, now, &pushed)?;
        known::write(&work.place, fact)?;
        if pushed.is_err() || list(&spool.waiting())?.is_empty() {
            break;
        }
    }
    Ok(good)
}

/// Whether the last try at a demanded base backup was long enough ago.
fn may_try(place: &Place) -> Result<bool> {
    let stamp = place.backup().join("base-tried");
    let recent = fs::metadata(&stamp)
        .and_then(|metadata| metadata.modified())
        .is_ok_and(|at| at.elapsed().is_ok_and(|since| since < AGAIN));
    if !recent {
        files::replace(&stamp, 0o640, b"")?;
    }
    Ok(!recent)
}

fn push_all(work: &Work, target: &Target, spool: &Spool) -> Result<usize> {
    let mut count = 0;
    loop {
        let pushed = push_some(work, target, spool)?;
        if pushed == 0 {
            return Ok(count);
        }
        count += pushed;
    }
}

/// One snapshot's worth; how many files it has that no target had.
fn push_some(work: &Work, target: &Target, spool: &Spool) -> Result<usize> {
    let waiting: Vec<String> = list(&spool.waiting())?
        .into_iter()
        .map(|file| file.name)
        .collect();
    let Some((system, size)) = waiting
        .iter()
        .find(|name| Segment::parse(name).is_some())
        .map(|name| facts(&spool.waiting().join(name)))
        .transpose()?
    else {
        return Ok(0);
    };
    let ledger = ledger::read(&work.place, &work.keys)?;
    let before = ledger
        .wal(&target.name)
        .into_iter()
        .rfind(|piece| piece.wal().is_some_and(|wal| wal.system == system))
        .cloned();
    let held: Vec<String> = list(&spool.pushed())?
        .into_iter()
        .map(|file| file.name)
        .collect();
    // It goes on where the last push's files are all still here, and it is not full.
    let goes_on = before.as_ref().and_then(Entry::wal).is_some_and(|wal| {
        wal.files.len() < BATCH
            && wal
                .files
                .iter()
                .all(|name| held.contains(name) || waiting.contains(name))
    });
    let mut all: Vec<String> = Vec::new();
    if goes_on {
        all.extend(
            before
                .iter()
                .filter_map(Entry::wal)
                .flat_map(|wal| wal.files.clone()),
        );
    } else {
        for name in &held {
            fs::remove_file(spool.pushed().join(name))
                .with_context(|| format!("can't remove {name}, which the target has"))?;
        }
    }
    let room = BATCH.saturating_sub(all.len()).max(1);
    let mut fresh: Vec<String> = Vec::new();
    for name in waiting {
        if fresh.len() == room {
            break;
        }
        if all.contains(&name) {
            continue;
        }
        if Segment::parse(&name).is_some() && facts(&spool.waiting().join(&name))?.0 != system {
            break;
        }
        fresh.push(name);
    }
    if fresh.is_empty() {
        // Pushed before, and only not moved on.
        move_on(spool, &all)?;
        return Ok(0);
    }
    let last = before
        .iter()
        .filter_map(Entry::wal)
        .flat_map(|wal| wal.files.iter().rev())
        .find_map(|name| Segment::parse(name));
    let mut expected = last.map(|last| last.next(size));
    for segment in fresh.iter().filter_map(|name| Segment::parse(name)) {
        if let Some(expected) = expected
            && segment > expected
            && segment.timeline == expected.timeline
        {
            spool.demand_base(&format!("the log has a gap before {}", fresh[0]))?;
        }
        expected = Some(segment.next(size));
    }
    all.extend(fresh.iter().cloned());
    all.sort();

    let restic = work.open(target, Repository::Keys)?.waiting(PATIENCE);
    let run = work.begin("wal", target, &[(Repository::Keys, &restic)])?;
    let here = |name: &String| {
        let waiting = spool.waiting().join(name);
        if waiting.exists() {
            waiting
        } else {
            spool.pushed().join(name)
        }
    };
    let mut paths: Vec<PathBuf> = all.iter().map(here).collect();
    let wal = Wal {
        system,
        files: all.clone(),
        state: work.place.state().to_owned(),
    };
    let statement = Statement {
        target: target.name.clone(),
        run: run.clone(),
        wal: wal.clone(),
        sha256: paths.iter().map(|path| hash(path)).collect::<Result<_>>()?,
        at: clock(),
    };
    let file = work.place.backup().join(Statement::NAME);
    files::replace(
        &file,
        0o640,
        &ledger::sign(Statement::KIND, &statement, &work.keys)?,
    )?;
    paths.push(file);
    paths.extend(work.companions());
    let parent = before
        .as_ref()
        .filter(|_| goes_on)
        .map(|entry| entry.snapshot.clone());
    let snapshot = restic.keep_files(
        &paths,
        &format!("wal,{run}"),
        parent.as_deref(),
        // A day's log over a slow line takes its time.
        work.settings.stall() + Duration::from_secs(60) * u32::try_from(fresh.len())?,
    )?;
    let entry = Entry {
        target: target.name.clone(),
        repository: Repository::Keys,
        snapshot,
        run: run.clone(),
        made_at: clock(),
        what: What::Wal(wal),
        verified_at: None,
    };
    let replaced = ledger::update(&work.place, &work.keys, |ledger| {
        ledger.begun.retain(|begun| begun.run != run);
        if let Some(before) = before.filter(|_| goes_on) {
            ledger
                .entries
                .retain(|entry| entry.snapshot != before.snapshot);
            ledger.superseded.push(Superseded {
                target: before.target,
                repository: before.repository,
                snapshot: before.snapshot,
            });
        }
        ledger.entries.push(entry);
        Ok(ledger
            .superseded
            .iter()
            .filter(|old| old.target == target.name && old.repository == Repository::Keys)
            .map(|old| old.snapshot.clone())
            .collect::<Vec<_>>())
    })?;
    move_on(spool, &all)?;
    // They take no room, so that whoever is at the repository for hours is not waited for.
    if replaced.len() > REPLACED {
        restic.forget_unless_busy(&replaced, || {
            ledger::update(&work.place, &work.keys, |ledger| {
                ledger
                    .superseded
                    .retain(|old| !replaced.contains(&old.snapshot));
                Ok(())
            })
        })?;
    }
    Ok(fresh.len())
}

fn move_on(spool: &Spool, names: &[String]) -> Result<()> {
    for name in names {
        let from = spool.waiting().join(name);
        if from.exists() {
            fs::rename(&from, spool.pushed().join(name))
                .with_context(|| format!("can't move {} on", from.display()))?;
        }
    }
    Ok(())
}

fn hash(path: &Path) -> Result<String> {
    let mut file =
        fs::File::open(path).with_context(|| format!("can't read {}", path.display()))?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        let length = std::io::Read::read(&mut file, &mut buffer)?;
        if length == 0 {
            return Ok(hex::encode(hash.finalize()));
        }
        hash.update(&buffer[..length]);
    }
}

fn tell(
    work: &Work,
    target: &Target,
    spool: &Spool,
    now: OffsetDateTime,
    pushed: &Result<usize>,
) -> Result<(bool, Fact)> {
    let waiting = list(&spool.waiting())?;
    let bytes: u64 = waiting.iter().map(|file| file.bytes).sum();
    let at = now.max(clock());
    let oldest = waiting
        .iter()
        .map(|file| at.unix_timestamp() - file.since)
        .max()
        .unwrap_or(0);
    let demanded = spool.base_demanded()?;
    let newest = ledger::read(&work.place, &work.keys)?
        .wal(&target.name)
        .last()
        .map(|entry| entry.made_at);
    let (good, fact) = match (pushed, demanded) {
        (Err(error), _) => {
            let busy = error.is::<Busy>();
            let late = oldest > if busy { BUSY_SECONDS } else { LATE_SECONDS };
            let why = if busy {
                format!(
                    "are not backed up yet: the box is busy at the backup target {}",
                    target.name
                )
            } else {
                format!(
                    "are not backed up: the backup target {} is not reached",
                    target.name
                )
            };
            eprintln!("hadadactl: {error:#}");
            (
                false,
                Fact::fault(
                    KIND,
                    at,
                    if late { State::Bad } else { State::Warning },
                    format!("The newest changes {why}. They are safe on this machine."),
                    format!("{error:#}"),
                ),
            )
        }
        (Ok(_), Some(why)) => (
            false,
            Fact::fault(
                KIND,
                at,
                State::Bad,
                "There is a gap in the continuous backup; it begins anew by itself with a whole copy of the database.",
                format!(
                    "{why}. A new base backup is tried every ten minutes; if this stays, run `hadadactl backup base`"
                ),
            ),
        ),
        (Ok(_), None) => (
            true,
            Fact::good(
                KIND,
                at,
                format!(
                    "Each minute's changes are on the backup target {}.",
                    target.name
                ),
            ),
        ),
    };
    let mut fact = fact
        .with("waiting_files", waiting.len())
        .with("waiting_bytes", bytes)
        .with("waiting_seconds", oldest)
        .with("limit_bytes", work.settings.spool_limit_mb << 20);
    if let Some(newest) = newest.and_then(|at| {
        at.format(&time::format_description::well_known::Rfc3339)
            .ok()
    }) {
        fact = fact.with("newest_push", newest);
    }
    Ok((good, fact))
}

/// Says in the facts that the continuous backup can't even begin.
///
/// # Errors
/// When the fact can't be written.
pub fn failed(place: &Place, error: &anyhow::Error) -> Result<()> {
    known::write(
        place,
        Fact::fault(
            KIND,
            clock(),
            State::Bad,
            "The newest changes are not backed up.",
            format!("{error:#}"),
        ),
    )
}

/// Reads the statement of a push.
///
/// # Errors
/// When this box did not sign it, or it is about another snapshot.
pub fn statement(
    bytes: &[u8],
    tags: &[String],
    work_keys: &super::keys::BackupKeys,
) -> Result<Statement> {
    let statement: Statement = ledger::verify(Statement::KIND, bytes, &work_keys.verifying())?;
    if !tags.contains(&statement.run) {
        bail!("it belongs to another snapshot");
    }
    Ok(statement)
}
