//! Base backups: the database's files as they are, from which the log leads to any second.

use std::time::Instant;

use anyhow::{Context, Result};

use super::keys::Repository;
use super::ledger::{Base, Entry, What};
use super::settings::Target;
use super::{Work, clock, progress, say, spool};
use crate::postgres::Server;

/// The stream's name in its snapshot.
pub const FILE: &str = "base.tar";

/// Makes a base backup at a target.
///
/// # Errors
/// When the target or the database is not there, or a page of the database is damaged; then nothing is listed.
pub fn run(work: &Work, target: &Target) -> Result<(u64, u64)> {
    let began = Instant::now();
    say(&format!("base backup to {}", target.name));
    let restic = work.use_repository(target, Repository::Keys)?;
    let run = work.begin("base", target, &[(Repository::Keys, &restic)])?;
    let spool = spool::Spool::of(&work.place);
    let demanded = spool.base_demanded()?;
    let server = Server::of_box(&work.place)?;
    let system = server
        .value(
            "postgres",
            "SELECT system_identifier FROM pg_control_system()",
        )?
        .context("the database does not say which it is")?;
    // It checks every page on the way, and ends badly where one is damaged.
    let maker = server.client("pg_basebackup").args([
        "-D", "-", "-F", "tar", "-X", "fetch", "-c", "fast", "-l", "hadada",
    ]);
    let (snapshot, poured) =
        restic.keep_stream(maker, FILE, &format!("base,{run}"), &mut progress(FILE))?;
    let label = String::from_utf8_lossy(&poured.head);
    let start = label
        .split_once("START WAL LOCATION")
        .and_then(|(_, rest)| rest.split_once("(file "))
        .and_then(|(_, rest)| rest.get(..24))
        .filter(|name| spool::Segment::parse(name).is_some())
        .context("the base backup does not say where it starts")?
        .to_owned();
    let bytes = poured.bytes;
    work.record(
        &run,
        vec![Entry {
            target: target.name.clone(),
            repository: Repository::Keys,
            snapshot,
            run: run.clone(),
            made_at: clock(),
            what: What::Base(Base {
                bytes,
                sha256: hex::encode(poured.sha256),
                system,
                start,
            }),
            verified_at: None,
        }],
    )?;
    if work
        .settings
        .wal_target()
        .is_some_and(|first| first.name == target.name)
        // What was demanded meanwhile may be about a gap after this one's start.
        && spool.base_demanded()? == demanded
    {
        spool.base_made()?;
    }
    work.keep_ledger(target, Repository::Keys, &restic, "base")?;
    Ok((bytes, began.elapsed().as_secs()))
}
