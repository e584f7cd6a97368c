//! Postgres: pools, migrations and the practice-scoped transaction.

mod constraint;
mod migrate;
mod scope;

pub use constraint::{broken_constraint, constraint_is};
pub use migrate::{MigrateError, migrate};
pub use scope::{Action, Actor, AuditEvent, PracticeTx};

use sqlx::ConnectOptions;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};

use crate::config::Config;

/// The two databases of a box, both reached over a Unix socket as the role that row-level security binds.
#[derive(Clone, Debug)]
pub struct Db {
    /// Records: everything but keys.
    pub records: PgPool,
    /// Wrapped keys, apart from the records so that their backups can be apart too.
    pub keys: PgPool,
}

impl Db {
    /// Opens lazily: the program starts, and says what is wrong, while Postgres is away.
    #[must_use]
    pub fn open(config: &Config) -> Self {
        let options = |database: &str| {
            PgConnectOptions::new()
                .socket(&config.postgres)
                .username(&config.app_role)
                .database(database)
                .application_name("hadada")
                .statement_cache_capacity(200)
                .log_slow_statements(log::LevelFilter::Warn, crate::telemetry::SLOW)
                // Every statement is prepared once and written for one plan; planning anew costs more than most run.
                .options([("plan_cache_mode", "force_generic_plan")])
        };
        let pool = |most: u32| {
            PgPoolOptions::new()
                .max_connections(most)
                .acquire_timeout(std::time::Duration::from_secs(5))
                .idle_timeout(std::time::Duration::from_secs(300))
        };
        Self {
            records: pool(config.pool).connect_lazy_with(options(&config.records_database)),
            keys: pool(config.pool.div_ceil(4).max(2))
                .connect_lazy_with(options(&config.keys_database)),
        }
    }
}
