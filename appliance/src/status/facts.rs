//! What is true of the box now.

use std::path::{Path, PathBuf};

use sqlx::PgPool;
use sysinfo::{DiskRefreshKind, Disks, Pid, ProcessRefreshKind, ProcessesToUpdate, System};
use time::OffsetDateTime;

use crate::audit::{Sealer, SealingState};
use crate::error::{Error, Result};
use crate::inference::Health;
use crate::web::App;

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

/// A disk that holds something of ours.
#[derive(Clone, Debug)]
pub(super) struct Disk {
    pub holds: String,
    pub mount: String,
    pub free: u64,
    pub total: u64,
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
    pub disks: Vec<Disk>,
    pub process: Process,
    /// When the certificate in use ends.
    pub certificate: Option<OffsetDateTime>,
    /// Open and idle connections of this program to records and keys.
    pub pools: [(&'static str, u32, usize); 2],
}

impl Facts {
    pub(super) async fn gather(app: &App) -> Self {
        let (database, audit, certificate) = tokio::join!(
            database(&app.db.records, app),
            sealing(app),
            certificate_end(&app.config.tls_certificate)
        );
        let data = app
            .config
            .audit_head
            .parent()
            .map(Path::to_path_buf)
            .unwrap_or_default();
        let (disks, process) = tokio::task::spawn_blocking(move || (disks(&data), process()))
            .await
            .unwrap_or_default();
        let log = |what: &'static str| move |error: Error| tracing::warn!(%error, "the state page can't show {what}");
        Self {
            database: database.map_err(log("the database")).ok(),
            audit: audit.map_err(log("the audit log")).ok(),
            inference: Health::clone(&app.ai.load()),
            disks,
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

async fn certificate_end(path: &Path) -> Result<OffsetDateTime> {
    let pem = tokio::fs::read(path).await.map_err(Error::internal)?;
    let (_, pem) =
        x509_parser::pem::parse_x509_pem(&pem).map_err(|e| Error::internal(e.to_string()))?;
    let certificate = pem
        .parse_x509()
        .map_err(|e| Error::internal(e.to_string()))?;
    Ok(certificate.validity().not_after.to_datetime())
}

/// The disks under the clinic's data and under this program, each once.
fn disks(data: &Path) -> Vec<Disk> {
    let Ok(all) =
        Disks::new_with_refreshed_list_specifics(DiskRefreshKind::nothing().with_storage())
    else {
        return Vec::new();
    };
    let program = std::env::current_exe()
        .ok()
        .and_then(|exe| exe.parent().map(Path::to_path_buf))
        .unwrap_or_else(|| PathBuf::from("/"));
    let mut found: Vec<Disk> = Vec::new();
    for (holds, path) in [("clinic data", data), ("programs", &program)] {
        let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
        let Some(disk) = all
            .iter()
            .filter(|d| path.starts_with(d.mount_point()))
            .max_by_key(|d| d.mount_point().as_os_str().len())
        else {
            continue;
        };
        let mount = disk.mount_point().display().to_string();
        match found.iter_mut().find(|d| d.mount == mount) {
            Some(same) => same.holds = format!("{} and {holds}", same.holds),
            None => found.push(Disk {
                holds: holds.into(),
                mount,
                free: disk.available_space(),
                total: disk.total_space(),
            }),
        }
    }
    found
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
