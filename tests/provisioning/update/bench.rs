//! A vendor and a box for a test.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

pub const PASSPHRASE: &str = "seven herons by the dam";
const POSTGRES: &str = "/usr/lib/postgresql/15/bin";

/// What a program said.
#[derive(Debug)]
pub struct Said {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Said {
    #[track_caller]
    pub fn good(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.out
    }

    /// The reason of a refusal; it begins with the rule's name.
    #[track_caller]
    pub fn refused(self, rule: &str) -> String {
        assert_eq!(self.code, Some(1), "{self:?}");
        let reason = self.err.lines().last().unwrap_or_default().to_owned();
        assert!(reason.starts_with(&format!("refused: {rule}")), "{self:?}");
        reason
    }

    #[track_caller]
    pub fn error(self) -> String {
        assert_eq!(self.code, Some(2), "{self:?}");
        self.err
    }
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// Runs `hadadactl` with `input` on its standard input.
pub fn hadadactl(input: &str, arguments: &[&str]) -> Said {
    finish(
        Command::new(env!("CARGO_BIN_EXE_hadadactl")).args(arguments),
        input,
    )
}

pub fn finish(command: &mut Command, input: &str) -> Said {
    use std::io::Write;
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap().into()
}

/// A release to build.
pub struct Release {
    pub version: &'static str,
    pub counter: u64,
    pub minimum: &'static str,
    /// What is wrong with its program, as Python.
    pub faults: &'static str,
    /// Migrations of the records besides the first.
    pub migrations: Vec<(&'static str, &'static str)>,
    /// Units besides the usual ones.
    pub units: Vec<(&'static str, &'static str)>,
}

pub fn release(version: &'static str, counter: u64) -> Release {
    Release {
        version,
        counter,
        minimum: "0.1.0",
        faults: "{}",
        migrations: Vec::new(),
        units: Vec::new(),
    }
}

pub const SECOND: (&str, &str) = (
    "0002_rooms.sql",
    "CREATE TABLE rooms (id int PRIMARY KEY);\nALTER TABLE ledger ADD COLUMN room int REFERENCES rooms;\nGRANT SELECT ON rooms TO hadada_app;\n",
);

/// The vendor: people with keys, and a repository.
pub struct Vendor {
    folder: TempDir,
}

impl Vendor {
    /// A vendor whose people have their keys and have signed the first root. Keys are slow to make and to open on purpose, so
    /// all tests of one build share them.
    pub fn new() -> Self {
        let vendor = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        let program = fs::metadata(env!("CARGO_BIN_EXE_hadadactl"))
            .unwrap()
            .modified()
            .unwrap();
        let age = program
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_nanos();
        let shared = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("release-keys-{age}"));
        if !shared.exists() {
            let own = vendor.path("shared");
            Self::found(&own);
            let draft = shared.with_extension(std::process::id().to_string());
            copy_folder(&own, &draft);
            // Another test may have been quicker.
            let _ = fs::rename(&draft, &shared);
            let _ = fs::remove_dir_all(&draft);
        }
        copy_folder(&shared, vendor.folder.path());
        vendor
    }

    /// Another vendor altogether.
    pub fn stranger() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self::found(folder.path());
        Self { folder }
    }

    fn found(folder: &Path) {
        let run = |arguments: &[&str]| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_hadadactl"));
            finish(
                command.current_dir(folder).args(arguments),
                &format!("{PASSPHRASE}\n"),
            )
            .good()
        };
        fs::create_dir_all(folder).unwrap();
        for (role, holder) in [
            ("root", "a"),
            ("root", "b"),
            ("root", "c"),
            ("root", "d"),
            ("root", "e"),
            ("root", "f"),
            ("targets", "a"),
            ("targets", "b"),
            ("targets", "c"),
            ("snapshot", "s"),
            ("timestamp", "t"),
        ] {
            run(&[
                "release", "keys", "new", "--role", role, "--holder", holder, "--out", "keys",
            ]);
        }
        run(&[
            "release",
            "keys",
            "root",
            "--repository",
            "repo",
            "--root-key",
            "keys/root-a.pub",
            "--root-key",
            "keys/root-b.pub",
            "--root-key",
            "keys/root-c.pub",
            "--targets-key",
            "keys/targets-a.pub",
            "--targets-key",
            "keys/targets-b.pub",
            "--targets-key",
            "keys/targets-c.pub",
            "--snapshot-key",
            "keys/snapshot-s.pub",
            "--timestamp-key",
            "keys/timestamp-t.pub",
        ]);
        for holder in ["root-a", "root-b"] {
            run(&[
                "release",
                "sign",
                "--repository",
                "repo",
                "--key",
                &format!("keys/{holder}.key"),
            ]);
        }
    }

    pub fn new_key(&self, role: &str, holder: &str) {
        self.run(&[
            "release", "keys", "new", "--role", role, "--holder", holder, "--out", "keys",
        ])
        .good();
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn repo(&self) -> PathBuf {
        self.path("repo")
    }

    /// Runs `hadadactl` in the vendor's folder; the passphrase is on its standard input.
    pub fn run(&self, arguments: &[&str]) -> Said {
        finish(
            Command::new(env!("CARGO_BIN_EXE_hadadactl"))
                .current_dir(self.folder.path())
                .args(arguments),
            &format!("{PASSPHRASE}\n"),
        )
    }

    pub fn sign(&self, key: &str, more: &[&str]) -> Said {
        let key = format!("keys/{key}.key");
        let mut arguments = vec!["release", "sign", "--repository", "repo", "--key", &key];
        arguments.extend(more);
        self.run(&arguments)
    }

    /// Writes a release's sources and programs, and gives their folder.
    pub fn write(&self, release: &Release, below: &str) -> PathBuf {
        let root = self.path(below);
        let put = |path: &str, content: &str| {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        };
        let program = include_str!("hadada.py").replacen(
            "FAULTS = {}",
            &format!("FAULTS = {}", release.faults),
            1,
        );
        put("bin/hadada", &program);
        for other in [
            "hadadactl",
            "hadada-typeset",
            "hadada-inference",
            "hadada-worker",
        ] {
            put(
                &format!("bin/{other}"),
                &format!("#!/bin/sh\n# {other} {}\n", release.version),
            );
        }
        for (unit, text) in [
            (
                "hadada.service",
                "[Service]\nExecStart=/opt/hadada/current/bin/hadada\n",
            ),
            (
                "hadada.socket",
                "[Socket]\nListenStream=443\n[Install]\nWantedBy=sockets.target\n",
            ),
            (
                "hadada-update-guard.service",
                "[Service]\nExecStart=/opt/hadada/guard/bin/hadadactl update guard\n",
            ),
            ("sysusers.d/hadada.conf", "u hadada\n"),
            ("tmpfiles.d/hadada.conf", "d /var/lib/hadada\n"),
        ]
        .into_iter()
        .chain(release.units.iter().copied())
        {
            put(
                &format!("systemd/{unit}"),
                &format!("# {}\n{text}", release.version),
            );
        }
        put(
            "migrations/roles.sql",
            include_str!("../../../migrations/roles.sql"),
        );
        put(
            "migrations/records/0001_ledger.sql",
            "CREATE TABLE ledger (id int PRIMARY KEY, said text NOT NULL);\nGRANT SELECT, INSERT ON ledger TO hadada_app;\n",
        );
        put(
            "migrations/keys/0001_keys.sql",
            "CREATE TABLE patient_keys (id int PRIMARY KEY);\n",
        );
        for (name, text) in &release.migrations {
            put(&format!("migrations/records/{name}"), text);
        }
        put(
            "Cargo.lock",
            "[[package]]\nname = \"ours\"\nversion = \"0.1.0\"\n\n[[package]]\nname = \"anyhow\"\nversion = \"1.0.0\"\nsource = \
             \"registry+https://github.com/rust-lang/crates.io-index\"\nchecksum = \"aa\"\n",
        );
        put("package-lock.json", "{\"packages\": {}}");
        root
    }

    /// Builds a release's bundle and gives its path.
    pub fn build(&self, release: &Release) -> PathBuf {
        let source = self.write(
            release,
            &format!("src-{}-{}", release.version, release.counter),
        );
        let (out, source) = (
            self.path(&format!("out-{}-{}", release.version, release.counter)),
            source.display().to_string(),
        );
        self.run(&[
            "release",
            "build",
            "--out",
            out.to_str().unwrap(),
            "--version",
            release.version,
            "--counter",
            &release.counter.to_string(),
            "--minimum-version",
            release.minimum,
            "--bin",
            &format!("{source}/bin"),
            "--source",
            &source,
        ])
        .good();
        out.join(format!("hadada-{}.tar.zst", release.version))
    }

    /// Two people sign the bundle, then the snapshot and the timestamp.
    pub fn publish(&self, release: &Release) -> PathBuf {
        let bundle = self.build(release);
        self.sign("targets-a", &["--bundle", bundle.to_str().unwrap()])
            .good();
        self.sign("targets-c", &[]).good();
        self.freshen(&[]);
        bundle
    }

    pub fn freshen(&self, more: &[&str]) {
        self.sign("snapshot-s", more).good();
        self.sign("timestamp-t", more).good();
    }

    /// A copy of the repository, to do bad things to.
    pub fn copy(&self, name: &str) -> PathBuf {
        let copy = self.path(name);
        copy_folder(&self.repo(), &copy);
        copy
    }

    /// The repository in one file.
    pub fn pack(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        self.run(&[
            "release",
            "pack",
            "--repository",
            "repo",
            "--out",
            path.to_str().unwrap(),
        ])
        .good();
        path
    }
}

pub fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// The bundle of the newest release in a repository.
pub fn bundle_in(repo: &Path) -> PathBuf {
    let release = |path: &PathBuf| {
        path.file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .split_once('.')
            .unwrap()
            .1
            .to_owned()
    };
    let targets = fs::read_dir(repo.join("targets")).unwrap();
    targets
        .map(|entry| entry.unwrap().path())
        .max_by_key(release)
        .unwrap()
}

/// A box with release 0.1.0, running.
pub struct Clinic {
    folder: TempDir,
    sockets: String,
    database: String,
}

static COUNT: AtomicU32 = AtomicU32::new(0);

impl Clinic {
    pub fn new(vendor: &Vendor) -> Self {
        Self::running(vendor, &release("0.1.0", 1), "")
    }

    pub fn running(vendor: &Vendor, first: &Release, settings: &str) -> Self {
        let bundle = vendor.publish(first);
        Self::installed(vendor, &bundle, first.version, settings)
    }

    pub fn installed(vendor: &Vendor, bundle: &Path, version: &str, settings: &str) -> Self {
        let clinic = Self::bare(vendor, bundle, version, settings);
        clinic.write_row(1);
        clinic
    }

    /// With nothing entered yet.
    pub fn bare(vendor: &Vendor, bundle: &Path, version: &str, settings: &str) -> Self {
        let sockets = std::env::var("HADADA_TEST_POSTGRES").unwrap_or_else(|_| panic!("HADADA_TEST_POSTGRES names the folder of a test cluster's socket; `tests/run provisioning` makes one"));
        let database = format!(
            "update_{}_{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let clinic = Self {
            folder: tempfile::tempdir().unwrap(),
            sockets,
            database,
        };
        fs::set_permissions(clinic.folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        for name in [clinic.records(), clinic.keys()] {
            clinic.sql_in(
                "postgres",
                &format!("CREATE DATABASE {name} OWNER hadada_owner"),
            );
        }
        hadadactl("", &["init", "--dir", clinic.dir(), "--host", "localhost"]).good();
        clinic.configure(settings);
        clinic.write_shims();
        let slot = clinic.path(&format!("opt/releases/{version}"));
        fs::create_dir_all(slot.parent().unwrap()).unwrap();
        fs::create_dir_all(clinic.path("run")).unwrap();
        fs::create_dir_all(clinic.path("audit")).unwrap();
        hadadactl(
            "",
            &[
                "update",
                "unpack",
                bundle.to_str().unwrap(),
                "--out",
                slot.to_str().unwrap(),
            ],
        )
        .good();
        symlink(format!("releases/{version}"), clinic.path("opt/current")).unwrap();
        for (from, to) in [
            ("systemd", "systemd/system"),
            ("systemd/sysusers.d", "sysusers.d"),
            ("systemd/tmpfiles.d", "tmpfiles.d"),
        ] {
            let to = clinic.path("etc").join(to);
            fs::create_dir_all(&to).unwrap();
            for entry in fs::read_dir(slot.join(from)).unwrap() {
                let entry = entry.unwrap();
                if entry.file_type().unwrap().is_file() {
                    fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
                }
            }
        }
        clinic
            .ctl(&[
                "update",
                "trust",
                vendor.repo().join("metadata/1.root.json").to_str().unwrap(),
            ])
            .good();
        clinic.boot();
        clinic
    }

    pub fn configure(&self, settings: &str) {
        let dir = self.dir();
        let health = if settings.contains("health_seconds") {
            ""
        } else {
            "health_seconds = 6\n"
        };
        let text = format!(
            "postgres = \"{}\"\nrecords_database = \"{}\"\nkeys_database = \"{}\"\ntls_certificate = \"{dir}/tls/cert.pem\"\n\
             tls_key = \"{dir}/tls/key.pem\"\nmaster_key = \"{dir}/keys/master.key\"\nrecovery_key = \"{dir}/keys/recovery.pub\"\n\
             audit_key = \"{dir}/keys/audit.key\"\naudit_head = \"{dir}/audit/head.json\"\ninference_socket = \
             \"{dir}/run/inference.sock\"\nadmin_socket = \"{dir}/run/admin.sock\"\nlisten = \"127.0.0.1:0\"\n\
             [box.update]\nmigrate_user = \"root\"\nweb_user = \"root\"\n{health}{settings}\n",
            self.sockets,
            self.records(),
            self.keys(),
        );
        fs::write(self.path("hadada.toml"), text).unwrap();
    }

    /// A service manager that knows one service, and programs with nothing to do.
    fn write_shims(&self) {
        let shims = self.path("shims");
        fs::create_dir(&shims).unwrap();
        let dir = self.dir();
        let systemctl = format!(
            r#"#!/bin/bash
PATH=/usr/bin:/bin
echo "$*" >>{dir}/systemctl.log
program="{dir}/opt/current/bin/hadada --config {dir}/hadada.toml"
for unit in "$@"; do
    [ "$unit" = hadada.service ] || continue
    case $1 in
        stop)
            [ -f {dir}/run/pid ] || continue
            kill "$(cat {dir}/run/pid)" 2>/dev/null
            while kill -0 "$(cat {dir}/run/pid)" 2>/dev/null; do sleep 0.05; done
            rm -f {dir}/run/pid
            ;;
        start)
            # As hadada-migrate.service does before it.
            $program migrate </dev/null >>{dir}/program.log 2>&1 || {{ echo "hadada-migrate.service failed" >&2; exit 1; }}
            setsid $program serve </dev/null >>{dir}/program.log 2>&1 &
            echo $! >{dir}/run/pid
            ;;
    esac
done
exit 0
"#
        );
        for (name, text) in [
            ("systemctl", systemctl.as_str()),
            ("systemd-sysusers", "#!/bin/sh\nexit 0\n"),
            ("systemd-tmpfiles", "#!/bin/sh\nexit 0\n"),
        ] {
            let path = shims.join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        for name in ["env", "setpriv"] {
            symlink(format!("/usr/bin/{name}"), shims.join(name)).unwrap();
        }
    }

    pub fn dir(&self) -> &str {
        self.folder.path().to_str().unwrap()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn records(&self) -> String {
        self.database.clone()
    }

    fn keys(&self) -> String {
        format!("{}_keys", self.database)
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hadadactl"));
        command
            .args(arguments)
            .args(["--dir", self.dir()])
            // Never this machine's own service manager: nothing else is to be found.
            .env(
                "PATH",
                format!("{}:{POSTGRES}", self.path("shims").display()),
            );
        command
    }

    /// Runs `hadadactl` on this box.
    pub fn ctl(&self, arguments: &[&str]) -> Said {
        finish(&mut self.command(arguments), "")
    }

    pub fn apply(&self, source: &Path) -> Said {
        self.ctl(&["update", "apply", source.to_str().unwrap()])
    }

    pub fn sql(&self, sql: &str) -> String {
        self.sql_in(&self.records(), sql)
    }

    pub fn sql_in(&self, database: &str, sql: &str) -> String {
        let output = Command::new(format!("{POSTGRES}/psql"))
            .args([
                "-XqAt",
                "-v",
                "ON_ERROR_STOP=1",
                "-h",
                &self.sockets,
                "-U",
                "postgres",
                "-d",
                database,
                "-c",
                sql,
            ])
            .output()
            .unwrap();
        assert!(output.status.success(), "{sql}: {output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    pub fn database_exists(&self, ending: &str) -> bool {
        self.sql_in(
            "postgres",
            &format!(
                "SELECT count(*) FROM pg_database WHERE datname = '{}{ending}'",
                self.database
            ),
        ) == "1"
    }

    /// Somebody enters something, and it is acknowledged.
    pub fn write_row(&self, id: u32) {
        self.sql(&format!(
            "INSERT INTO ledger (id, said) VALUES ({id}, 'acknowledged')"
        ));
    }

    pub fn rows(&self) -> String {
        self.sql("SELECT string_agg(id::text, ',' ORDER BY id) FROM ledger")
    }

    fn shim(&self, arguments: &[&str]) {
        let status = Command::new(self.path("shims/systemctl"))
            .args(arguments)
            .status()
            .unwrap();
        assert!(
            status.success(),
            "{arguments:?}: {}",
            fs::read_to_string(self.path("program.log")).unwrap_or_default()
        );
    }

    /// What the service manager does at boot, after the guard.
    pub fn boot(&self) {
        self.shim(&["start", "hadada.socket", "hadada.service"]);
        self.wait_for("/version", |_| true);
    }

    /// The machine loses its power.
    pub fn cut_power(&self) {
        if let Ok(pid) = fs::read_to_string(self.path("run/pid")) {
            let _ = Command::new("/bin/kill").args(["-9", pid.trim()]).status();
        }
        let _ = fs::remove_file(self.path("run/pid"));
        let _ = fs::remove_file(self.path("run/admin.sock"));
    }

    /// Power comes back: the guard, then the programs.
    pub fn start_again(&self) {
        self.ctl(&["update", "guard", "--boot"]).good();
        self.boot();
    }

    /// What the running program says of itself.
    pub fn status(&self) -> Option<Value> {
        use std::io::{Read, Write};
        let mut socket =
            std::os::unix::net::UnixStream::connect(self.path("run/admin.sock")).ok()?;
        socket
            .write_all(b"GET /status HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            .ok()?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer).ok()?;
        let body = answer.split_once("\r\n\r\n")?.1;
        serde_json::from_str(&body[body.find('{')?..=body.rfind('}')?]).ok()
    }

    #[track_caller]
    pub fn wait_for(&self, pointer: &str, good: impl Fn(&Value) -> bool) {
        let began = Instant::now();
        while !self
            .status()
            .and_then(|status| status.pointer(pointer).map(&good))
            .unwrap_or(false)
        {
            assert!(
                began.elapsed() < Duration::from_secs(30),
                "{pointer}: {:?} {}",
                self.status(),
                fs::read_to_string(self.path("program.log")).unwrap_or_default()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub fn current(&self) -> String {
        let link = fs::read_link(self.path("opt/current")).unwrap();
        link.file_name().unwrap().to_str().unwrap().to_owned()
    }

    pub fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&fs::read(self.path(name)).unwrap()).unwrap()
    }

    pub fn fact(&self) -> Value {
        self.json("facts/update.json")
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.path("systemctl.log")).unwrap_or_default()
    }

    /// The box runs exactly this release: its program, its files in place, its units, nothing half done, every row there.
    #[track_caller]
    pub fn runs_wholly(&self, version: &str, rows: &str) {
        assert_eq!(self.current(), version);
        self.wait_for("/version", |running| running == version);
        let status = self.status().unwrap();
        assert_eq!(
            (status["database"].as_str(), status["migrations"].as_str()),
            (Some("ok"), Some("current")),
            "{status}"
        );
        let slot = self.path(&format!("opt/releases/{version}"));
        let manifest: Value =
            serde_json::from_slice(&fs::read(slot.join("manifest.json")).unwrap()).unwrap();
        let mut units = BTreeMap::new();
        for file in manifest["files"].as_array().unwrap() {
            let path = file["path"].as_str().unwrap();
            let content = fs::read(slot.join(path)).unwrap();
            assert_eq!(
                content.len() as u64,
                file["size"].as_u64().unwrap(),
                "{path}"
            );
            if let Some(unit) = path
                .strip_prefix("systemd/")
                .filter(|unit| !unit.contains('/'))
            {
                units.insert(unit.to_owned(), content);
            }
        }
        for entry in fs::read_dir(self.path("etc/systemd/system")).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().to_str().unwrap().to_owned();
            // The guard stays the last confirmed release's.
            if name != "hadada-update-guard.service" {
                assert_eq!(
                    units.remove(&name).as_deref(),
                    Some(&*fs::read(entry.path()).unwrap()),
                    "{name}"
                );
            }
        }
        units.remove("hadada-update-guard.service");
        assert!(units.is_empty(), "missing units: {:?}", units.keys());
        assert!(
            !self.path("update/journal.json").exists(),
            "an update is under way still"
        );
        assert_eq!(
            fs::read_dir(self.path("update/private")).unwrap().count(),
            0,
            "the private copy is still there"
        );
        assert!(
            !self.database_exists("_update"),
            "the scratch copy is still there"
        );
        for entry in fs::read_dir(self.path("opt/releases")).unwrap() {
            let name = entry.unwrap().file_name().to_str().unwrap().to_owned();
            assert!(
                !name.ends_with(".unpacking") && !name.ends_with(".new"),
                "{name} is left over"
            );
        }
        assert_eq!(self.rows(), rows, "acknowledged rows");
    }

    /// A refusal changed nothing: no program was even stopped.
    #[track_caller]
    pub fn untouched(&self, version: &str) {
        self.runs_wholly(version, "1");
        let mut said = String::new();
        for line in self.log().lines().filter(|line| line.starts_with("stop")) {
            writeln!(said, "{line}").unwrap();
        }
        assert_eq!(said, "", "programs were stopped");
        assert!(
            self.fact()["said"]
                .as_str()
                .unwrap()
                .contains("was not installed"),
            "{}",
            self.fact()
        );
    }
}

impl Drop for Clinic {
    fn drop(&mut self) {
        self.cut_power();
        for database in [self.records(), self.keys()] {
            for ending in ["", "_update"] {
                let _ = Command::new(format!("{POSTGRES}/psql"))
                    .args([
                        "-Xqc",
                        &format!("DROP DATABASE IF EXISTS {database}{ending} WITH (FORCE)"),
                        "-h",
                        &self.sockets,
                        "-U",
                        "postgres",
                    ])
                    .stderr(Stdio::null())
                    .status();
            }
        }
    }
}
