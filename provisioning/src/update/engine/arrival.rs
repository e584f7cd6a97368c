//! The first steps: a release is copied, verified, and unpacked beside the one that runs.

use anyhow::{Result, ensure};
use time::OffsetDateTime;

use super::report::settled;
use super::{Arrived, Ended, Run, Waiver, clear_private};
use crate::files;
use crate::release::archive;
use crate::update::counter;
use crate::update::crash;
use crate::update::health;
use crate::update::home::version_of;
use crate::update::journal::Journal;
use crate::update::overrides;
use crate::update::source::{self, Source};
use crate::update::space::Needs;
use crate::update::trust::{self, Expiry};

impl Run<'_> {
    pub(super) async fn copy(&self, source: &Source) -> Result<()> {
        clear_private(self.home)?;
        source
            .copy_metadata(
                &self.home.private().join("metadata"),
                trust::root_version(self.home)?,
            )
            .await
    }

    pub(super) async fn verify(
        &mut self,
        source: &Source,
        waiver: Option<&Waiver>,
    ) -> Result<Option<Ended>> {
        let home = self.home;
        let expiry = if waiver.is_some() {
            Expiry::Waived
        } else {
            Expiry::Enforced
        };
        let trusted = trust::verify(home, &home.private(), expiry).await?;
        crash::point("verify.middle");
        let said = &trusted.said;
        if said.version == self.journal.from.to_string() {
            trusted.keep(home)?;
            let version = self.journal.from;
            clear_private(home)?;
            Journal::clear(home)?;
            settled(home, &format!("Hadada {version} is up to date."))?;
            return Ok(Some(Ended::Already(version)));
        }
        ensure!(
            said.length <= source::BIGGEST_BUNDLE,
            "too big: the bundle has {} bytes and none has more than {}",
            said.length,
            source::BIGGEST_BUNDLE
        );
        let mut needs = Needs::default();
        needs.add(&home.private(), said.length)?;
        needs.check()?;
        let bundle = home.private().join("bundle.tar.zst");
        source.copy_bundle(said, &bundle).await?;
        let manifest = archive::read_manifest(&bundle)?;
        ensure!(
            manifest.version.to_string() == said.version
                && manifest.counter == said.counter
                && manifest.bytes()? == said.unpacked,
            "mix and match: the bundle is release {} and its signed description says {}",
            manifest.version,
            said.version
        );
        ensure!(
            self.journal.from >= manifest.minimum_version,
            "too old: release {} can be installed on {} or newer, and this box runs {}. Install a release in between first",
            manifest.version,
            manifest.minimum_version,
            self.journal.from
        );
        counter::check(home, &self.databases, &manifest)?;
        if let Some(waiver) = waiver {
            let what = format!(
                "release {} (counter {})",
                manifest.version, manifest.counter
            );
            overrides::record(
                home,
                &waiver.screen,
                &waiver.reason,
                &what,
                OffsetDateTime::now_utc(),
            )?;
        }
        trusted.keep(home)?;
        self.journal.to = Some(manifest.version);
        self.journal.counter = Some(manifest.counter);
        self.journal.drafting_before = health::ask(home.place())
            .await
            .is_some_and(|health| health.drafts());
        self.arrived = Some(Arrived {
            trusted,
            manifest,
            bundle,
        });
        Ok(None)
    }

    pub(super) fn space(&self) -> Result<()> {
        let (records, data) = self.databases.size()?;
        let mut needs = Needs::default();
        needs.add(&self.home.releases(), self.arrived()?.manifest.bytes()?)?;
        needs.add(&self.home.snapshot(), records)?;
        // The scratch copy, and what its making writes ahead.
        needs.add(&data, records.saturating_mul(2))?;
        needs.check()
    }

    pub(super) fn unpack(&self) -> Result<()> {
        let arrived = self.arrived()?;
        let target = self.home.release(arrived.manifest.version);
        ensure!(
            version_of(&self.home.current()) != Some(arrived.manifest.version),
            "this release is in use"
        );
        // One that was tried before and taken back, or that a crash left.
        files::remove_folder(&target)?;
        archive::unpack(
            &arrived.bundle,
            &arrived.trusted.said.sha256,
            &arrived.manifest,
            &target,
            || {
                crash::point("unpack.middle");
            },
        )
    }
}
