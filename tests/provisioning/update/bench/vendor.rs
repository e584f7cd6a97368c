//! The vendor: people with keys, a repository, and releases to put in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::{Said, copy_folder, finish};

pub const PASSPHRASE: &str = "seven herons by the dam";

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
        self.sign_in("repo", key, more)
    }

    /// Signs in a copy of the repository.
    pub fn sign_in(&self, repository: &str, key: &str, more: &[&str]) -> Said {
        let key = format!("keys/{key}.key");
        let mut arguments = vec!["release", "sign", "--repository", repository, "--key", &key];
        arguments.extend(more);
        self.run(&arguments)
    }

    /// The first of two people signs a bundle.
    pub fn sign_bundle(&self, bundle: &Path) -> Said {
        self.sign("targets-a", &["--bundle", bundle.to_str().unwrap()])
    }

    /// Writes a release's sources and programs, and gives their folder.
    pub fn write(&self, release: &Release, below: &str) -> PathBuf {
        let root = self.path(below);
        let put = |path: &str, content: &str| {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        };
        let program = include_str!("../hadada.py").replacen(
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
            include_str!("../../../../migrations/roles.sql"),
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
        self.sign_bundle(&bundle).good();
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
