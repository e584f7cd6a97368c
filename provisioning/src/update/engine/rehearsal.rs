//! The migrations are tried on a copy of the records, and the release in use on what they leave.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use super::Run;
use crate::files;
use crate::process;
use crate::settings;
use crate::update::home::Home;
use crate::update::lint::{self, Migration};
use crate::update::program;

impl Run<'_> {
    pub(super) fn snapshot(&self) -> Result<()> {
        if self.settings.backup_first && backup_is_configured(self.home)? {
            println!("      a backup first");
            process::run("systemctl", ["start", "hadada-backup.service"])
                .context("the backup before the update failed; mend it, or set backup_first = false in [box.update]")?;
        }
        files::remove_folder(&self.home.snapshot())?;
        files::make_folder(&self.home.snapshot(), 0o700)?;
        self.databases.dump(&self.home.snapshot())
    }

    pub(super) fn clone_and_migrate(&self) -> Result<()> {
        let scratch = self.databases.scratch();
        scratch.restore(&self.databases, &self.home.snapshot())?;
        let release = self.home.release(self.to()?);
        let before = [
            scratch.applied(&scratch.records)?,
            scratch.applied(&scratch.keys)?,
        ];
        // Read before they are run, even on a copy.
        self.lint(&before)?;
        self.databases
            .run_file(&release.join("migrations/roles.sql"))?;
        program::migrate(self.home, &release, &scratch, &self.settings.migrate_user)
            .context("the migrations failed on a copy of the records")?;
        let schema = self.arrived()?.manifest.schema;
        for (name, database, before, last) in [
            ("records", &scratch.records, &before[0], schema.records),
            ("keys", &scratch.keys, &before[1], schema.keys),
        ] {
            let after = scratch.applied(database)?;
            let reached = after.last().map_or(0, |applied| applied.version);
            ensure!(
                reached >= last,
                "the migrations on a copy of the {name} ended at {reached}, not at {last} as the release says"
            );
            for applied in after.iter().filter(|applied| !before.contains(applied)) {
                // The program carries its own migrations; those that were read must be those that ran.
                let file = self.migration_file(name, applied.version)?;
                let text = files::read_if_there(&file)?.unwrap_or_default();
                ensure!(
                    hex::encode(<sha2::Sha384 as sha2::Digest>::digest(&text)) == applied.checksum,
                    "the program ran another migration {} than the release's file {}",
                    applied.version,
                    file.display()
                );
            }
            println!(
                "      {name}: {} new migrations on the copy",
                after.len() - before.len()
            );
        }
        Ok(())
    }

    fn migration_file(&self, database: &str, version: u64) -> Result<PathBuf> {
        let wanted = format!("migrations/{database}/");
        let file = self.arrived()?.manifest.files.iter().find(|file| {
            file.path
                .strip_prefix(&wanted)
                .and_then(|name| name.split('_').next()?.parse().ok())
                == Some(version)
        });
        let file = file.with_context(|| {
            format!("the release has no file for its migration {version} of the {database}")
        })?;
        Ok(self.home.release(self.to()?).join(&file.path))
    }

    fn lint(&self, before: &[Vec<crate::update::database::Applied>; 2]) -> Result<()> {
        for (name, applied) in ["records", "keys"].into_iter().zip(before) {
            let mut texts = Vec::new();
            for file in &self.arrived()?.manifest.files {
                let Some(file_name) = file.path.strip_prefix(&format!("migrations/{name}/")) else {
                    continue;
                };
                let number: u64 = file_name
                    .split('_')
                    .next()
                    .and_then(|number| number.parse().ok())
                    .with_context(|| format!("{} does not begin with its number", file.path))?;
                if !applied.iter().any(|applied| applied.version == number) {
                    let text =
                        std::fs::read_to_string(self.home.release(self.to()?).join(&file.path))?;
                    texts.push((number, file_name.to_owned(), text));
                }
            }
            texts.sort();
            let migrations: Vec<Migration<'_>> = texts
                .iter()
                .map(|(_, name, sql)| Migration { name, sql })
                .collect();
            lint::check(&migrations, self.journal.from)?;
        }
        Ok(())
    }

    pub(super) async fn check(&self) -> Result<()> {
        let scratch = self.databases.scratch();
        let old = self.home.release(self.journal.from);
        program::try_serving(self.home, &old, &scratch, &self.settings.web_user)
            .await
            .context("the release in use would not work after the migrations, so there would be no way back")?;
        scratch.drop_scratch()
    }
}

fn backup_is_configured(home: &Home) -> Result<bool> {
    let section: toml::Table = settings::section(home.place(), "backup")?;
    Ok(!section.is_empty()
        && home
            .etc()
            .join("systemd/system/hadada-backup.service")
            .exists())
}
