//! The way back to the release before: because the new one does not work, or because somebody wants it.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use time::OffsetDateTime;

use super::report::{fault, progress, settled};
use super::{clear_private, new_journal, running_version};
use crate::facts::State;
use crate::files;
use crate::release::version::Version;
use crate::update::health;
use crate::update::history::{self, Ending};
use crate::update::home::{Home, version_of};
use crate::update::journal::{Journal, Kind, Step};
use crate::update::settings::Settings;
use crate::update::slots;

/// When the way back happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// The machine is up: programs are stopped and started here.
    Running,
    /// The machine is booting: nothing of ours runs yet, and what is installed now is started after this.
    Booting,
}

/// Back to the release before. The databases stay: what was acknowledged since is in them, and migrations only add.
pub(super) async fn take_back(
    home: &Home,
    settings: &Settings,
    journal: &Journal,
    why: &str,
    moment: Moment,
) -> Result<()> {
    let to = journal
        .to
        .context("the journal does not say which release it is about")?;
    println!("Taking it back: {why}");
    if moment == Moment::Running {
        // One that hangs must not keep the old one away.
        if let Err(error) = slots::stop(home, &[journal.from, to]) {
            eprintln!("{error:#}");
        }
    }
    slots::flip(home, journal.from, "back.flip.middle")?;
    let mut works = true;
    if let Err(error) = slots::install_units(home, to, journal.from, "back.units.middle") {
        if moment == Moment::Booting {
            // The next start tries again.
            return Err(error);
        }
        // No reason to leave the practice without its programs.
        eprintln!("not all of {}'s units are back: {error:#}", journal.from);
        works = false;
    }
    if moment == Moment::Running {
        let started = slots::start(home, journal.from);
        let patience = Duration::from_secs(settings.health_seconds.into());
        let healthy = match started {
            Ok(()) => health::wait(home.place(), journal.from, false, patience).await,
            Err(error) => Err(format!("{error:#}")),
        };
        if let Err(why) = healthy {
            eprintln!("release {} does not work either: {why}", journal.from);
            works = false;
        }
    }
    clear_private(home)?;
    files::remove_folder(&home.trial())?;
    history::append(
        home,
        journal,
        Ending::Reverted,
        Some(why.to_owned()),
        OffsetDateTime::now_utc(),
    )?;
    Journal::clear(home)?;
    let (state, after) = if works {
        (
            State::Warning,
            format!(
                "The practice works on with {}; nothing that was entered is lost.",
                journal.from
            ),
        )
    } else {
        (
            State::Bad,
            format!(
                "Release {} was put back but does not answer yet.",
                journal.from
            ),
        )
    };
    fault(
        home,
        state,
        format!("The update to {to} was taken back: {why}. {after}"),
        "Send this sentence to the vendor before you try again.",
    )
}

/// Goes back to the release before, because somebody wants it. The counter stays where it is.
///
/// # Errors
/// When there is none, or it does not work.
pub async fn revert(home: &Home, settings: &Settings) -> Result<Version> {
    let from = running_version(home)?;
    let to =
        version_of(&home.previous()).context("there is no release before this one on the box")?;
    ensure!(to != from, "there is no release before this one on the box");
    ensure!(
        home.release(to).join("bin/hadada").exists(),
        "release {to} is no longer on the box"
    );
    let mut journal = new_journal(Kind::Revert, "this box".into(), from, None)?;
    journal.to = Some(to);
    journal.step = Step::Stop;
    journal.save(home)?;
    finish_revert(home, settings, &mut journal, Moment::Running).await?;
    Ok(to)
}

pub(super) async fn finish_revert(
    home: &Home,
    settings: &Settings,
    journal: &mut Journal,
    moment: Moment,
) -> Result<()> {
    let to = journal
        .to
        .context("the journal does not say which release it is about")?;
    let mut why = None;
    if moment == Moment::Running {
        progress(home, journal)?;
        slots::stop(home, &[journal.from, to])?;
    }
    journal.step = Step::Flip;
    journal.save(home)?;
    slots::flip(home, to, "back.flip.middle")?;
    journal.step = Step::Units;
    journal.save(home)?;
    slots::install_units(home, journal.from, to, "back.units.middle")?;
    if moment == Moment::Running {
        journal.step = Step::Start;
        journal.save(home)?;
        progress(home, journal)?;
        slots::start(home, to)?;
        let patience = Duration::from_secs(settings.health_seconds.into());
        why = health::wait(home.place(), to, false, patience).await.err();
    }
    slots::install_guard(home, to)?;
    slots::point(&home.previous(), journal.from)?;
    history::append(
        home,
        journal,
        if why.is_none() {
            Ending::Installed
        } else {
            Ending::Reverted
        },
        why.clone(),
        OffsetDateTime::now_utc(),
    )?;
    Journal::clear(home)?;
    match why {
        None => settled(home, &format!("The box went back to Hadada {to}.")),
        Some(why) => {
            fault(
                home,
                State::Bad,
                format!("The box went back to Hadada {to}, which does not answer: {why}."),
                "Run `hadadactl doctor`.",
            )?;
            bail!("release {to} does not answer: {why}")
        }
    }
}
