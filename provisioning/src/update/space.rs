//! Room on the disks, counted before anything is written.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// Left over after everything, so that the practice can go on working while an update runs.
const SPARE: u64 = 512 << 20;

/// What is needed where.
#[derive(Default)]
pub struct Needs {
    by_disk: BTreeMap<u64, (PathBuf, u64)>,
}

impl Needs {
    /// So many bytes will be written below `path` (or where it will be).
    ///
    /// # Errors
    /// When nothing above it exists.
    pub fn add(&mut self, path: &Path, bytes: u64) -> Result<()> {
        let path = path
            .ancestors()
            .find(|path| path.exists())
            .with_context(|| format!("there is nothing at {}", path.display()))?;
        let disk = fs::metadata(path)?.dev();
        let entry = self.by_disk.entry(disk).or_insert_with(|| (path.into(), 0));
        entry.1 = entry.1.saturating_add(bytes);
        Ok(())
    }

    /// Checks all of it.
    ///
    /// # Errors
    /// When a disk has too little; the error says how much is missing.
    pub fn check(&self) -> Result<()> {
        for (path, bytes) in self.by_disk.values() {
            let free = free(path)?;
            let needed = bytes.saturating_add(SPARE);
            if free < needed {
                bail!(
                    "no space: the disk of {} has {} MB free and this update needs {} MB. Nothing was changed. Make room (old \
                     backups and logs first) and try again",
                    path.display(),
                    free / 1_000_000,
                    needed.div_ceil(1_000_000)
                );
            }
        }
        Ok(())
    }
}

fn free(path: &Path) -> Result<u64> {
    #[cfg(debug_assertions)]
    if let Some(free) = std::env::var("HADADA_UPDATE_FREE")
        .ok()
        .and_then(|free| free.parse().ok())
    {
        return Ok(free);
    }
    let stat = rustix::fs::statvfs(path)
        .with_context(|| format!("can't ask for the room at {}", path.display()))?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}
