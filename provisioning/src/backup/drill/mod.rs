//! The drill: restores the newest backup from the target alone into a database of its own, and proves it. Only a backup that
//! went through this is called verified.

mod proof;
mod scratch;

pub use scratch::{Scratch, account};

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use ed25519_dalek::VerifyingKey;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use self::proof::{logical, physical};
use super::keys::Repository;
use super::ledger::{self, Entry, Set};
use super::settings::Target;
use super::turns::Turn;
use super::{Work, clock, say, written};
use crate::facts::{self, Fact, State};
use crate::files;
use crate::place::Place;
use crate::restic::Restic;

/// The kind of fact about drills.
pub const KIND: &str = "drill";
const DOCUMENT: &str = "hadada drill report 1";
/// How many reports are kept.
const REPORTS: usize = 400;

/// What a drill found.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    pub target: String,
    pub steps: Vec<Step>,
    /// When the restored nightly set was made.
    #[serde(with = "time::serde::rfc3339::option")]
    pub set_of: Option<OffsetDateTime>,
    /// When the newest change was made that base backup and log lead to.
    #[serde(with = "time::serde::rfc3339::option")]
    pub newest: Option<OffsetDateTime>,
    pub seconds: u64,
}

/// One thing that was tried.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Step {
    pub name: String,
    pub good: bool,
    pub said: String,
    pub seconds: u64,
}

impl Report {
    /// Whether everything was proved.
    pub fn is_good(&self) -> bool {
        !self.steps.is_empty() && self.steps.iter().all(|step| step.good)
    }
}

/// Where the newest report is.
pub fn report_path(place: &Place) -> PathBuf {
    place.backup().join("drill.json")
}

/// Reads the newest report, and makes sure that this box wrote it.
///
/// # Errors
/// When there is none, or it was changed.
pub fn show(place: &Place) -> Result<Report> {
    let path = report_path(place);
    let bytes = files::read_if_there(&path)?.with_context(|| {
        format!(
            "there is no {}: `hadadactl drill run` makes one",
            path.display()
        )
    })?;
    let key = files::read_public_key(&place.backup().join("backup.pub"))?
        .context("there is no backup.pub: run `hadadactl backup setup`")?;
    let key = VerifyingKey::from_bytes(&key).context("backup.pub is not a key")?;
    ledger::verify(DOCUMENT, &bytes, &key)
        .with_context(|| format!("{} can't be trusted", path.display()))
}

struct Steps(Vec<Step>);

impl Steps {
    /// Tries something; after a failure within `part`, the rest of that part is left out by its caller.
    fn attempt<T>(
        &mut self,
        name: &str,
        attempt: impl FnOnce() -> Result<(T, String)>,
    ) -> Option<T> {
        say(&format!("- {name}"));
        let began = Instant::now();
        let (value, good, said) = match attempt() {
            Ok((value, said)) => (Some(value), true, said),
            Err(error) => (None, false, format!("{error:#}")),
        };
        say(&format!(
            "  {}: {said}",
            if good { "good" } else { "FAILED" }
        ));
        self.0.push(Step {
            name: name.into(),
            good,
            said,
            seconds: began.elapsed().as_secs(),
        });
        value
    }
}

/// Restores and proves the newest backup of a target, keeps the signed report and says in the facts how it went.
///
/// # Errors
/// When the report or the facts can't be written; that the backup is no good is no error but a report.
pub fn run(work: &Work, target: &Target, now: OffsetDateTime) -> Result<Report> {
    let _alone = ledger::try_lock(&work.place, "drill")?;
    say(&format!(
        "restoring the newest backup at {} into a database of its own",
        target.name
    ));
    let began = Instant::now();
    let mut steps = Steps(Vec::new());
    let (mut set_of, mut newest) = (None, None);
    let mut verified: Vec<String> = Vec::new();
    if let Some(chosen) = steps.attempt("the newest backup that this box made", || {
        find(work, target)
    }) {
        set_of = Some(chosen.set.records.made_at);
        let before = steps.0.len();
        newest = physical(work, &chosen, &mut steps).flatten();
        if steps.0[before..].iter().all(|step| step.good) {
            verified.push(chosen.base.snapshot.clone());
        }
        let before = steps.0.len();
        logical(work, &chosen, &mut steps);
        if steps.0[before..].iter().all(|step| step.good) {
            verified.push(chosen.set.records.snapshot.clone());
            verified.push(chosen.set.files.snapshot.clone());
            verified.extend(chosen.set.keys.iter().map(|entry| entry.snapshot.clone()));
        }
    }
    let report = Report {
        at: clock().max(now),
        target: target.name.clone(),
        steps: steps.0,
        set_of,
        newest,
        seconds: began.elapsed().as_secs(),
    };
    if !verified.is_empty() {
        ledger::update(&work.place, &work.keys, |ledger| {
            for entry in &mut ledger.entries {
                if verified.contains(&entry.snapshot) {
                    entry.verified_at = Some(report.at);
                }
            }
            Ok(())
        })?;
    }
    keep(work, &report)?;
    facts::write(&work.place, fact(&report))?;
    Ok(report)
}

fn keep(work: &Work, report: &Report) -> Result<()> {
    let signed = ledger::sign(DOCUMENT, report, &work.keys)?;
    let folder = work.place.backup().join("drills");
    files::make_folder(&folder, 0o755)?;
    let name = format!("{}.json", report.at.unix_timestamp());
    files::replace(&folder.join(name), 0o644, &signed)?;
    files::replace(&report_path(&work.place), 0o644, &signed)?;
    let mut all: Vec<PathBuf> = fs::read_dir(&folder)?
        .flatten()
        .map(|entry| entry.path())
        .collect();
    all.sort();
    for old in all.iter().rev().skip(REPORTS) {
        let _ = fs::remove_file(old);
    }
    Ok(())
}

fn fact(report: &Report) -> Fact {
    let failed: Vec<&Step> = report.steps.iter().filter(|step| !step.good).collect();
    let fact = match failed.first() {
        None => Fact::good(
            KIND,
            report.at,
            format!(
                "The backup was restored from {} and every check was passed.",
                report.target
            ),
        ),
        Some(step) => Fact::fault(
            KIND,
            report.at,
            State::Bad,
            "The backup could not be restored in the nightly trial. The clinic works on, but is not protected.",
            format!(
                "{}: {}. Make a backup to another target (`hadadactl backup run`), then look at `hadadactl drill show` and \
                 `hadadactl backup check`.",
                step.name, step.said
            ),
        ),
    };
    let fact = fact
        .with("target", report.target.clone())
        .with("steps", report.steps.len())
        .with("failed", failed.len())
        .with("seconds", report.seconds);
    match report.set_of {
        Some(at) => fact.with("backup_of", written(at)),
        None => fact,
    }
}

struct Chosen {
    records: Restic,
    wrapped: Restic,
    set: Set,
    base: Entry,
    wal: Vec<Entry>,
    /// What was chosen stays there until all of it is read.
    _held: Vec<Turn>,
}

fn find(work: &Work, target: &Target) -> Result<(Chosen, String)> {
    let records = work.use_repository(target, Repository::Records)?;
    let wrapped = work.use_repository(target, Repository::Keys)?;
    let held = work.hold(target)?;
    let ledger = ledger::read(&work.place, &work.keys)?;
    let set = ledger
        .sets(&target.name)
        .pop()
        .context("there is no nightly backup yet: `hadadactl backup run` makes one")?;
    let base = (*ledger
        .bases(&target.name)
        .last()
        .context("there is no base backup yet: `hadadactl backup base` makes one")?)
    .clone();
    let wal: Vec<Entry> = ledger
        .wal(&target.name)
        .into_iter()
        .filter(|piece| piece.wal().map(|wal| &wal.system) == base.base().map(|base| &base.system))
        .cloned()
        .collect();
    let lost = lost(
        work,
        target,
        &[
            (&records, Repository::Records),
            (&wrapped, Repository::Keys),
        ],
    )?;
    if lost > 0 {
        bail!(
            "{lost} backups that this box made are gone from {}: somebody or something removed them",
            target.name
        );
    }
    let said = format!(
        "nightly backup of {}, base backup of {}, {} pieces of the log",
        written(set.records.made_at),
        written(base.made_at),
        wal.len()
    );
    Ok((
        Chosen {
            records,
            wrapped,
            set,
            base,
            wal,
            _held: held,
        },
        said,
    ))
}

/// How many snapshots that the ledger promises are not at the target, whether this drill would read them or not.
fn lost(work: &Work, target: &Target, opened: &[(&Restic, Repository)]) -> Result<usize> {
    let mut lost = 0;
    for (restic, repository) in opened {
        let before = ledger::read(&work.place, &work.keys)?;
        let there = restic.snapshots()?;
        // What a push replaced meanwhile is rightly gone.
        let after = ledger::read(&work.place, &work.keys)?;
        let own = after.own(&target.name, *repository);
        lost += before
            .entries
            .iter()
            .filter(|entry| entry.target == target.name && entry.repository == *repository)
            .filter(|entry| own.contains(entry.snapshot.as_str()))
            .filter(|entry| !there.iter().any(|snapshot| snapshot.id == entry.snapshot))
            .count();
    }
    Ok(lost)
}
