//! Restoring for real: to the newest state or to a second, one patient's record, or the whole box on a new machine.

mod build;
mod erased;
mod new_box;
mod patient;
mod site;

pub use new_box::{adopt, new_box};
pub use patient::patient;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::json;
use time::OffsetDateTime;

use self::build::build;
use self::site::{Site, swap};
use super::ledger;
use super::plan::{Point, choose};
use super::settings::Target;
use super::spool::{Spool, list};
use super::{Work, say, written};
use crate::admin::{Socket, listens};
use crate::place::Place;
use crate::postgres::{Databases, Server};

/// What a restore came to.
pub struct Done {
    /// The newest change that is there.
    pub newest: Option<OffsetDateTime>,
    /// The newest change that was there, where it is known.
    pub before: Option<OffsetDateTime>,
    /// Where the old database is kept.
    pub aside: Option<PathBuf>,
    pub seconds: u64,
    /// Whether somebody still has to accept the audit log's head.
    pub head_open: bool,
}

impl Done {
    /// Prints time and loss.
    pub fn tell(&self, point: Point) {
        say("");
        match self.newest {
            Some(newest) => say(&format!(
                "The newest change that is there was made at {}.",
                written(newest)
            )),
            None => say("The database is there; nothing was ever recorded in it."),
        }
        match (point, self.newest, self.before) {
            (Point::Latest, Some(newest), Some(before)) if newest >= before => {
                say("Data loss: none. Everything that was in the old database is there.");
            }
            (Point::Latest, Some(newest), Some(before)) => say(&format!(
                "Data loss: what was entered between {} and {} ({} s).",
                written(newest),
                written(before),
                (before - newest).whole_seconds().max(1)
            )),
            (Point::Latest, Some(newest), None) => say(&format!(
                "Data loss: whatever was entered after {}. Compare with the diary on paper and with what people remember.",
                written(newest)
            )),
            (Point::At(at), ..) => say(&format!(
                "Everything entered after {} is gone from the database, as asked.",
                written(at)
            )),
            _ => {}
        }
        say(&format!(
            "Time: {} min {} s.",
            self.seconds / 60,
            self.seconds % 60
        ));
        if let Some(aside) = &self.aside {
            say(&format!(
                "The old database is kept in {}. Look at the clinic's data, then `hadadactl restore confirm` removes it.",
                aside.display()
            ));
        }
        if self.head_open {
            say(
                "When hadada runs again: `hadadactl restore finish`, which lets the audit log go on from here.",
            );
        }
    }
}

/// Replaces the box's database by the one of an earlier time. The old one is kept aside. Where anything fails, the old one is
/// started again.
///
/// # Errors
/// When nothing reaches the point, or a step fails.
pub async fn replace(
    work: &Work,
    target: &Target,
    point: Point,
    paper: Option<&str>,
) -> Result<Done> {
    let _alone = ledger::try_lock(&work.place, "restore")?;
    let began = Instant::now();
    let site = Site::of(&work.place)?;
    let plan = choose(&ledger::read(&work.place, &work.keys)?, &target.name, point)?;
    say(&format!("from {}: {}", target.name, plan.words()));
    let databases = Databases::of(&work.place)?;
    let before = Server::of_box(&work.place)
        .and_then(|server| {
            server.value(&databases.records, &format!("{};", crate::postgres::NEWEST))
        })
        .ok()
        .flatten()
        .and_then(|text| crate::postgres::instant(&text));
    site.stop()?;
    // Only now: a backup that was tidying up was stopped with the rest.
    let built = work.hold(target).and_then(|_held| {
        let ledger = ledger::read(&work.place, &work.keys)?;
        let plan = choose(&ledger, &target.name, point)?;
        build(
            work, target, &site, &ledger, &plan, point, &databases, paper,
        )
    });
    let newest = match built {
        Ok(newest) => newest,
        Err(error) => {
            let _ = fs::remove_dir_all(site.beside("restoring"));
            if site.data.join("PG_VERSION").exists() {
                say("it did not work: the database is left as it was, and started again");
                // What went wrong first is what has to be known.
                if let Err(also) = site.start() {
                    say(&format!("and not all of it started again: {also:#}"));
                }
            }
            return Err(error);
        }
    };
    let aside = match swap(&site) {
        Ok(aside) => aside,
        Err(error) => {
            if let Err(also) = site.start() {
                say(&format!("and not all of it started again: {also:#}"));
            }
            return Err(error);
        }
    };
    clear_spool(&work.place)?;
    site.start()?;
    let head_open = finish(&work.place).await.is_err();
    Ok(Done {
        newest,
        before,
        aside,
        seconds: began.elapsed().as_secs(),
        head_open,
    })
}

/// The log of the database that was: it is no part of the one that is.
fn clear_spool(place: &Place) -> Result<()> {
    let spool = Spool::of(place);
    for folder in [spool.waiting(), spool.pushed()] {
        for file in list(&folder)? {
            fs::remove_file(folder.join(&file.name))
                .with_context(|| format!("can't remove the old log file {}", file.name))?;
        }
    }
    if place.wal().exists() {
        spool.demand_base("the database was restored")?;
    }
    Ok(())
}

/// Lets the audit log go on from the restored one.
///
/// # Errors
/// When hadada does not run.
pub async fn finish(place: &Place) -> Result<()> {
    let path = place.admin_socket();
    let until = Instant::now() + Duration::from_secs(if place.is_installed() { 90 } else { 0 });
    while listens(&path).is_err() && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let by = std::env::var("SUDO_USER").unwrap_or_else(|_| "root".into());
    let answer = Socket::new(path)
        .post(
            "/audit/accept-head",
            &json!({"by": by, "reason": "the database was restored from a backup with hadadactl restore"}),
        )
        .await?;
    say(&format!(
        "the audit log goes on from the restored one; its head is {}",
        answer["new"].as_str().unwrap_or("?")
    ));
    Ok(())
}

/// Removes the databases that restores put aside.
///
/// # Errors
/// When one can't be removed.
pub fn confirm(place: &Place) -> Result<usize> {
    let site = Site::of(place)?;
    let mark = format!(
        "{}.before-",
        site.data.file_name().unwrap_or_default().to_string_lossy()
    );
    let mut count = 0;
    for entry in fs::read_dir(site.data.parent().unwrap_or(Path::new("/")))?.flatten() {
        if entry.file_name().to_string_lossy().starts_with(&mark) {
            say(&format!("removing {}", entry.path().display()));
            fs::remove_dir_all(entry.path())
                .with_context(|| format!("can't remove {}", entry.path().display()))?;
            count += 1;
        }
    }
    Ok(count)
}
