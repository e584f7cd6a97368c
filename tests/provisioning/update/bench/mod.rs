//! A vendor and a box for a test.

mod clinic;
mod looks;
mod vendor;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

pub use clinic::Clinic;
pub use vendor::{PASSPHRASE, Release, SECOND, Vendor, release};

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
