//! From backups to a running database of this command's own: the way that the drill and each restore share.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use time::OffsetDateTime;
use time::macros::format_description;

use super::base;
use super::ledger::{Base, Dump, Entry};
use super::plan::Point;
use super::target::Private;
use super::{progress, say, size};
use crate::files;
use crate::place::Place;
use crate::postgres::{Cluster, Databases};
use crate::programs::{Account, Program};
use crate::restic::Restic;

/// Hands log files to a database that replays. It takes them from the target, a batch at a time, so that a week of them
/// needs no room; then from folders of this machine, where any are named.
struct Feeder {
    stop: Arc<AtomicBool>,
}

/// Where log files come from.
pub struct Sources<'a> {
    pub restic: &'a Restic,
    pub pieces: &'a [Entry],
    pub folders: &'a [PathBuf],
}

struct Feed {
    folder: PathBuf,
    account: Option<Account>,
    /// Each file, and the snapshot that has it.
    snapshots: BTreeMap<String, String>,
    folders: Vec<PathBuf>,
    /// What of the last batches is here.
    here: BTreeMap<String, PathBuf>,
    batches: Vec<PathBuf>,
}

impl Feed {
    fn answer(&mut self, name: &str, restic: &Restic) -> Result<Option<PathBuf>> {
        if let Some(path) = self.here.get(name) {
            return Ok(Some(path.clone()));
        }
        if let Some(snapshot) = self.snapshots.get(name) {
            let batch = self
                .folder
                .join(format!("batch-{}", &snapshot[..16.min(snapshot.len())]));
            say(&format!("  the log from {name} on"));
            files::make_folder(&batch, 0o700)?;
            restic.restore(snapshot, &batch)?;
            if self.batches.len() > 1 {
                let old = self.batches.remove(0);
                self.here.retain(|_, path| !path.starts_with(&old));
                let _ = fs::remove_dir_all(old);
            }
            let mut folders = vec![batch.clone()];
            while let Some(folder) = folders.pop() {
                for entry in fs::read_dir(&folder)? {
                    let entry = entry?;
                    if entry.file_type()?.is_dir() {
                        folders.push(entry.path());
                    } else {
                        let file = entry.file_name().to_string_lossy().into_owned();
                        self.here.insert(file, entry.path());
                    }
                }
            }
            self.batches.push(batch);
            return Ok(self.here.get(name).cloned());
        }
        Ok(self
            .folders
            .iter()
            .map(|folder| folder.join(name))
            .find(|path| path.is_file()))
    }

    fn give(&mut self, name: &str, restic: &Restic) -> Result<()> {
        match self.answer(name, restic)? {
            Some(path) => {
                let draft = self.folder.join("have").join(format!(".{name}"));
                fs::copy(&path, &draft)?;
                fs::set_permissions(&draft, fs::Permissions::from_mode(0o600))?;
                if let Some(account) = self.account {
                    account.own(&draft)?;
                }
                fs::rename(&draft, self.folder.join("have").join(name))?;
            }
            None => fs::write(self.folder.join("none").join(name), b"")?,
        }
        Ok(())
    }
}

/// What the database runs for each file it wants. Any end but 0 and 1 stops its recovery: a target that fails half way must
/// not be taken for the end of the log.
const BRING: &str = r#"#!/bin/sh
# bring FOLDER PARENT NAME DESTINATION
cd_to=$(pwd)
: >"$1/want/$3" || exit 200
while :; do
    if [ -e "$1/have/$3" ]; then
        mv "$1/have/$3" "$cd_to/$4" || exit 200
        exit 0
    fi
    [ ! -e "$1/none/$3" ] || exit 1
    [ ! -e "$1/failed" ] || exit 200
    [ -d "/proc/$2" ] || exit 200
    sleep 0.02
done
"#;

impl Feeder {
    fn start<'scope>(
        scope: &'scope thread::Scope<'scope, '_>,
        feed: Feed,
        restic: &'scope Restic,
        stop: Arc<AtomicBool>,
    ) {
        scope.spawn(move || {
            let mut feed = feed;
            while !stop.load(Ordering::Acquire) {
                let wanted: Vec<String> = fs::read_dir(feed.folder.join("want"))
                    .into_iter()
                    .flatten()
                    .flatten()
                    .map(|entry| entry.file_name().to_string_lossy().into_owned())
                    .collect();
                for name in wanted {
                    let _ = fs::remove_file(feed.folder.join("want").join(&name));
                    if let Err(error) = feed.give(&name, restic) {
                        eprintln!("hadadactl: the log file {name}: {error:#}");
                        let _ = fs::write(feed.folder.join("failed"), format!("{name}: {error:#}"));
                    }
                }
                thread::sleep(Duration::from_millis(10));
            }
        });
    }
}

/// Unpacks a base backup and proves that it is what was sent.
///
/// # Errors
/// When it is damaged.
pub fn unpack(cluster: &Cluster, restic: &Restic, snapshot: &str, base: &Base) -> Result<()> {
    cluster.make_data_folder()?;
    say(&format!("  the base backup, {}", size(base.bytes)));
    let poured = restic.dump_into(
        snapshot,
        base::FILE,
        cluster.unpacker(),
        &mut progress(base::FILE),
    )?;
    if hex::encode(poured.sha256) != base.sha256 {
        bail!("the base backup is not the one that was made: its SHA-256 is another");
    }
    Ok(())
}

/// Replays the log over an unpacked base backup, up to the point, and leaves the database running.
///
/// # Errors
/// When the log has a hole before the point, or the database does not start.
pub fn replay(
    cluster: &mut Cluster,
    folder: &Path,
    account: Option<Account>,
    sources: &Sources<'_>,
    point: Point,
    durable: bool,
) -> Result<()> {
    let feed_folder = folder.join("feed");
    for name in ["", "want", "have", "none"] {
        let path = feed_folder.join(name);
        files::make_folder(&path, 0o700)?;
        if let Some(account) = account {
            account.own(&path)?;
        }
    }
    let bring = feed_folder.join("bring");
    files::replace(&bring, 0o755, BRING.as_bytes())?;
    if let Some(account) = account {
        account.own(&bring)?;
    }
    let shown = feed_folder.display().to_string();
    if shown.contains(['\'', '%', '\\', '"']) {
        bail!("{shown} can't be used: set a plainer `scratch` in [box.backup]");
    }
    let mut snapshots = BTreeMap::new();
    for piece in sources.pieces {
        for file in piece.wal().into_iter().flat_map(|wal| &wal.files) {
            // The first that has it: a later one with it was pushed again and holds the same.
            snapshots
                .entry(file.clone())
                .or_insert_with(|| piece.snapshot.clone());
        }
    }
    let feed = Feed {
        folder: feed_folder.clone(),
        account,
        snapshots,
        folders: sources.folders.to_vec(),
        here: BTreeMap::new(),
        batches: Vec::new(),
    };
    let mut settings = vec![
        (
            "restore_command",
            format!(
                "sh '{shown}/bring' '{shown}' {} '%f' '%p'",
                std::process::id()
            ),
        ),
        ("recovery_target_timeline", "latest".to_owned()),
        ("recovery_target_action", "promote".to_owned()),
    ];
    if let Point::At(at) = point {
        // Read before the server knows any zone's name, so not even Z will do.
        let form = format_description!(
            "[year]-[month]-[day] [hour]:[minute]:[second].[subsecond digits:6]+00"
        );
        settings.push((
            "recovery_target_time",
            at.to_offset(time::UtcOffset::UTC).format(form)?,
        ));
        settings.push(("recovery_target_inclusive", "on".to_owned()));
    }
    cluster.recover()?;
    let stop = Arc::new(AtomicBool::new(false));
    thread::scope(|scope| {
        // Stops with this value, whichever way this ends.
        let feeder = Feeder {
            stop: Arc::clone(&stop),
        };
        Feeder::start(scope, feed, sources.restic, stop);
        let mut started = cluster.start(&settings, durable);
        let failed = feed_folder.join("failed");
        if let Err(error) = &started
            && matches!(point, Point::At(_))
            && !failed.exists()
            && format!("{error:#}")
                .contains("recovery ended before configured recovery target was reached")
        {
            // Nothing happened between the end of the log and the point, so the end is how it was at the point.
            say("  nothing was written between the end of the log and that second");
            settings.retain(|(name, _)| {
                !matches!(*name, "recovery_target_time" | "recovery_target_inclusive")
            });
            cluster.recover()?;
            started = cluster.start(&settings, durable);
        }
        drop(feeder);
        if let Ok(why) = fs::read_to_string(&failed) {
            bail!("the log could not be read from the target: {why}");
        }
        started
    })?;
    let _ = fs::remove_dir_all(&feed_folder);
    Ok(())
}

impl Drop for Feeder {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
    }
}

/// Fills a database of a running cluster from a dump, and proves that the dump is the one that was made.
///
/// # Errors
/// When it is damaged or does not fit.
pub fn load(
    cluster: &Cluster,
    restic: &Restic,
    snapshot: &str,
    file: &str,
    dump: &Dump,
    database: &str,
) -> Result<()> {
    say(&format!("  {file}, {}", size(dump.bytes)));
    let poured = restic.dump_into(
        snapshot,
        file,
        cluster.loader(database),
        &mut progress(file),
    )?;
    if hex::encode(poured.sha256) != dump.sha256 {
        bail!("{file} is not the one that was made: its SHA-256 is another");
    }
    // The planner knows nothing of what was just filled in.
    cluster.server().ask(database, "ANALYZE")?;
    Ok(())
}

/// The program `hadada`, which is installed beside this one, over a database of this command's own.
pub struct Hadada {
    program: PathBuf,
    config: PathBuf,
    /// Holds copies of secrets that it takes from files; gone with this value.
    _private: Private,
}

impl Hadada {
    /// Writes its configuration. With `master`, it can open keys too.
    ///
    /// # Errors
    /// When it is not there, or the configuration can't be written.
    pub fn over(
        place: &Place,
        cluster: &Cluster,
        databases: &Databases,
        master: Option<&[u8]>,
    ) -> Result<Self> {
        let own = std::env::current_exe().context("finding my own program file")?;
        let program = own.with_file_name("hadada");
        if !program.exists() {
            bail!(
                "{} is missing: it is installed beside hadadactl",
                program.display()
            );
        }
        let private = Private::new()?;
        let mut config = toml::Table::new();
        let mut set = |name: &str, value: String| {
            config.insert(name.to_owned(), toml::Value::String(value));
        };
        set("postgres", cluster.server().sockets.display().to_string());
        set("records_database", databases.records.clone());
        set("keys_database", databases.keys.clone());
        // It must name them all; what runs here uses none of these.
        for name in [
            "tls_certificate",
            "tls_key",
            "audit_key",
            "audit_head",
            "inference_socket",
            "admin_socket",
        ] {
            set(name, "/nonexistent".into());
        }
        let key = private.path().join("master.key");
        if let Some(master) = master {
            files::create(&key, 0o600, master)?;
            set("erasure_register", place.erasures().display().to_string());
        }
        set("master_key", key.display().to_string());
        set(
            "recovery_key",
            place.recovery_public_key().display().to_string(),
        );
        let path = private.path().join("hadada.toml");
        files::create(&path, 0o600, config.to_string().as_bytes())?;
        Ok(Self {
            program,
            config: path,
            _private: private,
        })
    }

    /// One of its commands.
    pub fn command(&self, name: &str) -> Program {
        Program::new(&self.program)
            .arg("--config")
            .arg(&self.config)
            .arg(name)
    }
}

/// When the last change was made that the database holds.
///
/// # Errors
/// When it can't be asked.
pub fn newest(cluster: &Cluster, database: &str) -> Result<Option<OffsetDateTime>> {
    Ok(cluster
        .server()
        .value(database, &format!("{};", crate::postgres::NEWEST))?
        .and_then(|text| crate::postgres::instant(&text)))
}
