//! An update from its first step to its last, and back.
//!
//! Each step is on the disk, in the journal, before it begins. Until the programs are stopped nothing that runs has changed, so
//! whatever goes wrong, what was made is thrown away. From then until the new release has shown that it works, whatever goes
//! wrong, the old one is brought back; the databases stay as they are, for migrations only add, so nothing that was acknowledged
//! is lost. Once it works, it stays, and a crash only delays the tidying up.

mod arrival;
mod back;
mod rehearsal;
mod report;
mod settle;

pub use back::{Moment, revert};
pub use settle::settle;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use time::OffsetDateTime;

use self::back::take_back;
use self::report::{fault, progress};
use self::settle::{abandon, confirm};
use super::counter;
use super::crash;
use super::database::Databases;
use super::health;
use super::history::{self, Ending};
use super::home::{Home, version_of};
use super::journal::{Journal, Kind, Step};
use super::program;
use super::settings::Settings;
use super::slots;
use super::source::Source;
use super::trust::Trusted;
use crate::facts::State;
use crate::files;
use crate::release::manifest::Manifest;
use crate::release::version::Version;

/// How an update ended, for whoever asked for it.
#[derive(Debug, PartialEq, Eq)]
pub enum Ended {
    /// The box runs it.
    Installed(Version),
    /// The box runs it already.
    Already(Version),
    /// It was not let in, or broke off; nothing that runs was changed.
    Refused(String),
    /// It was switched to, did not work and was taken back.
    Reverted(String),
}

/// Somebody lets expired metadata pass.
pub struct Waiver {
    /// Why.
    pub reason: String,
    /// At which screen.
    pub screen: String,
}

/// A verified release on its way into the box.
struct Arrived {
    trusted: Trusted,
    manifest: Manifest,
    bundle: PathBuf,
}

/// An update in progress.
struct Run<'a> {
    home: &'a Home,
    settings: &'a Settings,
    databases: Databases,
    journal: Journal,
    arrived: Option<Arrived>,
}

/// The release this box runs.
///
/// # Errors
/// When there is none.
pub fn running_version(home: &Home) -> Result<Version> {
    version_of(&home.current()).with_context(|| {
        format!(
            "{} does not point to a release: run the installer first",
            home.current().display()
        )
    })
}

/// Brings in a release. The caller holds the lock, and nothing is left over from before.
///
/// # Errors
/// When it can't even begin; how it went otherwise is in the answer.
pub async fn apply(
    home: &Home,
    settings: &Settings,
    source: &Source,
    waiver: Option<Waiver>,
) -> Result<Ended> {
    let from = running_version(home)?;
    ensure!(
        Journal::read(home)?.is_none(),
        "an update broke off before: `hadadactl update guard` brings the box in order"
    );
    // Somebody's `update confirm` from before must not confirm this one.
    files::remove_file(&home.confirmation())?;
    if version_of(&home.guard()).is_none() {
        slots::point(&home.guard(), from)?;
    }
    tidy(home)?;
    let journal = new_journal(
        Kind::Update,
        source.said(),
        from,
        waiver.as_ref().map(|waiver| waiver.reason.clone()),
    )?;
    let mut run = Run {
        home,
        settings,
        databases: Databases::configured(home.place())?,
        journal,
        arrived: None,
    };
    run.run(source, waiver).await
}

/// What an update that was settled at boot had to leave undone, because Postgres was not up yet.
///
/// # Errors
/// When Postgres does not answer.
pub fn tidy(home: &Home) -> Result<()> {
    let databases = Databases::configured(home.place())?;
    databases.scratch().drop_scratch()?;
    counter::catch_up(home, &databases)
}

fn new_journal(
    kind: Kind,
    source: String,
    from: Version,
    accepted_expired: Option<String>,
) -> Result<Journal> {
    let mut id = [0; 8];
    getrandom::fill(&mut id).map_err(|error| anyhow!("no random numbers: {error}"))?;
    Ok(Journal {
        id: hex::encode(id),
        kind,
        began: OffsetDateTime::now_utc(),
        source,
        step: Step::Copy,
        from,
        to: None,
        counter: None,
        accepted_expired,
        drafting_before: false,
        failure: None,
        waits_until: None,
    })
}

impl Run<'_> {
    async fn run(&mut self, source: &Source, waiver: Option<Waiver>) -> Result<Ended> {
        for step in Step::ALL {
            self.journal.step = step;
            self.journal.save(self.home)?;
            progress(self.home, &self.journal)?;
            crash::point(&format!("{}.before", step.name()));
            let outcome = self.perform(step, source, waiver.as_ref()).await;
            crash::point(&format!("{}.after", step.name()));
            match outcome {
                Ok(Some(ended)) => return Ok(ended),
                Ok(None) => {}
                Err(error) if step < Step::Stop => return self.refuse(&error),
                Err(error) if step < Step::Confirm => {
                    let why = format!("{error:#}");
                    self.journal.failure = Some(why.clone());
                    self.journal.save(self.home)?;
                    take_back(
                        self.home,
                        self.settings,
                        &self.journal,
                        &why,
                        Moment::Running,
                    )
                    .await?;
                    return Ok(Ended::Reverted(why));
                }
                // It works, so it stays; what is left to do is done by the next run or at the next boot.
                Err(error) => {
                    return Err(error
                        .context("the new release works, but the update could not be finished"));
                }
            }
        }
        let version = self.to()?;
        Ok(Ended::Installed(version))
    }

    fn to(&self) -> Result<Version> {
        self.journal
            .to
            .context("the journal does not say which release it is about")
    }

    fn arrived(&self) -> Result<&Arrived> {
        self.arrived
            .as_ref()
            .context("there is no verified release yet")
    }

    async fn perform(
        &mut self,
        step: Step,
        source: &Source,
        waiver: Option<&Waiver>,
    ) -> Result<Option<Ended>> {
        match step {
            Step::Copy => self.copy(source).await?,
            Step::Verify => return self.verify(source, waiver).await,
            Step::Space => self.space()?,
            Step::Unpack => self.unpack()?,
            Step::Snapshot => self.snapshot()?,
            Step::Clone => self.clone_and_migrate()?,
            Step::Check => self.check().await?,
            Step::Stop => slots::stop(self.home, &[self.journal.from, self.to()?])?,
            Step::Migrate => {
                let release = self.home.release(self.to()?);
                self.databases
                    .run_file(&release.join("migrations/roles.sql"))?;
                crash::point("migrate.middle");
                program::migrate(
                    self.home,
                    &release,
                    &self.databases,
                    &self.settings.migrate_user,
                )?;
            }
            Step::Flip => {
                slots::point(&self.home.previous(), self.journal.from)?;
                slots::flip(self.home, self.to()?, "flip.middle")?;
            }
            Step::Units => {
                slots::install_units(self.home, self.journal.from, self.to()?, "units.middle")?
            }
            Step::Start => slots::start(self.home, self.to()?)?,
            Step::Health => self.health().await?,
            Step::Confirm => confirm(self.home, Some(&self.databases), &self.journal)?,
        }
        Ok(None)
    }

    async fn health(&mut self) -> Result<()> {
        let patience = Duration::from_secs(self.settings.health_seconds.into());
        let version = self.to()?;
        health::wait(
            self.home.place(),
            version,
            self.journal.drafting_before,
            patience,
        )
        .await
        .map_err(|why| anyhow!("release {version} did not pass its test: {why}"))?;
        if !self.settings.confirm_by_hand {
            return Ok(());
        }
        let until = OffsetDateTime::now_utc()
            + time::Duration::seconds(self.settings.confirm_seconds.into());
        self.journal.waits_until = Some(until);
        self.journal.save(self.home)?;
        progress(self.home, &self.journal)?;
        println!("      it works; waiting for `hadadactl update confirm`");
        while OffsetDateTime::now_utc() < until {
            if self.home.confirmation().exists() {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        bail!(
            "nobody confirmed release {version} within {} seconds",
            self.settings.confirm_seconds
        )
    }

    fn refuse(&self, error: &anyhow::Error) -> Result<Ended> {
        let why = format!("{error:#}");
        abandon(self.home, Some(&self.databases), &self.journal)?;
        history::append(
            self.home,
            &self.journal,
            Ending::Refused,
            Some(why.clone()),
            OffsetDateTime::now_utc(),
        )?;
        Journal::clear(self.home)?;
        let what = self.journal.to.map_or_else(
            || "An update".to_owned(),
            |to| format!("The update to {to}"),
        );
        fault(
            self.home,
            State::Warning,
            format!("{what} was not installed: {why}"),
            "Nothing was changed, and the practice works on. Show this sentence to the vendor if the update came from them.",
        )?;
        Ok(Ended::Refused(why))
    }
}

fn clear_private(home: &Home) -> Result<()> {
    files::remove_folder(&home.private())?;
    files::make_folder(&home.private(), 0o700)
}
