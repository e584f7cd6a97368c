//! The box's Postgres: Debian's own, a cluster called `hadada`, reachable by Unix socket only and by peer authentication only.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::Progress;
use crate::place::Place;
use crate::process::{feed, run, succeeds};

const VERSION: &str = "15";
const CLUSTER: &str = "hadada";
const UNIT: &str = "postgresql@15-hadada.service";

const HBA: &str = "# Written by hadadactl install. There are no passwords: the operating system's user decides who is who (pg_ident.conf).\n\
local all         all           peer map=hadada\n\
local replication hadada_backup peer map=hadada\n";

const IDENT: &str = "# Written by hadadactl install. Operating system user, database role.\n\
hadada postgres         postgres\n\
hadada root             postgres\n\
hadada hadada           hadada_app\n\
hadada hadada-migrate   hadada_owner\n\
hadada hadada-backup    hadada_backup\n\
hadada hadada-sender    hadada_sender\n";

const SETTINGS: &str = "# Written by hadadactl install.\n\
listen_addresses = ''\n\
unix_socket_directories = '/run/postgresql'\n\
max_connections = 60\n\
# Nothing acknowledged is lost: these are Postgres' own defaults, said aloud so that nobody \"tunes\" them.\n\
fsync = on\n\
synchronous_commit = on\n\
full_page_writes = on\n\
wal_compression = lz4\n\
log_min_duration_statement = 500\n\
# A statement's values can be a patient's: a log shows the statement without them.\n\
log_parameter_max_length = 0\n\
log_parameter_max_length_on_error = 0\n\
log_error_verbosity = terse\n\
log_timezone = 'UTC'\n\
timezone = 'UTC'\n\
shared_preload_libraries = ''\n";

/// Makes the cluster and gives it its settings.
///
/// # Errors
/// When Debian's tools can't.
pub fn make(place: &Place, release: &Path, progress: &mut Progress) -> Result<()> {
    let folder = place
        .root()
        .join("etc/postgresql")
        .join(VERSION)
        .join(CLUSTER);
    if folder.join("postgresql.conf").exists() {
        progress.kept("the Postgres cluster 15/hadada");
    } else {
        progress.change(
            "make the Postgres cluster 15/hadada, with checksums",
            || {
                run(
                    "pg_createcluster",
                    [
                        VERSION,
                        CLUSTER,
                        "--encoding=UTF8",
                        "--locale=C.UTF-8",
                        "--start-conf=auto",
                        "--",
                        "--data-checksums",
                        "--auth=peer",
                    ],
                )
                .map(drop)
            },
        )?;
    }
    if progress.dry_run() && !folder.exists() {
        return Ok(());
    }
    let mut changed = progress.file(&folder.join("pg_hba.conf"), 0o640, HBA.as_bytes())?;
    changed |= progress.file(&folder.join("pg_ident.conf"), 0o640, IDENT.as_bytes())?;
    changed |= progress.file(
        &folder.join("conf.d/hadada.conf"),
        0o644,
        SETTINGS.as_bytes(),
    )?;
    let extra = release.join("systemd/postgresql");
    if extra.is_dir() {
        for entry in std::fs::read_dir(&extra)? {
            let path = entry?.path();
            let name = path.file_name().context("a file without a name")?;
            let content = std::fs::read(&path)?;
            changed |= progress.file(&folder.join("conf.d").join(name), 0o644, &content)?;
        }
    }
    if progress.dry_run() {
        return Ok(());
    }
    run(
        "chown",
        [
            "postgres:postgres".as_ref(),
            folder.join("pg_hba.conf").as_os_str(),
            folder.join("pg_ident.conf").as_os_str(),
        ],
    )?;
    if changed && succeeds("systemctl", ["is-active", "--quiet", UNIT]) {
        progress.change("restart Postgres with its new settings", || {
            run("systemctl", ["restart", UNIT]).map(drop)
        })?;
    }
    Ok(())
}

/// Roles and databases; safe to repeat, and repeated with every release, because a release may bring a role.
///
/// # Errors
/// When Postgres does not start or refuses.
pub fn roles_and_databases(place: &Place, release: &Path, progress: &mut Progress) -> Result<()> {
    if progress.dry_run() {
        return progress.change("make roles and databases where they are missing", || Ok(()));
    }
    if succeeds("systemctl", ["is-active", "--quiet", UNIT]) {
        progress.kept("Postgres runs");
    } else {
        progress.change("start Postgres", || {
            run("systemctl", ["start", UNIT])?;
            wait()
        })?;
    }
    let roles = std::fs::read(release.join("migrations/roles.sql"))
        .context("the release has no migrations/roles.sql")?;
    let before = roles_there()?;
    psql("postgres", &roles)?;
    for role in roles_there()?
        .lines()
        .filter(|role| !before.lines().any(|had| had == *role))
    {
        progress.change(&format!("make the database role {role}"), || Ok(()))?;
    }
    let _ = place;
    for database in ["hadada", "hadada_keys"] {
        let there = psql(
            "postgres",
            format!("SELECT count(*) FROM pg_database WHERE datname = '{database}';").as_bytes(),
        )?;
        if there.trim() == "1" {
            progress.kept(&format!("the database {database}"));
        } else {
            progress.change(&format!("make the database {database}"), || {
                psql(
                    "postgres",
                    format!("CREATE DATABASE {database} OWNER hadada_owner;").as_bytes(),
                )
                .map(drop)
            })?;
        }
    }
    Ok(())
}

fn roles_there() -> Result<String> {
    psql(
        "postgres",
        b"SELECT rolname FROM pg_roles WHERE rolname LIKE 'hadada%' ORDER BY 1;",
    )
}

fn psql(database: &str, sql: &[u8]) -> Result<String> {
    feed(
        "psql",
        [
            "-XqAt",
            "-v",
            "ON_ERROR_STOP=1",
            "-U",
            "postgres",
            "-h",
            "/run/postgresql",
            "-d",
            database,
        ],
        sql,
    )
}

fn wait() -> Result<()> {
    let until = Instant::now() + Duration::from_secs(60);
    while !succeeds("pg_isready", ["-q", "-h", "/run/postgresql"]) {
        if Instant::now() > until {
            bail!("Postgres did not become ready within a minute: journalctl -u {UNIT} says why");
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    Ok(())
}
