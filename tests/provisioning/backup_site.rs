//! A box with a real Postgres and the fictional practice in it, and a target: what tests of backups need.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::{Said, hadadactl, hadadactl_reading};

const POSTGRES: &str = "/usr/lib/postgresql/15/bin";

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Postgres refuses root, so root gives it an account without rights.
fn account() -> Option<(u32, u32)> {
    if !is_root() {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let find = |name: &str| {
        users.lines().find_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            (fields[0] == name).then(|| (fields[2].parse().unwrap(), fields[3].parse().unwrap()))
        })
    };
    Some(find("hadada-demo").or_else(|| find("nobody")).unwrap())
}

fn account_name() -> String {
    let uid = account().map_or_else(|| rustix::process::geteuid().as_raw(), |(uid, _)| uid);
    name_of(uid)
}

fn name_of(uid: u32) -> String {
    fs::read_to_string("/etc/passwd")
        .unwrap()
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields[2] == uid.to_string())
        .unwrap()[0]
        .to_owned()
}

fn give(path: &Path) {
    if let Some((uid, gid)) = account() {
        chown(path, Some(uid), Some(gid)).unwrap();
    }
}

fn postgres(name: &str) -> Command {
    let mut command = Command::new(Path::new(POSTGRES).join(name));
    command
        .current_dir("/")
        .stdin(Stdio::null())
        .env("LANG", "C.UTF-8")
        .env("TZ", "UTC");
    command
}

fn as_account(command: &mut Command) -> &mut Command {
    match account() {
        Some((uid, gid)) => command.uid(uid).gid(gid),
        None => command,
    }
}

#[track_caller]
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// A program built beside hadadactl.
fn beside(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_hadadactl")).with_file_name(name);
    assert!(
        path.exists(),
        "{} is not built: `tests/run provisioning` builds all programs, or run `cargo build -p {name}`",
        path.display()
    );
    path
}

/// A box whose database is filled and stopped, made once and copied for each test.
fn template() -> PathBuf {
    let about = fs::metadata(beside("hadada")).unwrap();
    let work = std::env::var_os("HADADA_TEST_WORK").map_or_else(std::env::temp_dir, PathBuf::from);
    let path = work.join(format!(
        "hadada-backup-tests-{}-{}-{}",
        rustix::process::geteuid().as_raw(),
        about.mtime(),
        about.len()
    ));
    let lock = File::create(path.with_extension("lock")).unwrap();
    lock.lock().unwrap();
    if path.join("whole").exists() {
        return path;
    }
    if path.exists() {
        fs::remove_dir_all(&path).unwrap();
    }
    fs::create_dir(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    run(Command::new(env!("CARGO_BIN_EXE_hadadactl"))
        .args(["init", "--host", "clinic.local", "--dir"])
        .arg(&path)
        .stdout(Stdio::from(File::create(path.join("init.txt")).unwrap())));
    let data = path.join("postgres");
    fs::create_dir(&data).unwrap();
    fs::set_permissions(&data, fs::Permissions::from_mode(0o700)).unwrap();
    give(&data);
    give(&path.join("run"));
    run(as_account(
        postgres("initdb")
            .args([
                "-U",
                "postgres",
                "--auth=peer",
                "--locale=C.UTF-8",
                "--encoding=UTF8",
                "--data-checksums",
                "-D",
            ])
            .arg(&data),
    ));
    let mut ident = String::new();
    for user in [account_name(), name_of(rustix::process::geteuid().as_raw())] {
        for role in [
            "postgres",
            "hadada_owner",
            "hadada_app",
            "hadada_backup",
            "hadada_sender",
        ] {
            let line = format!("hadada {user} {role}\n");
            if !ident.contains(&line) {
                ident.push_str(&line);
            }
        }
    }
    write_over(&data.join("pg_ident.conf"), &ident);
    write_over(
        &data.join("pg_hba.conf"),
        "local all all peer map=hadada\nlocal replication hadada_backup peer map=hadada\n",
    );
    let site = Box_ { dir: path.clone() };
    site.configure("", "");
    site.start_postgres();
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    site.sql(
        "postgres",
        &fs::read_to_string(repository.join("migrations/roles.sql")).unwrap(),
    );
    for database in ["hadada", "hadada_keys"] {
        site.sql(
            "postgres",
            &format!("CREATE DATABASE {database} OWNER hadada_owner"),
        );
    }
    for command in ["migrate", "demo-data"] {
        run(Command::new(beside("hadada"))
            .arg("--config")
            .arg(path.join("web.toml"))
            .arg(command));
    }
    site.stop_postgres();
    File::create(path.join("whole")).unwrap();
    path
}

/// Keeps the owner.
fn write_over(path: &Path, content: &str) {
    fs::write(path, content).unwrap();
    give(path);
}

/// A box's folder.
struct Box_ {
    dir: PathBuf,
}

impl Box_ {
    fn configure(&self, backup: &str, database: &str) {
        let dir = self.dir.display();
        let web = format!(
            "postgres = \"{dir}/run\"\ntls_certificate = \"{dir}/tls/cert.pem\"\ntls_key = \"{dir}/tls/key.pem\"\n\
             master_key = \"{dir}/keys/master.key\"\nrecovery_key = \"{dir}/keys/recovery.pub\"\naudit_key = \"{dir}/keys/audit.key\"\n\
             audit_head = \"{dir}/audit/head.json\"\ninference_socket = \"{dir}/run/inference.sock\"\n\
             admin_socket = \"{dir}/run/admin.sock\"\ndemo = true\n"
        );
        fs::write(self.dir.join("web.toml"), &web).unwrap();
        fs::write(self.dir.join("hadada.toml"), format!("{web}{backup}")).unwrap();
        write_over(
            &self.dir.join("postgres/postgresql.conf"),
            &format!(
                "listen_addresses = ''\nunix_socket_directories = '{dir}/run'\nunix_socket_permissions = 0700\nfsync = off\n\
                 max_connections = 60\nlog_min_messages = warning\n{database}"
            ),
        );
    }

    fn start_postgres(&self) {
        let status = as_account(
            postgres("pg_ctl")
                .args(["-w", "-t", "60", "start", "-D"])
                .arg(self.dir.join("postgres"))
                .arg("-l")
                .arg(self.dir.join("postgres/server.log")),
        )
        // It passes them on to the server, which lives on.
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
        assert!(
            status.success(),
            "{}",
            fs::read_to_string(self.dir.join("postgres/server.log")).unwrap_or_default()
        );
    }

    fn stop_postgres(&self) {
        if self.dir.join("postgres/postmaster.pid").exists() {
            run(as_account(
                postgres("pg_ctl")
                    .args(["-m", "fast", "-w", "stop", "-D"])
                    .arg(self.dir.join("postgres")),
            ));
        }
    }

    #[track_caller]
    fn sql(&self, database: &str, sql: &str) -> String {
        run(postgres("psql")
            .args([
                "-X",
                "-q",
                "-A",
                "-t",
                "-v",
                "ON_ERROR_STOP=1",
                "-U",
                "postgres",
                "-d",
                database,
                "-h",
            ])
            .arg(self.dir.join("run"))
            .arg("-c")
            .arg(sql))
        .trim()
        .to_owned()
    }
}

/// A box with a running database and a target.
pub struct Site {
    // Stops its database before the folder goes.
    running: Box_,
    _home: TempDir,
    pub target: PathBuf,
}

impl Drop for Site {
    fn drop(&mut self) {
        if self.running.dir.join("postgres/postmaster.pid").exists() {
            let _ = as_account(
                postgres("pg_ctl")
                    .args(["-m", "immediate", "-w", "stop", "-D"])
                    .arg(self.running.dir.join("postgres")),
            )
            .output();
        }
    }
}

/// `[box.backup]` with one folder on this disk.
pub fn plain_folder(target: &Path) -> String {
    format!(
        "[[box.backup.target]]\nname = \"usb\"\nfolder = \"{}\"\nplain_folder = true\n",
        target.display()
    )
}

impl Site {
    /// With a target in a folder, not set up.
    pub fn new() -> Self {
        Self::with(plain_folder)
    }

    /// With other settings.
    pub fn with(settings: impl FnOnce(&Path) -> String) -> Self {
        let template = template();
        let home = tempfile::Builder::new()
            .prefix("hb")
            .tempdir_in("/tmp")
            .unwrap();
        fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let (dir, target) = (home.path().join("b"), home.path().join("t"));
        run(Command::new("cp")
            .args(["-a", "--reflink=auto"])
            .arg(&template)
            .arg(&dir));
        fs::create_dir(&target).unwrap();
        fs::create_dir_all(dir.join("bin")).unwrap();
        fs::create_dir_all(dir.join("documents/scans")).unwrap();
        fs::write(
            dir.join("documents/scans/one.pdf"),
            b"%PDF a scan that nobody wants to lose",
        )
        .unwrap();
        let program = dir.join("bin/hadadactl");
        fs::copy(env!("CARGO_BIN_EXE_hadadactl"), &program).unwrap();
        for folder in ["wal", "wal/spool", "wal/pushed"] {
            fs::create_dir(dir.join(folder)).unwrap();
            give(&dir.join(folder));
        }
        let running = Box_ { dir: dir.clone() };
        running.configure(
            &settings(&target),
            &format!(
                "archive_mode = on\narchive_command = '{} wal keep --dir {} \"%p\" \"%f\"'\n",
                program.display(),
                dir.display()
            ),
        );
        running.start_postgres();
        Self {
            running,
            _home: home,
            target,
        }
    }

    /// With a target that is set up.
    pub async fn ready() -> Self {
        let site = Self::new();
        site.ctl(&["backup", "setup"]).await.good();
        site
    }

    /// With a nightly and a base backup.
    pub async fn backed_up() -> Self {
        let site = Self::ready().await;
        site.ctl(&["backup", "run"]).await.good();
        site
    }

    pub fn dir(&self) -> &Path {
        &self.running.dir
    }

    pub fn configure(&self, backup: &str) {
        let web = fs::read_to_string(self.dir().join("web.toml")).unwrap();
        fs::write(self.dir().join("hadada.toml"), format!("{web}{backup}")).unwrap();
    }

    /// hadadactl on this box.
    pub async fn ctl(&self, arguments: &[&str]) -> Said {
        self.ctl_reading("", arguments).await
    }

    pub async fn ctl_reading(&self, input: &str, arguments: &[&str]) -> Said {
        let mut all = arguments.to_vec();
        let dir = self.dir().to_str().unwrap();
        all.extend(["--dir", dir]);
        if input.is_empty() {
            hadadactl(&all).await
        } else {
            hadadactl_reading(input, &all).await
        }
    }

    /// The web program's own command on this box.
    pub fn hadada(&self, arguments: &[&str], input: &str) -> std::process::Output {
        let mut child = Command::new(beside("hadada"))
            .arg("--config")
            .arg(self.dir().join("web.toml"))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // One that reads nothing may have ended.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        child.wait_with_output().unwrap()
    }

    #[track_caller]
    pub fn sql(&self, sql: &str) -> String {
        self.running.sql("hadada", sql)
    }

    #[track_caller]
    pub fn keys_sql(&self, sql: &str) -> String {
        self.running.sql("hadada_keys", sql)
    }

    /// Closes the log file in use and waits until it is in the spool.
    pub async fn switch_wal(&self) {
        let closed = self.sql("SELECT pg_walfile_name(pg_switch_wal())");
        self.sql("CHECKPOINT");
        for _ in 0..600 {
            let wal = self.dir().join("wal");
            if wal.join("spool").join(&closed).exists() || wal.join("pushed").join(&closed).exists()
            {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        panic!(
            "the database did not put {closed} into the spool: {}",
            fs::read_to_string(self.dir().join("postgres/server.log")).unwrap()
        );
    }

    pub fn stop_postgres(&self) {
        self.running.stop_postgres();
    }

    /// A fact the box knows.
    pub fn fact(&self, kind: &str) -> serde_json::Value {
        serde_json::from_slice(&fs::read(self.dir().join(format!("facts/{kind}.json"))).unwrap())
            .unwrap()
    }

    /// The recovery key, as `init` printed it.
    pub fn paper(&self) -> String {
        fs::read_to_string(self.dir().join("init.txt"))
            .unwrap()
            .lines()
            .filter_map(|line| line.strip_prefix("    "))
            .filter(|line| line.contains('-'))
            .collect::<Vec<_>>()
            .join("-")
    }

    /// restic on a repository of the target, as somebody who has learnt the box's password.
    pub fn restic(
        &self,
        repository: &str,
        arguments: &[&str],
        input: &[u8],
    ) -> std::process::Output {
        let mut child = self.restic_begun(repository, arguments);
        child.stdin.take().unwrap().write_all(input).unwrap();
        child.wait_with_output().unwrap()
    }

    /// The same, still running.
    pub fn restic_begun(&self, repository: &str, arguments: &[&str]) -> Child {
        let password = self.dir().join(format!("password-{repository}"));
        fs::write(
            &password,
            password_of(
                &fs::read(self.dir().join("keys/backup.key")).unwrap(),
                repository,
            ),
        )
        .unwrap();
        Command::new("restic")
            .arg("--no-cache")
            .arg("-r")
            .arg(self.target.join(repository))
            .arg("-p")
            .arg(&password)
            .args(arguments)
            .env("HOME", self.dir())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// The ids of all snapshots in a repository.
    pub fn snapshots(&self, repository: &str) -> Vec<String> {
        let output = self.restic(repository, &["snapshots", "--json"], b"");
        let list: Option<Vec<serde_json::Value>> = serde_json::from_slice(&output.stdout).unwrap();
        list.unwrap_or_default()
            .iter()
            .map(|snapshot| snapshot["id"].as_str().unwrap().to_owned())
            .collect()
    }

    /// A second box: new hardware with Hadada installed, its own keys and an empty database.
    pub fn new_hardware(&self) -> Self {
        let other = Self::with(|_| String::new());
        other.stop_postgres();
        // Its own keys, not the template's.
        for folder in ["keys", "tls", "backup", "audit"] {
            fs::remove_dir_all(other.dir().join(folder)).unwrap();
        }
        fs::remove_dir_all(other.dir().join("documents")).unwrap();
        run(Command::new(env!("CARGO_BIN_EXE_hadadactl"))
            .args(["init", "--host", "clinic.local", "--dir"])
            .arg(other.dir()));
        other
    }
}

/// The password of a repository, as `provisioning/src/backup/keys.rs` derives it.
pub fn password_of(secret: &[u8], repository: &str) -> String {
    let mut key = [0; 32];
    hkdf::Hkdf::<sha2::Sha256>::new(None, secret)
        .expand(
            format!("hadada restic {repository} v1").as_bytes(),
            &mut key,
        )
        .unwrap();
    hex::encode(key)
}
