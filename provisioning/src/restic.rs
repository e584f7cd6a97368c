//! restic, which keeps the backups: encrypted, deduplicated, in one repository. The only file that starts it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use serde::Deserialize;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::backup::target::Private;
use crate::backup::turns::Turns;
use crate::programs::{LONG, Poured, Program, SHORT, pour};

/// How a repository is reached.
#[derive(Default)]
pub struct Access {
    /// As restic names it. It may hold a password, so it goes through a file.
    pub location: String,
    /// restic's own extended options.
    pub options: Vec<String>,
    /// The PEM file of the authority that signed the server's certificate.
    pub authority: Option<PathBuf>,
    /// What must be there as long as the repository is used.
    pub _private: Option<Private>,
}

/// A repository, and what opens it.
pub struct Restic {
    access: Access,
    password: Zeroizing<String>,
    stall: Duration,
    turns: Turns,
}

/// A snapshot as the repository has it.
#[derive(Debug, Clone, Deserialize)]
pub struct Snapshot {
    /// 64 hex digits.
    pub id: String,
    #[serde(default)]
    pub tags: Vec<String>,
}

/// A key of the repository.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Key {
    pub current: bool,
    pub id: String,
    pub user_name: String,
}

/// How a repository answered.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// It is there and opens.
    Open,
    /// There is none.
    None,
}

impl Restic {
    /// A repository that is given up after `stall` without progress.
    pub fn new(access: Access, password: Zeroizing<String>, stall: Duration, turns: Turns) -> Self {
        Self {
            access,
            password,
            stall,
            turns,
        }
    }

    /// The same, waiting no longer than this for other commands that use it.
    #[must_use]
    pub fn waiting(mut self, patience: Duration) -> Self {
        self.turns.waiting(patience);
        self
    }

    fn program(&self, password: &str) -> Result<Program> {
        let mut program = Program::new("restic")
            .with_file("--repository-file", self.access.location.as_bytes())?
            .with_file("--password-file", password.as_bytes())?
            // Whatever is read comes from the target itself.
            .arg("--no-cache")
            .arg("--quiet");
        for option in &self.access.options {
            program = program.arg("--option").arg(option);
        }
        if let Some(authority) = &self.access.authority {
            program = program.arg("--cacert").arg(authority);
        }
        Ok(program)
    }

    fn run(&self, arguments: &[&str], patience: Duration) -> Result<Vec<u8>> {
        self.program(&self.password)?
            .args(arguments)
            .output(patience)
            .map_err(explain)
    }

    /// Small things are given up as a stalled backup is.
    fn short(&self) -> Duration {
        // Opening alone takes seconds on a slow machine; the settings' figure is about streams.
        self.stall.clamp(Duration::from_secs(60), SHORT)
    }

    /// Whether there is a repository that this password opens.
    ///
    /// # Errors
    /// When the target can't be reached, or another password is needed.
    pub fn find(&self) -> Result<Found> {
        match self
            .program(&self.password)?
            .args(["cat", "config", "--no-lock"])
            .output(self.short())
        {
            Ok(_) => Ok(Found::Open),
            Err(error) => {
                let said = format!("{error:#}");
                if said.contains("Is there a repository at the following location")
                    && !said.contains("permission denied")
                {
                    Ok(Found::None)
                } else {
                    Err(explain(error))
                }
            }
        }
    }

    /// Makes the repository, opened by its own password and by `second`.
    ///
    /// # Errors
    /// When it can't be made.
    pub fn init(&self, second: &str) -> Result<()> {
        self.run(&["init", "--repository-version", "2"], self.short())?;
        self.add_key(second, "recovery")
    }

    /// Lets another password open the repository.
    ///
    /// # Errors
    /// When it can't be kept.
    pub fn add_key(&self, password: &str, user: &str) -> Result<()> {
        let _turn = self.turns.beside()?;
        self.program(&self.password)?
            .args(["key", "add", "--user", user, "--host", "hadada"])
            .with_file("--new-password-file", password.as_bytes())?
            .output(self.short())
            .map_err(explain)?;
        Ok(())
    }

    /// The passwords that open it.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn keys(&self) -> Result<Vec<Key>> {
        let _turn = self.turns.beside()?;
        let answer = self.run(&["key", "list", "--json", "--no-lock"], self.short())?;
        serde_json::from_slice(&answer).context("restic's list of keys can't be read")
    }

    /// Takes a password's right to open it.
    ///
    /// # Errors
    /// When it can't be removed.
    pub fn remove_key(&self, id: &str) -> Result<()> {
        let _turn = self.turns.alone()?;
        self.run(&["key", "remove", id], self.short()).map(drop)
    }

    /// Whether another password opens it too.
    ///
    /// # Errors
    /// When the repository can't be reached.
    pub fn opens_with(&self, password: &str) -> Result<bool> {
        match self
            .program(password)?
            .args(["cat", "config", "--no-lock"])
            .output(self.short())
        {
            Ok(_) => Ok(true),
            Err(error) if format!("{error:#}").contains("wrong password") => Ok(false),
            Err(error) => Err(explain(error)),
        }
    }

    /// Keeps what a program makes as one file. No snapshot is made of a program that failed.
    ///
    /// # Errors
    /// When either fails or nothing moves.
    pub fn keep_stream(
        &self,
        maker: Program,
        file: &str,
        tag: &str,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(String, Poured)> {
        let _turn = self.turns.beside()?;
        let taker = self
            .program(&self.password)?
            .args(["backup", "--json", "--stdin", "--stdin-filename", file])
            .args(["--tag", tag, "--host", "hadada"]);
        let poured = pour(maker, taker, self.stall, progress).map_err(explain)?;
        let id = self.whole_id(&poured.answer, tag)?;
        Ok((id, poured))
    }

    /// Keeps files and folders. What changed is told from `parent`, one of the box's own snapshots: without it, restic would
    /// compare with whatever snapshot somebody put there last.
    ///
    /// # Errors
    /// When one of them can't be read, or the repository not be written.
    pub fn keep_files(
        &self,
        paths: &[PathBuf],
        tag: &str,
        parent: Option<&str>,
        patience: Duration,
    ) -> Result<String> {
        let _turn = self.turns.beside()?;
        let mut list = Vec::new();
        for path in paths {
            list.extend_from_slice(path.as_os_str().as_encoded_bytes());
            list.push(b'\n');
        }
        let program = self
            .program(&self.password)?
            .args(["backup", "--json", "--tag", tag, "--host", "hadada"])
            .with_file("--files-from-verbatim", &list)?;
        let program = match parent {
            Some(parent) => program.args(["--parent", parent]),
            None => program.arg("--force"),
        };
        let answer = program.output(patience).map_err(explain)?;
        self.whole_id(&answer, tag)
    }

    /// The whole id of a snapshot just made: restic's answer has only its beginning, and others may begin so too.
    fn whole_id(&self, answer: &[u8], tag: &str) -> Result<String> {
        let short = String::from_utf8_lossy(answer)
            .lines()
            .rev()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .find_map(|line| line.get("snapshot_id")?.as_str().map(str::to_owned))
            .context("restic kept something but did not say what")?;
        let found = self.list(&[&short]).or_else(|_| self.list(&[]))?;
        found
            .into_iter()
            .find(|snapshot| {
                snapshot.id.starts_with(&short)
                    && tag
                        .split(',')
                        .all(|tag| snapshot.tags.iter().any(|own| own == tag))
            })
            .map(|snapshot| snapshot.id)
            .context("the snapshot that restic just made is not in the repository")
    }

    fn list(&self, ids: &[&str]) -> Result<Vec<Snapshot>> {
        let _turn = self.turns.beside()?;
        let mut arguments = vec!["snapshots", "--json", "--no-lock"];
        arguments.extend(ids);
        let answer = self.run(&arguments, self.short())?;
        let snapshots: Option<Vec<Snapshot>> =
            serde_json::from_slice(&answer).context("restic's list of snapshots can't be read")?;
        Ok(snapshots.unwrap_or_default())
    }

    /// Every snapshot there is, whoever made it.
    ///
    /// # Errors
    /// When the repository can't be read.
    pub fn snapshots(&self) -> Result<Vec<Snapshot>> {
        self.list(&[])
    }

    /// Removes these snapshots and no others; they are named by their whole ids. Before anybody else has a turn, it is noted
    /// that they are gone.
    ///
    /// # Errors
    /// When one can't be removed, or that not be noted.
    pub fn forget(&self, ids: &[String], note: impl FnOnce() -> Result<()>) -> Result<()> {
        let _turn = self.turns.alone()?;
        self.forget_alone(ids)?;
        note()
    }

    /// As [`Restic::forget`], but not where it would have to wait; whether they are removed.
    ///
    /// # Errors
    /// When one can't be removed, or that not be noted.
    pub fn forget_unless_busy(
        &self,
        ids: &[String],
        note: impl FnOnce() -> Result<()>,
    ) -> Result<bool> {
        let Some(_turn) = self.turns.alone_now()? else {
            return Ok(false);
        };
        self.forget_alone(ids)?;
        note()?;
        Ok(true)
    }

    fn forget_alone(&self, ids: &[String]) -> Result<()> {
        if let Some(id) = ids.iter().find(|id| id.len() != 64) {
            bail!("{id} is no whole id of a snapshot");
        }
        for some in ids.chunks(100) {
            let mut arguments = vec!["forget"];
            arguments.extend(some.iter().map(String::as_str));
            self.run(&arguments, self.short())?;
        }
        Ok(())
    }

    /// Removes from the disk what no snapshot needs; `unused` is how much of it may stay, such as `5%`.
    ///
    /// # Errors
    /// When it can't.
    pub fn prune(&self, unused: &str) -> Result<()> {
        let _turn = self.turns.alone()?;
        self.run(&["prune", "--max-unused", unused], LONG).map(drop)
    }

    /// Removes locks of programs that are gone.
    ///
    /// # Errors
    /// When the repository can't be written.
    pub fn unlock(&self) -> Result<()> {
        self.run(&["unlock"], self.short()).map(drop)
    }

    /// Checks that all is there; with `read`, that every byte of a part such as `1/7` is as it was written.
    ///
    /// # Errors
    /// When something is damaged or missing.
    pub fn check(&self, read: Option<&str>) -> Result<()> {
        // Not alone, as restic would have it: the log is pushed on while hours of data are read, and nothing is removed meanwhile.
        let _turn = self.turns.beside()?;
        let mut arguments = vec!["check", "--no-lock"];
        let subset = read.map(|part| format!("--read-data-subset={part}"));
        arguments.extend(subset.as_deref());
        self.run(&arguments, LONG).map(drop)
    }

    /// Pours one file of a snapshot into a program.
    ///
    /// # Errors
    /// When it is not there, is damaged, or the program fails.
    pub fn dump_into(
        &self,
        id: &str,
        file: &str,
        taker: Program,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Poured> {
        let _turn = self.turns.beside()?;
        let maker = self
            .program(&self.password)?
            .args(["dump", "--no-lock", id, file]);
        pour(maker, taker, self.stall.max(SHORT), progress).map_err(explain)
    }

    /// One small file of a snapshot; none where it has none of that name.
    ///
    /// # Errors
    /// When the repository can't be read.
    pub fn read(&self, id: &str, file: &Path) -> Result<Option<Vec<u8>>> {
        let _turn = self.turns.beside()?;
        let answer = self
            .program(&self.password)?
            .args(["dump", "--no-lock", id])
            .arg(file)
            .output(self.short());
        match answer {
            Ok(content) => Ok(Some(content)),
            Err(error) if format!("{error:#}").contains("not found in snapshot") => Ok(None),
            Err(error) => Err(explain(error)),
        }
    }

    /// The names of a snapshot's files.
    ///
    /// # Errors
    /// When the repository can't be read.
    pub fn names(&self, id: &str) -> Result<Vec<String>> {
        let _turn = self.turns.beside()?;
        let answer = self.run(&["ls", "--json", "--no-lock", id], self.short())?;
        Ok(String::from_utf8_lossy(&answer)
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .filter(|node| node.get("type").and_then(Value::as_str) == Some("file"))
            .filter_map(|node| node.get("path")?.as_str().map(str::to_owned))
            .collect())
    }

    /// Puts a snapshot's files under a folder.
    ///
    /// # Errors
    /// When one is damaged or can't be written.
    pub fn restore(&self, id: &str, into: &Path) -> Result<()> {
        let _turn = self.turns.beside()?;
        self.program(&self.password)?
            .args(["restore", "--no-lock", id, "--target"])
            .arg(into)
            .output(LONG)
            .map_err(explain)?;
        Ok(())
    }
}

/// restic's words, with what to do where that is known.
fn explain(error: anyhow::Error) -> anyhow::Error {
    let said = format!("{error:#}");
    let advice = if said.contains("wrong password or no key found") {
        "these backups were made by another box, or the box's key for them was replaced. The recovery key on paper opens them: \
         `hadadactl restore new-box`"
    } else if said.contains("no space left on device") || said.contains("disk quota exceeded") {
        "the backup target is full: make room on it, or use a larger one"
    } else if said.contains("Is there a repository at the following location") {
        "nothing was set up at this target yet: run `hadadactl backup setup`"
    } else if said.contains("Host key verification failed") {
        "another machine answers at the backup target, or its key was changed: nothing was sent to it. Compare its key with \
         host_key in the settings"
    } else if said.contains("Permission denied (publickey") {
        "the backup target does not let this box in: it must allow the key that `hadadactl backup access` prints"
    } else if said.contains("unable to start the sftp session") {
        // Often its own words come too late for restic.
        "the backup target was not reached over SSH: is the machine on, is host_key in the settings its key, and does it allow \
         the key that `hadadactl backup access` prints?"
    } else if said.contains("repository is already locked") {
        "another program uses the repository; this passes by itself. If no other machine uses it, `hadadactl backup check` \
         removes locks that were left behind"
    } else if said.contains("ciphertext verification failed")
        || said.contains("hash does not match")
        || said.contains("invalid data returned")
        || said.contains("does not exist in the repository")
        || said.contains("unable to load")
        || said.contains("load <")
    {
        "the backup target gives back other bytes than it was given: the disk is failing or somebody changed it. Make a backup \
         to another target now"
    } else {
        return error;
    };
    anyhow!("{advice} ({said})")
}
