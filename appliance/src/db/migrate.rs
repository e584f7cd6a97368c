//! Schema migrations: forward only, run as the owner by `hadada migrate`, never by the serving program.

use std::sync::LazyLock;

use sqlx::{Connection, PgConnection, migrate::Migrator, postgres::PgConnectOptions};

use crate::config::Config;

static RECORDS: LazyLock<Migrator> =
    LazyLock::new(|| lenient(sqlx::migrate!("../migrations/records")));
static KEYS: LazyLock<Migrator> = LazyLock::new(|| lenient(sqlx::migrate!("../migrations/keys")));

/// Migrations only add, so a database that a newer release has been on is fine for this one: after an update that was taken
/// back, this program must start on it.
fn lenient(mut migrator: Migrator) -> Migrator {
    migrator.set_ignore_missing(true);
    migrator
}

/// Why the schema could not be brought up to date.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// The database can't be reached as its owner.
    #[error("can't reach the database {0} as its owner: {1}")]
    Connect(String, sqlx::Error),
    /// A migration failed; the database is as it was before that migration.
    #[error("a migration of {0} failed: {1}")]
    Migrate(String, sqlx::migrate::MigrateError),
}

/// Brings both databases up to this program's schema. Safe to run again.
///
/// # Errors
/// [`MigrateError`], with the database's name.
pub async fn migrate(config: &Config) -> Result<(), MigrateError> {
    for (name, migrator) in [
        (&config.records_database, &*RECORDS),
        (&config.keys_database, &*KEYS),
    ] {
        let options = PgConnectOptions::new()
            .socket(&config.postgres)
            .username(&config.owner_role)
            .database(name);
        let mut connection = PgConnection::connect_with(&options)
            .await
            .map_err(|e| MigrateError::Connect(name.clone(), e))?;
        migrator
            .run(&mut connection)
            .await
            .map_err(|e| MigrateError::Migrate(name.clone(), e))?;
        sqlx::query("GRANT SELECT ON _sqlx_migrations TO hadada_app, hadada_backup")
            .execute(&mut connection)
            .await
            .map_err(|e| MigrateError::Connect(name.clone(), e))?;
    }
    Ok(())
}

/// How many migrations this program knows for the records.
#[must_use]
pub(super) fn known() -> usize {
    RECORDS.iter().count()
}

impl super::Db {
    /// Whether the records database answers and has exactly this program's schema or a newer one.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn schema_is_current(&self) -> Result<bool, sqlx::Error> {
        Ok(usize::try_from(self.migrations_applied().await?).unwrap_or(0) >= known())
    }

    /// How many migrations the records database has had.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn migrations_applied(&self) -> Result<i64, sqlx::Error> {
        sqlx::query_scalar("SELECT count(*) FROM _sqlx_migrations WHERE success")
            .fetch_one(&self.records)
            .await
    }
}
