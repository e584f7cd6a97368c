//! Where a restore is tried: a folder of its own, and an account that may run Postgres.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::backup::Work;
use crate::files;
use crate::place::Place;
use crate::programs::Account;

/// A folder to restore into, empty, that goes with this value.
pub struct Scratch(PathBuf);

/// A folder that others may pass through: a restore's Postgres has an account of its own. Whatever the umask is of whoever made it
/// first.
fn open_way(folder: &Path) -> Result<()> {
    files::make_folder(folder, 0o711)?;
    if files::mode(folder)? != 0o711 {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o711))
            .with_context(|| format!("can't set the permissions of {}", folder.display()))?;
    }
    Ok(())
}

impl Scratch {
    /// Makes it, where the settings say; what an earlier run left goes.
    ///
    /// # Errors
    /// When it can't be made.
    pub fn new(work: &Work, name: &str) -> Result<Self> {
        let parent = work
            .settings
            .scratch
            .clone()
            .unwrap_or_else(|| work.place.backup().join("scratch"));
        open_way(&parent)?;
        if let Some(account) = account(&work.place)? {
            // Root may be here first, in a restore; each night it is the account that backs up.
            account.own(&parent)?;
        }
        let path = parent.join(name);
        if path.exists() {
            fs::remove_dir_all(&path).with_context(|| {
                format!("can't remove {}, which an earlier run left", path.display())
            })?;
        }
        open_way(&path)?;
        Ok(Self(path))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Who runs the databases of this command's own: nobody special where this process is nobody special.
///
/// # Errors
/// When there is no such account.
pub fn account(place: &Place) -> Result<Option<Account>> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let account = if place.is_installed() {
        Account::named("hadada-backup")?
    } else {
        Account::owner(place.run())?
    };
    if account.uid == 0 {
        bail!(
            "Postgres does not run as root: give {} to another account",
            place.run().display()
        );
    }
    Ok(Some(account))
}
