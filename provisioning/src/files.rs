//! Files that are there whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Makes a folder with these permissions, and its parents; leaves one that exists as it is.
pub fn make_folder(path: &Path, mode: u32) -> Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
        .with_context(|| format!("can't make the folder {}", path.display()))
}

/// A file being written; it takes its place only with [`Draft::replace`] or [`Draft::keep_first`], and leaves nothing
/// behind otherwise.
pub struct Draft {
    file: File,
    draft: PathBuf,
    target: PathBuf,
}

impl Draft {
    pub fn new(target: &Path, mode: u32) -> Result<Self> {
        let mut name = target
            .file_name()
            .with_context(|| format!("{} names no file", target.display()))?
            .to_owned();
        name.push(format!(".{}.new", std::process::id()));
        let draft = target.with_file_name(name);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&draft)
            .with_context(|| format!("can't write {}", draft.display()))?;
        // Whatever the process' umask is: the status page must be able to read what a closed-in unit writes.
        file.set_permissions(fs::Permissions::from_mode(mode))
            .with_context(|| format!("can't set the permissions of {}", draft.display()))?;
        Ok(Self {
            file,
            draft,
            target: target.to_owned(),
        })
    }

    /// Puts it in its place, over what was there.
    pub fn replace(self) -> Result<()> {
        self.finish(|draft, target| fs::rename(draft, target))
    }

    /// Puts it in its place, and fails where something already is: not even two runs at once can replace a key.
    pub fn keep_first(self) -> Result<()> {
        self.finish(|draft, target| fs::hard_link(draft, target))
    }

    fn finish(self, put: impl Fn(&Path, &Path) -> io::Result<()>) -> Result<()> {
        let write = || {
            self.file.sync_all()?;
            put(&self.draft, &self.target)?;
            File::open(
                self.target
                    .parent()
                    .filter(|folder| *folder != Path::new(""))
                    .unwrap_or(Path::new(".")),
            )?
            .sync_all()
        };
        write().with_context(|| format!("can't write {}", self.target.display()))
    }
}

impl Write for Draft {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // After a rename it is gone already, which is fine.
        let _ = fs::remove_file(&self.draft);
    }
}

/// Writes a whole file over what was there.
pub fn replace(target: &Path, mode: u32, content: &[u8]) -> Result<()> {
    let mut draft = Draft::new(target, mode)?;
    draft
        .write_all(content)
        .with_context(|| format!("can't write {}", target.display()))?;
    draft.replace()
}

/// Writes a whole file where none may be.
pub fn create(target: &Path, mode: u32, content: &[u8]) -> Result<()> {
    let mut draft = Draft::new(target, mode)?;
    draft
        .write_all(content)
        .with_context(|| format!("can't write {}", target.display()))?;
    draft.keep_first()
}

/// A file's content, or none where there is no such file.
pub fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("can't read {}", path.display())),
    }
}

/// The permission bits of a file or folder, without its type.
pub fn mode(path: &Path) -> io::Result<u32> {
    fs::metadata(path).map(|metadata| metadata.permissions().mode() & 0o7777)
}

/// The 32 bytes of a key file.
pub fn read_key(path: &Path) -> Result<Option<[u8; 32]>> {
    let Some(content) = read_if_there(path)? else {
        return Ok(None);
    };
    let length = content.len();
    let key = content.try_into().map_err(|_| {
        anyhow::anyhow!(
            "{} holds {length} bytes and a key has 32: put it back from a backup",
            path.display()
        )
    })?;
    Ok(Some(key))
}

/// The 32 bytes of a public key file, which are written in hex.
pub fn read_public_key(path: &Path) -> Result<Option<[u8; 32]>> {
    let Some(content) = read_if_there(path)? else {
        return Ok(None);
    };
    let mut key = [0; 32];
    hex::decode_to_slice(content.trim_ascii(), &mut key)
        .with_context(|| format!("{} is not a public key of 64 hex digits", path.display()))?;
    Ok(Some(key))
}

/// Removes a folder with all in it; fine where there is none.
pub fn remove_folder(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("can't remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Removes a file or a link; fine where there is none.
pub fn remove_file(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("can't remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Makes sure that a new name in a folder outlives a power cut.
pub fn sync_folder_of(path: &Path) -> Result<()> {
    let folder = path
        .parent()
        .filter(|folder| *folder != Path::new(""))
        .unwrap_or(Path::new("."));
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .with_context(|| format!("can't write {}", folder.display()))
}
