//! What is true of the box now.

use sqlx::PgPool;
use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};
use time::OffsetDateTime;

use crate::audit::{Sealer, SealingState};
use crate::error::{Error, Result};
use crate::inference::Health;
use crate::telemetry::{SlowStatement, slow_statements};
use crate::watch::{self, Alert, Forecast, Reports, Standing, certificate_end};
use crate::web::App;
use crate::{outbox, remote};

/// The records database.
#[derive(Clone, Debug)]
pub(super) struct Database {
    pub version: String,
    pub bytes: i64,
    pub connections: i64,
    pub most_connections: i64,
    pub migrations: i64,
    pub current: bool,
}

/// This program.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Process {
    /// Resident bytes.
    pub memory: u64,
    /// Seconds since it started.
    pub running: u64,
}

/// All of it. What can't be asked is none, and the page says so.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    pub database: Option<Database>,
    pub audit: Option<SealingState>,
    pub inference: Health,
    pub disks: Vec<Forecast>,
    /// How what the box's commands reported stands: kind, standing, words, what to do.
    pub judged: Vec<(String, Standing, String, String)>,
    pub reports: Reports,
    pub alerts: Vec<Alert>,
    pub remote: Option<remote::Open>,
    /// Mail that waits, mail given up in a week, attempts to send in a day.
    pub outbox: Option<(i64, i64, i64)>,
    pub slow: Vec<SlowStatement>,
    pub process: Process,
    /// When the certificate in use ends.
    pub certificate: Option<OffsetDateTime>,
    /// Open and idle connections of this program to records and keys.
    pub pools: [(&'static str, u32, usize); 2],
}

impl Facts {
    pub(super) async fn gather(app: &App) -> Self {
        let (database, audit, certificate, disks, reported) = tokio::join!(
            database(&app.db.records, app),
            sealing(app),
            certificate_end(&app.config.tls_certificate),
            watch::forecasts(app),
            watch::reported(app),
        );
        let (alerts, remote, outbox) = tokio::join!(
            watch::open_alerts(app),
            remote::current(app),
            outbox::counts(app)
        );
        let process = tokio::task::spawn_blocking(process)
            .await
            .unwrap_or_default();
        let log = |what: &'static str| move |error: Error| tracing::warn!(%error, "the state page can't show {what}");
        // What was reported lies in files, so it shows also while the database does not answer.
        let (reports, judged) = reported.map_err(log("the reports")).unwrap_or_default();
        Self {
            database: database.map_err(log("the database")).ok(),
            audit: audit.map_err(log("the audit log")).ok(),
            inference: Health::clone(&app.ai.load()),
            disks: disks.map_err(log("the disks")).unwrap_or_default(),
            judged,
            reports,
            alerts: alerts.map_err(log("the alerts")).unwrap_or_default(),
            remote: remote.map_err(log("remote access")).ok().flatten(),
            outbox: outbox.map_err(log("the outbox")).ok(),
            slow: slow_statements(),
            process,
            certificate: certificate.map_err(log("the certificate")).ok(),
            pools: [
                ("records", app.db.records.size(), app.db.records.num_idle()),
                ("keys", app.db.keys.size(), app.db.keys.num_idle()),
            ],
        }
    }
}

async fn database(pool: &PgPool, app: &App) -> Result<Database> {
    let row = sqlx::query!(
        r#"SELECT current_setting('server_version') AS "version!", pg_database_size(current_database()) AS "bytes!",
                  (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend') AS "connections!",
                  current_setting('max_connections')::bigint AS "most!""#
    )
    .fetch_one(pool)
    .await?;
    // A database without a schema answers all the same; the page says that it is behind.
    let current = app.db.schema_is_current().await.unwrap_or(false);
    let migrations = app.db.migrations_applied().await.unwrap_or(0);
    let version = row
        .version
        .split_whitespace()
        .next()
        .unwrap_or_default()
        .to_owned();
    Ok(Database {
        version,
        bytes: row.bytes,
        connections: row.connections,
        most_connections: row.most,
        migrations,
        current,
    })
}

async fn sealing(app: &App) -> Result<SealingState> {
    let (db, config) = (app.db.clone(), &app.config);
    Sealer::load(db, app.clock.clone(), &config.audit_key, &config.audit_head)?
        .state()
        .await
}

/// Memory and age of this program.
pub(super) fn process() -> Process {
    let pid = Pid::from_u32(std::process::id());
    let Ok(mut system) = System::new() else {
        return Process::default();
    };
    system.refresh_processes_specifics(
        ProcessesToUpdate::Some(&[pid]),
        true,
        ProcessRefreshKind::nothing().with_memory(),
    );
    system
        .process(pid)
        .map(|p| Process {
            memory: p.memory(),
            running: p.run_time(),
        })
        .unwrap_or_default()
}
