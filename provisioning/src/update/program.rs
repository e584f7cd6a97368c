//! A release's web program, run for a moment: to migrate, or to see whether it works on a copy of the databases. It runs as the
//! operating system's user it always runs as, with none of this program's environment and none of the box's secrets.

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use time::OffsetDateTime;

use super::database::Databases;
use super::home::Home;
use crate::admin::Socket;
use crate::files;
use crate::place::Place;
use crate::process;
use crate::trust::certificates::{issue, make_authority};

/// How long a program may take to start on a copy.
const PATIENCE: Duration = Duration::from_secs(60);

/// A user of the operating system.
struct Account {
    uid: u32,
    gid: u32,
}

/// Migrates databases by the program of the release in `release`, as the schema's owner.
///
/// # Errors
/// When it fails; the error carries the program's words.
pub fn migrate(home: &Home, release: &Path, databases: &Databases, user: &str) -> Result<()> {
    let trial = Trial::new(home, databases, None)?;
    let program = release.join("bin/hadada").display().to_string();
    let config = trial.config.display().to_string();
    let mut arguments = prefix(user)?;
    arguments.extend([program, "--config".into(), config, "migrate".into()]);
    process::run("env", &arguments).map(drop)
}

/// Starts the program of the release in `release` on the databases and waits until it says that it works.
///
/// # Errors
/// When it does not; the error says what it said last.
pub async fn try_serving(
    home: &Home,
    release: &Path,
    databases: &Databases,
    user: &str,
) -> Result<()> {
    let trial = Trial::new(home, databases, account(user)?)?;
    let log = trial.folder.join("log");
    let mut arguments = prefix(user)?;
    arguments.extend([
        release.join("bin/hadada").display().to_string(),
        "--config".into(),
        trial.config.display().to_string(),
        "serve".into(),
    ]);
    let child = Command::new("env")
        .args(&arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(&log)?)
        .spawn()
        .context("the old release's program can't be started")?;
    let mut running = Running(child);
    let socket = Socket::new(trial.folder.join("run/admin.sock"));
    let began = Instant::now();
    loop {
        let answer = socket.status("/status").await.unwrap_or_default();
        let says = |name: &str| {
            answer.get(name).and_then(Value::as_str)
                == Some(if name == "database" { "ok" } else { "current" })
        };
        if says("database") && says("migrations") {
            return Ok(());
        }
        let ended = running.0.try_wait()?;
        if ended.is_some() || began.elapsed() > PATIENCE {
            let log = fs::read_to_string(&log).unwrap_or_default();
            let last: Vec<&str> = log.lines().rev().take(3).collect();
            bail!(
                "the program of {} does not work on the changed copy of the records: {} {}",
                release.file_name().unwrap_or_default().to_string_lossy(),
                if answer.is_null() {
                    String::new()
                } else {
                    answer.to_string()
                },
                last.into_iter().rev().collect::<Vec<_>>().join(" / ")
            );
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Ended however the trial ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.0);
        // It is asked first: its connections then end in order.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        for _ in 0..50 {
            if matches!(self.0.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Makes an empty folder that belongs to a user without rights.
///
/// # Errors
/// When it can't be made.
pub fn make_own(folder: &Path, user: &str) -> Result<()> {
    files::remove_folder(folder)?;
    files::make_folder(folder, 0o700)?;
    if let Some(account) = account(user)? {
        chown(folder, Some(account.uid), Some(account.gid))
            .with_context(|| format!("can't hand {} over", folder.display()))?;
    }
    Ok(())
}

/// Runs this very program as a user without rights, to fetch from the mirror.
///
/// # Errors
/// When it fails; the error carries its words.
pub fn fetch(user: &str, folder: &Path, wanted: &[String]) -> Result<()> {
    let own = std::env::current_exe().context("this program does not know where it is")?;
    let mut arguments = prefix(user)?;
    arguments.extend([
        own.display().to_string(),
        "update".into(),
        "fetch".into(),
        "--out".into(),
        folder.display().to_string(),
    ]);
    arguments.extend(wanted.iter().cloned());
    process::run("env", &arguments).map(drop)
}

/// What a program is run through: an empty environment, and its own user where this is root.
fn prefix(user: &str) -> Result<Vec<String>> {
    let mut arguments = vec![
        "-i".to_owned(),
        "PATH=/usr/bin:/bin".into(),
        "LANG=C.UTF-8".into(),
    ];
    if let Some(account) = account(user)? {
        arguments.extend([
            "setpriv".into(),
            format!("--reuid={}", account.uid),
            format!("--regid={}", account.gid),
            "--clear-groups".into(),
            "--no-new-privs".into(),
            "--".into(),
        ]);
    }
    Ok(arguments)
}

/// The user to become; none where this program is that user, or is not root and can't become anybody.
fn account(user: &str) -> Result<Option<Account>> {
    if !rustix::process::getuid().is_root() || user == "root" {
        return Ok(None);
    }
    let passwd = fs::read_to_string("/etc/passwd").context("can't read the list of users")?;
    let found = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, _, uid, gid) = (
            fields.next()?,
            fields.next()?,
            fields.next()?,
            fields.next()?,
        );
        (name == user).then(|| {
            Some(Account {
                uid: uid.parse().ok()?,
                gid: gid.parse().ok()?,
            })
        })?
    });
    found
        .map(Some)
        .with_context(|| format!("this machine has no user {user}: run `hadadactl install` again"))
}

/// A folder with a configuration for the databases, and throw-away keys for a program that wants some. Nothing in it is a
/// secret, and nothing that runs from it can reach what is outside.
struct Trial {
    folder: PathBuf,
    config: PathBuf,
}

impl Trial {
    fn new(home: &Home, databases: &Databases, owner: Option<Account>) -> Result<Self> {
        let folder = home.trial();
        files::remove_folder(&folder)?;
        files::make_folder(&folder, 0o755)?;
        let run = folder.join("run");
        files::make_folder(&run, 0o700)?;
        let mut made = vec![run.clone()];
        for name in ["master.key", "recovery.pub", "audit.key"] {
            let mut key = [0; 32];
            getrandom::fill(&mut key)
                .map_err(|error| anyhow::anyhow!("no random numbers: {error}"))?;
            let path = run.join(name);
            files::create(&path, 0o600, &key)?;
            made.push(path);
        }
        let hosts = ["localhost".parse()?];
        let now = OffsetDateTime::now_utc();
        let pair = issue(&make_authority(&hosts, now)?, &hosts, None, now)?;
        for (name, content) in [("cert.pem", &pair.certificate), ("key.pem", &pair.key)] {
            let path = run.join(name);
            files::create(&path, 0o600, content.as_bytes())?;
            made.push(path);
        }
        if let Some(owner) = owner {
            for path in &made {
                chown(path, Some(owner.uid), Some(owner.gid))
                    .with_context(|| format!("can't hand {} over", path.display()))?;
            }
        }
        let config = folder.join("hadada.toml");
        let text = configuration(home.place(), databases, &run)?;
        files::replace(&config, 0o644, text.as_bytes())?;
        Ok(Self { folder, config })
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The box's configuration, but for other databases and with nothing of the box's own in reach.
fn configuration(place: &Place, databases: &Databases, run: &Path) -> Result<String> {
    let path = |name: &str| run.join(name).display().to_string();
    let text = String::from_utf8(files::read_if_there(&place.config())?.unwrap_or_default())?;
    let mut table: toml::Table = text
        .parse()
        .with_context(|| place.config().display().to_string())?;
    table.remove("box");
    let own = [
        ("listen", "127.0.0.1:0".to_owned()),
        ("tls_certificate", path("cert.pem")),
        ("tls_key", path("key.pem")),
        ("master_key", path("master.key")),
        ("recovery_key", path("recovery.pub")),
        ("audit_key", path("audit.key")),
        ("audit_head", path("head.json")),
        ("inference_socket", path("inference.sock")),
        ("admin_socket", path("admin.sock")),
    ];
    for (name, value) in databases.settings().into_iter().chain(own) {
        table.insert(name.into(), value.into());
    }
    if table.contains_key("typeset_socket") {
        table.insert("typeset_socket".into(), path("typeset.sock").into());
    }
    ensure!(
        path("admin.sock").len() <= 107,
        "{} is too long for a socket's name",
        path("admin.sock")
    );
    Ok(toml::to_string(&table)?)
}
