//! A box for a test: installed from the first release, with a service manager that is a stand-in.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use tempfile::TempDir;

use super::{Release, Said, Vendor, finish, hadadactl, release};

const POSTGRES: &str = "/usr/lib/postgresql/15/bin";

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
