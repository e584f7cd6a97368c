//! The nightly set: the records, their keys, the patients' files, the audit log's head and the register of erasures.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;

use super::keys::Repository;
use super::ledger::{self, Dump, Entry, What};
use super::settings::Target;
use super::{Work, clock, progress, retention, say, size};
use crate::files;
use crate::postgres::{self, Databases, FINGERPRINTS, GOLDEN, NEWEST, Server};
use crate::programs::LONG;
use crate::restic::Restic;

/// What a nightly run did.
pub struct Done {
    pub bytes: u64,
    pub seconds: u64,
}

/// The files that a set holds, as the drill compares them.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Manifest {
    /// Each document's path below the box's folder, and its SHA-256 in hex.
    pub documents: BTreeMap<String, String>,
}

impl Manifest {
    /// Where it is written before it goes into the set.
    pub const NAME: &str = "documents.json";

    /// Reads all documents below a box's folder.
    ///
    /// # Errors
    /// When one can't be read.
    pub fn of(state: &std::path::Path) -> Result<Self> {
        let mut manifest = Self::default();
        let mut folders = vec![state.join("documents")];
        while let Some(folder) = folders.pop() {
            let entries = match std::fs::read_dir(&folder) {
                Ok(entries) => entries,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => {
                    return Err(error).with_context(|| format!("can't read {}", folder.display()));
                }
            };
            for entry in entries {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    folders.push(entry.path());
                } else if entry.file_type()?.is_file() {
                    let path = entry.path();
                    let mut file = std::fs::File::open(&path)
                        .with_context(|| format!("can't read {}", path.display()))?;
                    let mut hash = Sha256::new();
                    let mut buffer = vec![0; 256 << 10];
                    loop {
                        let length = std::io::Read::read(&mut file, &mut buffer)
                            .with_context(|| format!("can't read {}", path.display()))?;
                        if length == 0 {
                            break;
                        }
                        hash.update(&buffer[..length]);
                    }
                    let name = path.strip_prefix(state).unwrap_or(&path);
                    manifest
                        .documents
                        .insert(name.display().to_string(), hex::encode(hash.finalize()));
                }
            }
        }
        Ok(manifest)
    }
}

/// Makes a set at a target.
///
/// # Errors
/// When the target or the database is not there, or the set could not be made whole; nothing of it is then listed.
pub fn run(work: &Work, target: &Target) -> Result<Done> {
    let began = Instant::now();
    say(&format!("backing up to {}", target.name));
    let records = work.use_repository(target, Repository::Records)?;
    let wrapped = work.use_repository(target, Repository::Keys)?;
    records.unlock()?;
    wrapped.unlock()?;
    let opened = [
        (Repository::Records, &records),
        (Repository::Keys, &wrapped),
    ];
    let run = work.begin("nightly", target, &opened)?;
    let entries = make(work, target, &run, &records, &wrapped)?;
    let bytes = entries
        .iter()
        .map(|entry| match &entry.what {
            What::Records(dump) | What::Keys(dump) => dump.bytes,
            _ => 0,
        })
        .sum();
    work.record(&run, entries)?;
    for (repository, restic) in opened {
        work.keep_ledger(target, repository, restic, "nightly")?;
    }
    Ok(Done {
        bytes,
        seconds: began.elapsed().as_secs(),
    })
}

fn make(
    work: &Work,
    target: &Target,
    run: &str,
    records: &Restic,
    wrapped: &Restic,
) -> Result<Vec<Entry>> {
    let server = Server::of_box(&work.place)?;
    let databases = Databases::of(&work.place)?;
    let entry = |repository, snapshot, what| Entry {
        target: target.name.clone(),
        repository,
        snapshot,
        run: run.to_owned(),
        made_at: clock(),
        what,
        verified_at: None,
    };
    // Before the dump, so that the log in the dump reaches it.
    let head = files::read_if_there(&work.place.head())?
        .map(|head| String::from_utf8_lossy(&head).into_owned());
    say("  the records");
    let (snapshot, mut dump) = dump(&server, &databases.records, "records.dump", records, run)?;
    dump.head = head;
    let mut entries = vec![entry(Repository::Records, snapshot, What::Records(dump))];
    // After the records: a patient's key is made before the patient, so each one's is there.
    say("  the keys");
    let (snapshot, dump) = self::dump(&server, &databases.keys, "keys.dump", wrapped, run)?;
    entries.push(entry(Repository::Keys, snapshot, What::Keys(dump)));
    // After the records: whatever file a row names is there.
    say("  the files");
    let manifest = work.place.backup().join(Manifest::NAME);
    files::replace(
        &manifest,
        0o640,
        &serde_json::to_vec(&Manifest::of(work.place.state())?)?,
    )?;
    let mut paths = vec![
        manifest,
        work.place.documents(),
        work.place.head(),
        work.place.erasures(),
    ];
    paths.retain(|path| path.exists());
    let ledger = ledger::read(&work.place, &work.keys)?;
    let parent = ledger
        .sets(&target.name)
        .pop()
        .map(|set| set.files.snapshot);
    let snapshot = records.keep_files(&paths, &format!("files,{run}"), parent.as_deref(), LONG)?;
    let state = work.place.state().to_owned();
    entries.push(entry(Repository::Records, snapshot, What::Files { state }));
    Ok(entries)
}

/// One database, with what the drill compares a restored copy with: taken in the same snapshot of the database.
fn dump(
    server: &Server,
    database: &str,
    file: &str,
    restic: &Restic,
    run: &str,
) -> Result<(String, Dump)> {
    let mut session = server.session(database)?;
    session.ask("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;")?;
    let shared = session
        .ask("SELECT pg_export_snapshot();")?
        .pop()
        .context("the database gave no snapshot")?;
    let maker = server
        .client("pg_dump")
        // Compressed by restic, which then finds again what has not changed.
        .args(["-Fc", "-Z0", "--lock-wait-timeout=60000"])
        .arg(format!("--snapshot={shared}"))
        .args(["-d", database]);
    let (snapshot, poured) =
        restic.keep_stream(maker, file, &format!("dump,{run}"), &mut progress(file))?;
    let mut counts = BTreeMap::new();
    let mut golden = BTreeMap::new();
    fingerprints(session.ask(FINGERPRINTS)?, &mut counts, &mut golden);
    answers(session.ask(GOLDEN)?, &mut golden);
    let newest = if counts.contains_key("audit_events") {
        session
            .ask(&format!("{NEWEST};"))?
            .pop()
            .and_then(|text| postgres::instant(&text))
    } else {
        None
    };
    session.ask("COMMIT;")?;
    let rows: u64 = counts.values().sum();
    say(&format!(
        "    {} in {} tables with {rows} rows",
        size(poured.bytes),
        counts.len()
    ));
    if counts.is_empty() {
        bail!("the database {database} has no tables: was `hadada migrate` run?");
    }
    Ok((
        snapshot,
        Dump {
            bytes: poured.bytes,
            sha256: hex::encode(poured.sha256),
            counts,
            golden,
            newest,
            head: None,
        },
    ))
}

/// Takes the lines of [`FINGERPRINTS`] apart.
pub fn fingerprints(
    lines: Vec<String>,
    counts: &mut BTreeMap<String, u64>,
    golden: &mut BTreeMap<String, String>,
) {
    for line in lines {
        let mut fields = line.split('\t');
        if let (Some(table), Some(count), Some(sum)) = (fields.next(), fields.next(), fields.next())
            && let Ok(count) = count.parse()
        {
            counts.insert(table.to_owned(), count);
            golden.insert(format!("content of {table}"), sum.to_owned());
        }
    }
}

/// Takes the lines of [`GOLDEN`] apart.
pub fn answers(lines: Vec<String>, golden: &mut BTreeMap<String, String>) {
    for line in lines {
        if let Some((question, answer)) = line.split_once('\t') {
            golden.insert(question.to_owned(), answer.to_owned());
        }
    }
}

/// How many snapshots are at a target that this box did not make.
///
/// # Errors
/// When a repository can't be read.
pub fn foreign(work: &Work, target: &Target) -> Result<usize> {
    let mut count = 0;
    for repository in Repository::ALL {
        let before = ledger::read(&work.place, &work.keys)?;
        let there = work.open(target, repository)?.snapshots()?;
        // A run of another kind may just now be making one, or have done so since the ledger was read.
        let after = ledger::read(&work.place, &work.keys)?;
        let mut own = before.own(&target.name, repository);
        own.extend(after.own(&target.name, repository));
        let begun: Vec<&str> = before
            .begun
            .iter()
            .chain(&after.begun)
            .map(|begun| begun.run.as_str())
            .collect();
        count += there
            .iter()
            .filter(|snapshot| {
                !own.contains(snapshot.id.as_str())
                    && !snapshot
                        .tags
                        .iter()
                        .any(|tag| begun.contains(&tag.as_str()))
            })
            .count();
    }
    Ok(count)
}

/// Removes what the ledger says may go, once nobody else is at the target; gives how many went.
///
/// # Errors
/// When a repository can't be written, or others are there for longer than there is `patience`.
pub fn tidy(
    work: &Work,
    target: &Target,
    now: OffsetDateTime,
    patience: Duration,
) -> Result<usize> {
    let erased_at = work.erased_at()?;
    let mut gone = 0;
    for repository in Repository::ALL {
        let restic = work.open(target, repository)?.waiting(patience);
        let ledger = ledger::read(&work.place, &work.keys)?;
        let expired = retention::expired(&ledger, &target.name, work.settings.keep, now, erased_at);
        let may_go: Vec<String> = ledger
            .entries
            .iter()
            .filter(|entry| entry.target == target.name && entry.repository == repository)
            .filter(|entry| expired.contains(&entry.snapshot))
            .map(|entry| entry.snapshot.clone())
            .chain(
                ledger
                    .superseded
                    .iter()
                    .filter(|old| old.target == target.name && old.repository == repository)
                    .map(|old| old.snapshot.clone()),
            )
            .collect();
        if may_go.is_empty() {
            continue;
        }
        let there = restic.snapshots()?;
        let go: Vec<String> = may_go
            .iter()
            .filter(|id| there.iter().any(|snapshot| snapshot.id == **id))
            .cloned()
            .collect();
        let note = || {
            ledger::update(&work.place, &work.keys, |ledger| {
                ledger
                    .entries
                    .retain(|entry| !may_go.contains(&entry.snapshot));
                ledger
                    .superseded
                    .retain(|old| !may_go.contains(&old.snapshot));
                Ok(())
            })
        };
        if go.is_empty() {
            note()?;
            continue;
        }
        say(&format!(
            "  {} old snapshots of {} go",
            go.len(),
            repository.name()
        ));
        restic.forget(&go, note)?;
        // Of the keys nothing may stay behind; of the records a little may, for speed.
        restic.prune(match repository {
            Repository::Keys => "0%",
            Repository::Records => "5%",
        })?;
        gone += go.len();
    }
    Ok(gone)
}
