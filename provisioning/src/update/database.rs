//! The databases during an update: their size, a dump of them, a scratch copy to try migrations on, and the counter in them.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use super::crash;
use crate::files;
use crate::place::Place;
use crate::process;
use crate::settings;

const COUNTER: &str = "hadada.update_counter";

/// The two databases, or a copy of them.
#[derive(Debug, Clone)]
pub struct Databases {
    sockets: PathBuf,
    owner: String,
    /// The records'.
    pub records: String,
    /// The wrapped keys'.
    pub keys: String,
}

/// A migration that a database has had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// Its number.
    pub version: u64,
    /// SHA-384 of its text, in hex.
    pub checksum: String,
}

impl Databases {
    /// Those of the configuration.
    ///
    /// # Errors
    /// When it does not say where they are.
    pub fn configured(place: &Place) -> Result<Self> {
        let text = |name: &str| -> Result<Option<String>> {
            Ok(settings::web(place, name)?.and_then(|value| value.as_str().map(str::to_owned)))
        };
        Ok(Self {
            sockets: text("postgres")?
                .with_context(|| {
                    format!(
                        "{} does not say where the databases are (postgres)",
                        place.config().display()
                    )
                })?
                .into(),
            owner: text("owner_role")?.unwrap_or_else(|| "hadada_owner".into()),
            records: text("records_database")?.unwrap_or_else(|| "hadada".into()),
            keys: text("keys_database")?.unwrap_or_else(|| "hadada_keys".into()),
        })
    }

    /// The scratch copies' names.
    pub fn scratch(&self) -> Self {
        Self {
            records: format!("{}_update", self.records),
            keys: format!("{}_update", self.keys),
            ..self.clone()
        }
    }

    fn psql(&self, database: &str, sql: &str) -> Result<String> {
        let sockets = self.sockets.display().to_string();
        process::run(
            "psql",
            [
                "-X",
                "-q",
                "-A",
                "-t",
                "-v",
                "ON_ERROR_STOP=1",
                "-h",
                &sockets,
                "-U",
                "postgres",
                "-d",
                database,
                "-c",
                sql,
            ],
        )
    }

    /// Runs a file of SQL as Postgres' own user, such as the roles of a release.
    ///
    /// # Errors
    /// When a statement fails.
    pub fn run_file(&self, file: &Path) -> Result<()> {
        let sockets = self.sockets.display().to_string();
        let file = file.display().to_string();
        process::run(
            "psql",
            [
                "-X",
                "-q",
                "-v",
                "ON_ERROR_STOP=1",
                "-h",
                &sockets,
                "-U",
                "postgres",
                "-d",
                "postgres",
                "-f",
                &file,
            ],
        )
        .map(drop)
    }

    /// Both together, in bytes, and where they are on the disk.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub fn size(&self) -> Result<(u64, PathBuf)> {
        let said = self.psql(
            "postgres",
            &format!(
                "SELECT coalesce(sum(pg_database_size(oid)), 0)::bigint, current_setting('data_directory') FROM pg_database \
                 WHERE datname IN ({}, {})",
                literal(&self.records),
                literal(&self.keys)
            ),
        )?;
        let (bytes, folder) = said
            .trim()
            .split_once('|')
            .context("Postgres did not say how big the databases are")?;
        Ok((bytes.parse()?, folder.into()))
    }

    /// The highest counter that these databases have seen. It is a setting of the database itself, so it needs no table, and a
    /// restored database brings its own.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub fn counter(&self) -> Result<u64> {
        let said = self.psql(
            "postgres",
            &format!(
                "SELECT split_part(setting, '=', 2) FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase, \
                 unnest(s.setconfig) setting WHERE s.setrole = 0 AND d.datname = {} AND setting LIKE '{COUNTER}=%'",
                literal(&self.records)
            ),
        )?;
        match said.trim() {
            "" => Ok(0),
            number => number
                .parse()
                .with_context(|| format!("the database's update counter is {number:?}")),
        }
    }

    /// Raises it; never lowers it.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub fn raise_counter(&self, counter: u64) -> Result<()> {
        if self.counter()? < counter {
            self.psql(
                "postgres",
                &format!(
                    "ALTER DATABASE {} SET {COUNTER} = '{counter}'",
                    identifier(&self.records)
                ),
            )?;
        }
        Ok(())
    }

    /// Dumps both into a folder that only root can enter.
    ///
    /// # Errors
    /// When a dump fails.
    pub fn dump(&self, folder: &Path) -> Result<()> {
        let sockets = self.sockets.display().to_string();
        for (name, database) in [("records", &self.records), ("keys", &self.keys)] {
            let path = folder.join(format!("{name}.dump"));
            let target = path.display().to_string();
            process::run(
                "pg_dump",
                [
                    "-h", &sockets, "-U", "postgres", "-d", database, "-Fc", "-Z1", "-f", &target,
                ],
            )?;
            File::open(&path)
                .and_then(|file| file.sync_all())
                .with_context(|| target.clone())?;
            crash::point("snapshot.middle");
        }
        files::sync_folder_of(&folder.join("records.dump"))
    }

    /// Makes the scratch copies from the dumps of `source`.
    ///
    /// # Errors
    /// When a dump can't be restored.
    pub fn restore(&self, source: &Self, folder: &Path) -> Result<()> {
        let sockets = self.sockets.display().to_string();
        self.drop_scratch()?;
        for (name, database, original) in [
            ("records", &self.records, &source.records),
            ("keys", &self.keys, &source.keys),
        ] {
            let said = self.psql(
                "postgres",
                &format!(
                    "SELECT pg_encoding_to_char(encoding), datcollate, datctype FROM pg_database WHERE datname = {}",
                    literal(original)
                ),
            )?;
            let mut parts = said.trim().split('|');
            let (Some(encoding), Some(collate), Some(ctype)) =
                (parts.next(), parts.next(), parts.next())
            else {
                bail!("there is no database {original}");
            };
            self.psql(
                "postgres",
                &format!(
                    "CREATE DATABASE {} OWNER {} TEMPLATE template0 ENCODING {} LC_COLLATE {} LC_CTYPE {}",
                    identifier(database),
                    identifier(&self.owner),
                    literal(encoding),
                    literal(collate),
                    literal(ctype)
                ),
            )?;
            let dump = folder.join(format!("{name}.dump")).display().to_string();
            process::run(
                "pg_restore",
                [
                    "-h",
                    &sockets,
                    "-U",
                    "postgres",
                    "-d",
                    database,
                    "--exit-on-error",
                    "-j",
                    "2",
                    &dump,
                ],
            )?;
            crash::point("clone.middle");
        }
        Ok(())
    }

    /// Removes the scratch copies, whoever is connected.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub fn drop_scratch(&self) -> Result<()> {
        for database in [&self.records, &self.keys] {
            ensure!(
                database.ends_with("_update"),
                "{database} is no scratch copy"
            );
            self.psql(
                "postgres",
                &format!(
                    "DROP DATABASE IF EXISTS {} WITH (FORCE)",
                    identifier(database)
                ),
            )?;
        }
        Ok(())
    }

    /// The migrations one of the two has had.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub fn applied(&self, database: &str) -> Result<Vec<Applied>> {
        if self
            .psql(
                database,
                "SELECT to_regclass('public._sqlx_migrations') IS NULL",
            )?
            .trim()
            == "t"
        {
            return Ok(Vec::new());
        }
        self.psql(
            database,
            "SELECT version, encode(checksum, 'hex') FROM _sqlx_migrations WHERE success ORDER BY version",
        )?
        .lines()
        .map(|line| {
            let (version, checksum) = line.split_once('|').context("the list of migrations can't be read")?;
            Ok(Applied {
                version: version.parse()?,
                checksum: checksum.into(),
            })
        })
        .collect()
    }

    /// The settings of these databases, for a configuration of the web program's.
    pub fn settings(&self) -> [(&'static str, String); 4] {
        [
            ("postgres", self.sockets.display().to_string()),
            ("records_database", self.records.clone()),
            ("keys_database", self.keys.clone()),
            ("owner_role", self.owner.clone()),
        ]
    }
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
