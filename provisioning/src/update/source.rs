//! Where a release comes from, and the private copy of it: what is verified and what is installed are read from that copy
//! only, so nothing can be swapped in between.

use std::fs::File;
use std::io::{self, Read, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use rustix::fs::{Dir, FileType, Mode, OFlags, fstat, open, openat};
use sha2::{Digest, Sha256};

use super::crash;
use super::mirror::Mirror;
use super::program;
use crate::files;
use crate::release::archive::Untar;
use crate::release::repository::Said;

/// A longer file of metadata is not read.
pub const LONGEST_METADATA: u64 = 10 << 20;
/// More metadata than this no repository has.
const MOST_METADATA: usize = 2048;
/// A bigger bundle no release has.
pub const BIGGEST_BUNDLE: u64 = 32 << 30;

/// Where a release comes from.
pub enum Source {
    /// A repository's folder, such as a USB stick's.
    Folder(PathBuf),
    /// A repository in one file: carried, or pushed to the box.
    File(PathBuf),
    /// The mirror that the configuration names.
    Mirror(Mirror),
    /// The same, fetched by a program without rights into a folder that is then trusted no more than a stick.
    Fetched {
        /// The mirror, for its name.
        mirror: Mirror,
        /// Who fetches: the only user whom the firewall lets reach the mirror.
        user: String,
        /// The folder, that user's own.
        folder: PathBuf,
    },
}

impl Source {
    /// What is at a path.
    ///
    /// # Errors
    /// When there is nothing, or neither a folder nor a file.
    pub fn at(path: &Path) -> Result<Self> {
        let kind = std::fs::symlink_metadata(path)
            .with_context(|| format!("there is nothing at {}", path.display()))?
            .file_type();
        if kind.is_dir() {
            Ok(Self::Folder(path.into()))
        } else if kind.is_file() {
            Ok(Self::File(path.into()))
        } else if kind.is_symlink() {
            bail!(
                "symlink: {} is a link; name the folder or file itself",
                path.display()
            )
        } else {
            bail!("{} is neither a folder nor a file", path.display())
        }
    }

    /// For people.
    pub fn said(&self) -> String {
        match self {
            Self::Folder(path) | Self::File(path) => path.display().to_string(),
            Self::Mirror(mirror) | Self::Fetched { mirror, .. } => mirror.address().to_owned(),
        }
    }

    /// Copies the metadata, under limits, into the folder `into`, which only root can enter.
    ///
    /// # Errors
    /// When something is a link, too big, or not there.
    pub async fn copy_metadata(&self, into: &Path, trusted_root: u64) -> Result<()> {
        files::make_folder(into, 0o700)?;
        match self {
            Self::Folder(folder) => copy_folder(folder, into),
            Self::File(file) => {
                let mut count = 0;
                untar(file, |path, size, content| {
                    // They are packed in order: all metadata, then the bundles.
                    let Some(name) = path.strip_prefix("metadata/") else {
                        return Ok(ControlFlow::Break(()));
                    };
                    if is_metadata(name) {
                        keep_metadata(name, size, content, into, &mut count)?;
                    }
                    Ok(ControlFlow::Continue(()))
                })
            }
            Self::Mirror(mirror) => mirror.copy_metadata(into, trusted_root).await,
            Self::Fetched { user, folder, .. } => {
                program::make_own(folder, user)?;
                program::fetch(
                    user,
                    folder,
                    &["--above-root".into(), trusted_root.to_string()],
                )?;
                copy_folder(folder, into)
            }
        }
    }

    /// Copies the bundle that the signed metadata names to `target`.
    ///
    /// # Errors
    /// When it is missing, or another.
    pub async fn copy_bundle(&self, said: &Said, target: &Path) -> Result<()> {
        let name = format!("{}.{}", said.sha256, said.name.raw());
        match self {
            Self::Folder(folder) => {
                let targets = open_folder(&folder.join("targets"))?;
                let mut file = open_plain(&targets, &name, &folder.join("targets"))?;
                receive(&mut file, said, target)
            }
            Self::File(file) => {
                let wanted = format!("targets/{name}");
                let mut found = false;
                untar(file, |path, _, content| {
                    if path != wanted {
                        return Ok(ControlFlow::Continue(()));
                    }
                    receive(content, said, target)?;
                    found = true;
                    Ok(ControlFlow::Break(()))
                })?;
                ensure!(
                    found,
                    "incomplete: {} lacks the bundle {name}",
                    file.display()
                );
                Ok(())
            }
            Self::Mirror(mirror) => mirror.copy_bundle(&name, said, target).await,
            Self::Fetched { user, folder, .. } => {
                let wanted = [
                    "--bundle".into(),
                    said.name.raw().to_owned(),
                    "--sha256".into(),
                    said.sha256.clone(),
                    "--length".into(),
                    said.length.to_string(),
                ];
                program::fetch(user, folder, &wanted)?;
                let outcome =
                    Box::pin(Self::Folder(folder.clone()).copy_bundle(said, target)).await;
                files::remove_folder(folder)?;
                outcome
            }
        }
    }
}

/// The names that TUF gives to metadata, and no others.
pub fn is_metadata(name: &str) -> bool {
    let Some(stem) = name.strip_suffix(".json") else {
        return false;
    };
    let (version, role) = stem.split_once('.').unwrap_or(("1", stem));
    let number =
        !version.is_empty() && version.len() <= 9 && version.bytes().all(|b| b.is_ascii_digit());
    number && matches!(role, "root" | "targets" | "snapshot" | "timestamp")
}

fn copy_folder(folder: &Path, into: &Path) -> Result<()> {
    let path = folder.join("metadata");
    let metadata = open_folder(&path)?;
    let mut count = 0;
    for entry in
        Dir::read_from(&metadata).with_context(|| format!("can't read {}", path.display()))?
    {
        let entry = entry.with_context(|| format!("can't read {}", path.display()))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        // A stick carries all sorts of things; only what has a metadata file's name is looked at.
        if is_metadata(&name) {
            let mut file = open_plain(&metadata, &name, &path)?;
            let size = file.metadata()?.len();
            keep_metadata(&name, size, &mut file, into, &mut count)?;
        }
    }
    Ok(())
}

fn open_folder(path: &Path) -> Result<File> {
    match open(
        path,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    ) {
        Ok(folder) => Ok(folder.into()),
        Err(rustix::io::Errno::NOENT) => bail!(
            "incomplete: there is no {}: a folder with an update holds the folders metadata and targets",
            path.display()
        ),
        Err(rustix::io::Errno::LOOP | rustix::io::Errno::NOTDIR) => {
            bail!("symlink: {} is a link or no folder", path.display())
        }
        Err(error) => Err(error).with_context(|| format!("can't open {}", path.display())),
    }
}

fn open_plain(folder: &File, name: &str, path: &Path) -> Result<File> {
    let shown = path.join(name);
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file: File = match openat(folder, name, flags, Mode::empty()) {
        Ok(file) => file.into(),
        Err(rustix::io::Errno::LOOP) => bail!("symlink: {} is a link", shown.display()),
        Err(rustix::io::Errno::NOENT) => bail!("incomplete: there is no {}", shown.display()),
        Err(error) => return Err(error).with_context(|| format!("can't open {}", shown.display())),
    };
    let kind = FileType::from_raw_mode(fstat(&file)?.st_mode);
    ensure!(
        kind == FileType::RegularFile,
        "{} is no plain file",
        shown.display()
    );
    Ok(file)
}

/// The files of a pushed or carried file.
fn untar(
    path: &Path,
    take: impl FnMut(&str, u64, &mut dyn Read) -> Result<ControlFlow<()>>,
) -> Result<()> {
    let folder = open_folder(
        path.parent()
            .filter(|folder| *folder != Path::new(""))
            .unwrap_or(Path::new(".")),
    )?;
    let name = path
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    let file = open_plain(&folder, &name, path.parent().unwrap_or(Path::new(".")))?;
    let length = file.metadata()?.len();
    ensure!(
        length <= BIGGEST_BUNDLE,
        "too big: {} has {length} bytes and no update has more than {BIGGEST_BUNDLE}",
        path.display()
    );
    Untar {
        what: &path.display().to_string(),
        most_files: MOST_METADATA + 64,
        most_bytes: BIGGEST_BUNDLE,
        reader: io::BufReader::new(file),
    }
    .each(take)
}

fn keep_metadata(
    name: &str,
    size: u64,
    content: &mut dyn Read,
    into: &Path,
    count: &mut usize,
) -> Result<()> {
    *count += 1;
    ensure!(
        *count <= MOST_METADATA,
        "too big: there are more than {MOST_METADATA} files of metadata"
    );
    ensure!(
        size <= LONGEST_METADATA,
        "too big: metadata/{name} has {size} bytes and none has more than {LONGEST_METADATA}"
    );
    let mut bytes = Vec::new();
    content.take(LONGEST_METADATA + 1).read_to_end(&mut bytes)?;
    ensure!(
        bytes.len() as u64 <= LONGEST_METADATA,
        "too big: metadata/{name} grew while it was copied"
    );
    files::create(&into.join(name), 0o600, &bytes)?;
    if *count == 1 {
        crash::point("copy.middle");
    }
    Ok(())
}

fn receive(content: &mut dyn Read, said: &Said, target: &Path) -> Result<()> {
    let mut receiver = Receiver::new(said, target)?;
    let mut buffer = vec![0; 1 << 18];
    loop {
        match content
            .read(&mut buffer)
            .context("the update can't be read: is the stick still in?")?
        {
            0 => return receiver.finish(),
            count => receiver.push(&buffer[..count])?,
        }
    }
}

/// A bundle on its way into the private copy: no byte more than was signed, and only whole.
pub struct Receiver {
    draft: files::Draft,
    hash: Sha256,
    left: u64,
    sha256: String,
}

impl Receiver {
    /// Begins.
    ///
    /// # Errors
    /// When the file can't be made.
    pub fn new(said: &Said, target: &Path) -> Result<Self> {
        Ok(Self {
            draft: files::Draft::new(target, 0o600)?,
            hash: Sha256::new(),
            left: said.length,
            sha256: said.sha256.clone(),
        })
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// When there are more than was signed.
    pub fn push(&mut self, bytes: &[u8]) -> Result<()> {
        self.left = self
            .left
            .checked_sub(bytes.len() as u64)
            .context("too big: the bundle is longer than its signatures say")?;
        self.hash.update(bytes);
        self.draft
            .write_all(bytes)
            .context("the private copy can't be written")
    }

    /// Puts it in its place.
    ///
    /// # Errors
    /// When it is not what was signed.
    pub fn finish(self) -> Result<()> {
        ensure!(
            self.left == 0,
            "tampered: the bundle is shorter than its signatures say"
        );
        ensure!(
            hex::encode(self.hash.finalize()) == self.sha256,
            "tampered: the bundle is not the one that was signed"
        );
        self.draft.replace()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_metadata_is_taken_for_metadata() {
        for name in [
            "1.root.json",
            "timestamp.json",
            "12.targets.json",
            "3.snapshot.json",
        ] {
            assert!(is_metadata(name), "{name}");
        }
        for name in [
            "root.json.bak",
            "../1.root.json",
            "1.2.root.json",
            "x.root.json",
            ".root.json",
            "1.keys.json",
            "9999999999.root.json",
        ] {
            assert!(!is_metadata(name), "{name}");
        }
    }
}
