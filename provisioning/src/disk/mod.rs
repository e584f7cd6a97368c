//! The records' disk: encrypted with LUKS2, opened by this machine's TPM at each start or by a recovery key on paper.

pub mod luks;
pub mod moving;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::process::succeeds;

/// The opened disk's name.
pub const NAME: &str = "hadada-data";
/// The opened disk.
pub const OPENED: &str = "/dev/mapper/hadada-data";
/// Where it is mounted.
pub const MOUNT: &str = "/srv/hadada-data";
/// What moves to it: the database and the box's state.
pub const MOVED: [&str; 2] = ["/var/lib/postgresql", "/var/lib/hadada"];
/// Copies of the box's secrets, for the day when another TPM is in the machine.
pub const SECRETS: &str = "/srv/hadada-data/secrets";
/// The unit that opens it.
pub const UNIT: &str = "systemd-cryptsetup@hadada\\x2ddata.service";

/// Whether the machine has a TPM that the system can use.
pub fn has_tpm() -> bool {
    Path::new("/dev/tpmrm0").exists()
}

/// The encrypted device, where the records' disk is encrypted.
pub fn configured() -> Option<PathBuf> {
    in_table(&fs::read_to_string("/etc/crypttab").unwrap_or_default())
}

fn in_table(table: &str) -> Option<PathBuf> {
    let source = table.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some(NAME)).then(|| words.next())?
    })?;
    Some(match source.strip_prefix("UUID=") {
        Some(uuid) => Path::new("/dev/disk/by-uuid").join(uuid),
        None => source.into(),
    })
}

/// As [`configured`], for what needs it.
///
/// # Errors
/// Where the disk is not encrypted.
pub fn device() -> Result<PathBuf> {
    configured().context(
        "the records' disk is not encrypted by this box: see `hadadactl disk encrypt --help`",
    )
}

/// Whether the disk is opened.
pub fn is_open() -> bool {
    Path::new(OPENED).exists()
}

/// Whether the records are where the box looks for them. True on a box whose disk is not encrypted.
pub fn records_are_there() -> bool {
    configured().is_none()
        || MOVED
            .iter()
            .all(|folder| succeeds("mountpoint", ["-q", folder]))
}

/// Why the records are not there and what to do, for the console and for `doctor`.
pub fn closed_words() -> Option<(String, String)> {
    let device = configured()?;
    if records_are_there() {
        return None;
    }
    Some(if !device.exists() {
        (
            format!("the records' disk {} is not in this machine", device.display()),
            "put it in and restart; if it is lost or broken, a new disk and `hadadactl restore` bring the records back from the backup".into(),
        )
    } else if is_open() {
        (
            format!("the records' disk is open, but not mounted at {MOUNT}"),
            format!(
                "`systemctl status 'srv-hadada*.mount' 'var-lib-*.mount'` says why; then `hadadactl disk open`, or `fsck {OPENED}` where its file system is damaged"
            ),
        )
    } else if has_tpm() {
        (
            "the records' disk is closed: this machine's TPM does not open it. The board or its Secure Boot keys were changed, or the disk is in another machine".into(),
            "`hadadactl disk rebind` with the disk's recovery key, from the safe: it opens the disk and lets this TPM open it from now on. `hadadactl disk open` opens it this once".into(),
        )
    } else {
        (
            "the records' disk is closed, and this machine has no TPM that could open it".into(),
            "`hadadactl disk open` with the disk's recovery key, from the safe".into(),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_names_the_device() {
        assert_eq!(in_table(""), None);
        assert_eq!(
            in_table("swap /dev/sda3 none swap\nhadada-data-old UUID=1 none\n"),
            None
        );
        assert_eq!(
            in_table("# x\nhadada-data UUID=ab-12 none luks\n").unwrap(),
            Path::new("/dev/disk/by-uuid/ab-12")
        );
        assert_eq!(
            in_table("hadada-data /dev/sdb1 none luks").unwrap(),
            Path::new("/dev/sdb1")
        );
    }
}
