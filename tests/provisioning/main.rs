//! `hadadactl` as IT staff use it: the program itself, on folders and sockets of its own.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod audit;
mod backup;
mod backup_attacks;
mod backup_restore;
mod backup_site;
mod doctor;
mod fake;
mod init;
mod keys;
mod model;
mod token;
mod update;

use std::path::Path;
use std::process::Stdio;

use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// What the program said and how it ended.
#[derive(Debug)]
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Said {
    /// The output, where the program was content.
    #[track_caller]
    fn good(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.out
    }

    /// The output, where it found a fault.
    #[track_caller]
    fn fault(self) -> String {
        assert_eq!(self.code, Some(1), "{self:?}");
        self.out
    }

    /// The error, where it could not do it.
    #[track_caller]
    fn error(self) -> String {
        assert_eq!(self.code, Some(2), "{self:?}");
        self.err
    }
}

async fn hadadactl(arguments: &[&str]) -> Said {
    hadadactl_reading("", arguments).await
}

async fn hadadactl_reading(input: &str, arguments: &[&str]) -> Said {
    let mut child = Command::new(env!("CARGO_BIN_EXE_hadadactl"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // A program that doesn't read its input may be gone already.
    let _ = stdin.write_all(input.as_bytes()).await;
    drop(stdin);
    let output = child.wait_with_output().await.unwrap();
    Said {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A folder with a box in it.
struct Home {
    folder: TempDir,
    /// What `init` said.
    said: String,
}

impl Home {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let said = hadadactl(&[
            "init",
            "--dir",
            folder.path().to_str().unwrap(),
            "--host",
            "clinic.local",
        ])
        .await
        .good();
        Self { folder, said }
    }

    fn dir(&self) -> &str {
        self.folder.path().to_str().unwrap()
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    fn text(&self, name: &str) -> String {
        String::from_utf8(self.read(name)).unwrap()
    }
}

fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}
