//! How an update ends: it stays, or what it made is thrown away; and the same for one that broke off.

use anyhow::{Context, Result};
use time::OffsetDateTime;

use super::back::{Moment, finish_revert, take_back};
use super::report::{fault, settled};
use super::{clear_private, running_version};
use crate::facts::State;
use crate::files;
use crate::update::counter::{self, Counter};
use crate::update::crash;
use crate::update::database::Databases;
use crate::update::history::{self, Ending};
use crate::update::home::{Home, version_of};
use crate::update::journal::{Journal, Kind, Step};
use crate::update::settings::Settings;
use crate::update::slots;

/// Brings the box in order after an update that broke off; gives what was done, if anything was to be done.
///
/// # Errors
/// When it can't be brought in order.
pub async fn settle(home: &Home, settings: &Settings, moment: Moment) -> Result<Option<String>> {
    let Some(mut journal) = Journal::read(home)? else {
        return mend_links(home);
    };
    // A box must come up even where its configuration was broken meanwhile.
    let databases = Databases::configured(home.place())
        .inspect_err(|error| eprintln!("the databases are left alone: {error:#}"))
        .ok();
    let databases = databases.as_ref();
    match journal.kind {
        Kind::Revert => {
            finish_revert(home, settings, &mut journal, moment).await?;
            Ok(Some(format!(
                "the way back to release {} was finished",
                running_version(home)?
            )))
        }
        Kind::Update if journal.step < Step::Stop => {
            let why = format!(
                "broke off: the machine or this program ended during the step \"{}\"",
                journal.step.said()
            );
            abandon(home, databases, &journal)?;
            history::append(
                home,
                &journal,
                Ending::Abandoned,
                Some(why.clone()),
                OffsetDateTime::now_utc(),
            )?;
            Journal::clear(home)?;
            fault(
                home,
                State::Warning,
                format!("An update {why}."),
                "Nothing was changed, and the practice works on. Start the update again.",
            )?;
            Ok(Some(format!("an update {why}; nothing was changed")))
        }
        Kind::Update if journal.step < Step::Confirm => {
            let why = journal.failure.clone().unwrap_or_else(|| {
                format!(
                    "broke off: the machine or this program ended during the step \"{}\"",
                    journal.step.said()
                )
            });
            take_back(home, settings, &journal, &why, moment).await?;
            Ok(Some(format!("the update was taken back, for it {why}")))
        }
        Kind::Update => {
            let to = journal
                .to
                .context("the journal does not say which release it is about")?;
            // Its files are in place since before it was tested; once more costs nothing.
            slots::flip(home, to, "")?;
            confirm(home, databases, &journal)?;
            if moment == Moment::Running {
                slots::start(home, to)?;
            }
            Ok(Some(format!("the update to {to} was finished")))
        }
    }
}

/// A box whose link is lost still has its releases.
fn mend_links(home: &Home) -> Result<Option<String>> {
    if home.current().join("bin").exists() {
        return Ok(None);
    }
    for link in [home.guard(), home.previous()] {
        if let Some(version) = version_of(&link)
            && home.release(version).join("bin").exists()
        {
            slots::flip(home, version, "")?;
            return Ok(Some(format!(
                "the link to the current release was lost: it is {version} again"
            )));
        }
    }
    Ok(None)
}

/// Throws away what was made before anything that runs was changed.
pub(super) fn abandon(home: &Home, databases: Option<&Databases>, journal: &Journal) -> Result<()> {
    clear_private(home)?;
    files::remove_folder(&home.trial())?;
    files::remove_folder(&home.snapshot())?;
    slots::sweep(home)?;
    // At boot Postgres may not be up; scratch copies are also dropped before the next update makes its own.
    if let Some(databases) = databases
        && let Err(error) = databases.scratch().drop_scratch()
    {
        eprintln!("the scratch copies stay for now: {error:#}");
    }
    if let Some(to) = journal.to
        && ![home.current(), home.previous(), home.guard()]
            .iter()
            .any(|link| version_of(link) == Some(to))
    {
        files::remove_folder(&home.release(to))?;
    }
    Ok(())
}

/// The new release stays. Done again after a crash, it comes out the same.
pub(super) fn confirm(home: &Home, databases: Option<&Databases>, journal: &Journal) -> Result<()> {
    let to = journal
        .to
        .context("the journal does not say which release it is about")?;
    if let Some(counter) = journal.counter {
        counter::raise_in_file(
            home,
            Counter {
                counter,
                version: to,
            },
        )?;
        crash::point("confirm.middle");
        // At boot Postgres may not be up yet: the file holds it until the next update compares the two.
        if let Some(databases) = databases
            && let Err(error) = databases.raise_counter(counter)
        {
            eprintln!("the database's counter stays for now: {error:#}");
        }
    }
    slots::install_guard(home, to)?;
    slots::point(&home.previous(), journal.from)?;
    for version in slots::prune(home)? {
        println!("      removed {version}");
    }
    clear_private(home)?;
    files::remove_folder(&home.trial())?;
    files::remove_file(&home.confirmation())?;
    files::remove_folder(&home.snapshot())?;
    let now = OffsetDateTime::now_utc();
    let date = now.date();
    history::append(home, journal, Ending::Installed, None, now)?;
    settled(home, &format!("Hadada {to} was installed on {date}."))?;
    Journal::clear(home)
}
